//! The command line: global flags and the list of verbs. What a verb takes stands beside the verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::Styles};

use crate::{errors::EXIT_CODES, verbs};

/// The verbs by what one wants, as `pdctl help` lists them.
const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Work:
  run          Run a task: create a Job, wait for it, fetch its result
  init         Print a manifest to begin with, every param with its meaning
  apply        Create or change the objects of manifests
  watch        Let the objects of a folder follow its files
  create       Create the objects of manifests
  wait         Wait until jobs end, or for a condition of any object
  results      Fetch the result of a job, or outputs of single indexes
  suspend      Let a job start nothing more until it is resumed
  resume       Let a suspended job go on
  cancel       End a job for good, and keep it to be looked at
  retry        Try the failed subtasks of a job again
  rerun        Run the same work again, as a new job

Look:
  get          List objects, or print some of them
  describe     Say all about an object, its events included
  why          Say why a job or a node stands where it stands
  logs         Print what the subtasks of a job logged
  events       List what happened
  top          Show who does how much, now
  trace        Write a job's way as a Chrome trace, which Perfetto opens
  metrics      Print the API server's figures
  explain      Say what a field means, or which params a task takes

Change:
  edit         Change an object in an editor
  patch        Change a few fields of an object
  delete       Delete objects
  validate     Check manifests without a server
  diff         Show what apply would change
  plan         Say what apply would do, and what would come of it

Tasks:
  push         Register a WebAssembly component as a Task
  task         Begin a task of one's own, or check a component
  replay       Run one subtask of a job again, on this machine

Cluster:
  cordon       Give a node no more work
  uncordon     Give a node work again
  drain        Cordon a node and wait until it has nothing left
  token        Make credentials
  auth         Say who one is, and what one may do
  server       Install the servers of a cluster on this machine
  join         Make this machine a node of a cluster
  backup       Write the whole cluster into a file
  restore      Make a server's data folder from such a file
  certs        List the certificates in play, and how long they live
  config       Look at the kubeconfig and the servers' configuration
  doctor       Look for what most often is wrong
  version      Print the versions of pdctl and of the server
  completion   Print a completion script for a shell
  man          Write the manual
  help         Print this, the help of a verb, or the exit codes

Options:
{options}

{after-help}
";

