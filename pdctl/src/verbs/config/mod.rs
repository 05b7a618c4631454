//! `pdctl config`: the kubeconfig, and the configuration file of the servers; one subcommand a file.

mod contexts;
mod servers;
mod use_context;
mod view;

use crate::{cli::Global, errors::Result};

const VIEW: &str = "\
Examples:
  pdctl config view                  # secrets are not shown
  pdctl config view --raw > copy.kubeconfig
  pdctl config view --config pd.yaml --show-origin   # the servers' configuration: who says what";
const CONTEXTS: &str = "\
Examples:
  pdctl config get-contexts
  pdctl config get-contexts -o name";
const USE: &str = "\
Examples:
  pdctl config use-context home";
const SETTINGS: &str = "\
Examples:
  pdctl config settings                                  # the defaults, and what the environment says
  pdctl config settings --config pd.yaml --show-origin   # who says what";
const VALIDATE: &str = "\
Examples:
  pdctl config validate pd.yaml";
const SCHEMA: &str = "\
Examples:
  pdctl config schema > pd.schema.json";
const CURRENT: &str = "\
Examples:
  pdctl config current-context";

/// What to do with the kubeconfig, or with the servers' configuration.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Print the kubeconfig, several files as one; or the servers' configuration
    #[command(after_help = VIEW)]
    View(view::Args),
    /// List the contexts: which clusters there are, as whom
    #[command(after_help = CONTEXTS)]
    GetContexts(contexts::Args),
    /// Print the name of the current context
    #[command(after_help = CURRENT)]
    CurrentContext,
    /// Make a context the current one
    #[command(after_help = USE)]
    UseContext(use_context::Args),
    /// Print every key of the servers' configuration with its value, as `view --config` does
    #[command(after_help = SETTINGS)]
    Settings(servers::Settings),
    /// Check a configuration file of the servers, all that is wrong at once
    #[command(after_help = VALIDATE)]
    Validate(servers::Validate),
    /// Print the JSON Schema of the servers' configuration file
    #[command(after_help = SCHEMA)]
    Schema,
}

/// Runs the verb. It asks no server.
pub(crate) fn run(action: Action, global: &Global) -> Result<()> {
    match action {
        Action::View(args) => view::run(&args, global),
        Action::GetContexts(args) => contexts::run(&args, global),
        Action::CurrentContext => contexts::current(global),
        Action::UseContext(args) => use_context::run(&args, global),
        Action::Settings(args) => servers::settings(&args),
        Action::Validate(args) => servers::validate(&args),
        Action::Schema => servers::schema(),
    }
}
