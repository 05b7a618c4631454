//! The command line: global flags and the list of verbs. What a verb takes stands beside the verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::Styles};

use crate::{errors::EXIT_CODES, verbs};

/// Runs work on a ProcessDistro cluster and tends the cluster.
#[derive(Parser)]
#[command(
    name = "pdctl",
    version,
    styles = Styles::styled(),
    after_help = "Results go to stdout, everything else to stderr. `pdctl help exit-codes` lists the exit codes.",
    infer_subcommands = false,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that every verb takes.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace; default: the context's, else `default`
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run a task: create a Job, wait for it, fetch its result
    Run(verbs::run::Args),
    /// Create or change the objects of manifests
    Apply(verbs::apply::Args),
    /// List objects, or print some of them
    Get(verbs::get::Args),
    /// Say all about an object, its events included
    Describe(verbs::describe::Args),
    /// Delete objects
    Delete(verbs::delete::Args),
    /// Wait until jobs end, or for a condition of any object
    Wait(verbs::wait::Args),
    /// Print what the subtasks of a job logged
    Logs(verbs::logs::Args),
    /// Fetch the result of a job
    Results(verbs::results::Args),
    /// Register a WebAssembly component as a Task
    Push(verbs::push::Args),
    /// Make credentials
    Token(verbs::token::Args),
    /// Give a node no more work
    Cordon(verbs::cordon::Args),
    /// Give a node work again
    Uncordon(verbs::cordon::Args),
    /// Cordon a node, take back what it has not started, and wait until it has nothing left
    Drain(verbs::drain::Args),
    /// Print the versions of pdctl and of the server
    Version(verbs::version::Args),
    /// Print a completion script for a shell
    Completion(verbs::completion::Args),
    /// List the exit codes
    #[command(name = "exit-codes", hide = true, long_about = EXIT_CODES, disable_help_flag = true)]
    ExitCodes,
}