/// Runs work on a ProcessDistro cluster and tends the cluster.
#[derive(Parser)]
#[command(
    name = "pdctl",
    version,
    styles = Styles::styled(),
    help_template = TEMPLATE,
    after_help = "`pdctl help VERB` shows examples. Results go to stdout, everything else to stderr.\n\
                  `pdctl help exit-codes` lists the exit codes.",
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
    #[arg(long, global = true, value_name = "NAME", add = crate::complete::contexts())]
    pub(crate) context: Option<String>,
    /// Namespace; default: the context's, else `default`
    #[arg(short, long, global = true, value_name = "NAME", add = crate::complete::namespaces())]
    pub(crate) namespace: Option<String>,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run a task: create a Job, wait for it, fetch its result
    Run(verbs::run::Args),
    /// Print a manifest to begin with, every param with its meaning
    Init(verbs::init::Args),
    /// Create or change the objects of manifests
    Apply(verbs::apply::Args),
    /// Let the objects of a folder of manifests follow its files
    Watch(verbs::watch::Args),
    /// Create the objects of manifests
    Create(verbs::create::Args),
    /// Wait until jobs end, or for a condition of any object
    Wait(verbs::wait::Args),
    /// Fetch the result of a job, or outputs of single indexes
    Results(verbs::results::Args),
    /// Let a job start nothing more until it is resumed
    Suspend(verbs::suspend::Suspend),
    /// Let a suspended job go on
    Resume(verbs::suspend::Resume),
    /// End a job for good, and keep it to be looked at
    Cancel(verbs::suspend::Cancel),
    /// Try the failed subtasks of a job again, in the job itself
    Retry(verbs::retry::Args),
    /// Run the same work again, as a new job
    Rerun(verbs::rerun::Args),
    /// List objects, or print some of them
    Get(verbs::get::Args),
    /// Say all about an object, its events included
    Describe(verbs::describe::Args),
    /// Say why a job or a node stands where it stands
    Why(verbs::why::Args),
    /// Print what the subtasks of a job logged
    Logs(verbs::logs::Args),
    /// List what happened
    Events(verbs::events::Args),
    /// Show who does how much, now
    Top(verbs::top::Args),
    /// Write a job's way as a Chrome trace, which Perfetto opens
    Trace(verbs::trace::Args),
    /// Print the API server's figures
    Metrics(verbs::metrics::Args),
    /// Say what a field means, or which params a task takes
    Explain(verbs::explain::Args),
    /// Change an object in an editor
    Edit(verbs::edit::Args),
    /// Change a few fields of an object
    Patch(verbs::patch::Args),
    /// Delete objects
    Delete(verbs::delete::Args),
    /// Check manifests without a server, all that is wrong at once
    Validate(verbs::validate::Args),
    /// Show what apply would change, as a unified diff
    Diff(verbs::diff::Args),
    /// Say what apply would do, and what would come of it
    Plan(verbs::plan::Args),
    /// Register a WebAssembly component as a Task
    Push(verbs::push::Args),
    /// Begin a task of one's own, or check a component
    #[command(subcommand)]
    Task(verbs::task::Action),
    /// Run one subtask of a job again, on this machine
    Replay(verbs::replay::Args),
    /// Give a node no more work
    Cordon(verbs::cordon::Args),
    /// Give a node work again
    Uncordon(verbs::cordon::Args),
    /// Cordon a node, take back what it has not started, and wait until it has nothing left
    Drain(verbs::drain::Args),
    /// Make credentials
    #[command(subcommand)]
    Token(verbs::token::Action),
    /// Say who one is, and what one may do
    #[command(subcommand)]
    Auth(verbs::auth::Action),
    /// Install the servers of a cluster on this machine
    #[command(subcommand)]
    Server(verbs::install::server::Action),
    /// Make this machine a node of a cluster
    Join(verbs::install::join::Args),
    /// Write the whole cluster into a file, while it runs
    Backup(verbs::backup::Args),
    /// Make a server's data folder from a backup
    Restore(verbs::restore::Args),
    /// List the certificates in play, and how long they live
    Certs(verbs::certs::Args),
    /// Look at the kubeconfig, choose a context, check the servers' configuration
    #[command(subcommand)]
    Config(verbs::config::Action),
    /// Look for what most often is wrong
    Doctor(verbs::doctor::Args),
    /// Print the versions of pdctl and of the server
    Version(verbs::version::Args),
    /// Print a completion script for a shell
    Completion(verbs::completion::Args),
    /// Write the manual
    Man(verbs::man::Args),
    /// List the exit codes
    #[command(name = "exit-codes", hide = true, long_about = EXIT_CODES, help_template = "{about}")]
    ExitCodes,
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    fn visible() -> Vec<Command> {
        Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect()
    }

    #[test]
    fn every_verb_is_listed_in_the_help_and_none_that_is_not_there() {
        let listed: Vec<&str> = TEMPLATE
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
            .filter(|verb| *verb != "help")
            .collect();
        let verbs = visible();
        let names: Vec<&str> = verbs.iter().map(Command::get_name).collect();
        assert!(names.iter().all(|name| listed.contains(name)), "{names:?} are not all in {listed:?}");
        assert!(listed.iter().all(|name| names.contains(name)), "{listed:?} are not all in {names:?}");
    }

    #[test]
    fn every_verb_shows_examples() {
        let has =
            |command: &Command| command.get_after_help().is_some_and(|help| help.to_string().contains("Examples:\n  "));
        for verb in visible() {
            let inner: Vec<&Command> = verb.get_subcommands().collect();
            let shown = has(&verb) || (!inner.is_empty() && inner.iter().all(|inner| has(inner)));
            assert!(shown, "{} shows no example", verb.get_name());
        }
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
