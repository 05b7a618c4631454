//! The verbs, one a file.

pub(crate) mod apply;
pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod certs;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod cordon;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod edit;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod init;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod metrics;
pub(crate) mod patch;
pub(crate) mod plan;
pub(crate) mod push;
pub(crate) mod replay;
pub(crate) mod rerun;
pub(crate) mod restore;
pub(crate) mod results;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod suspend;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod validate;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod watch;
pub(crate) mod why;

use crate::{
    cli::{Cli, Global, Verb},
    errors::{EXIT_CODES, Error, Result},
    output,
};

/// Runs one verb. What needs no server starts no runtime.
pub(crate) fn dispatch(cli: Cli) -> Result<()> {
    let Cli { global, verb } = cli;
    match verb {
        Verb::ExitCodes => output::print_line(EXIT_CODES),
        Verb::Completion(args) => completion::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::Version(args) if args.client => version::client_only(&args),
        Verb::Validate(args) => validate::run(&args, global.namespace.as_deref()),
        Verb::Explain(args) if !explain::needs_server(&args) => explain::offline(&args),
        Verb::Init(args) if args.file.is_some() => init::offline(&args),
        Verb::Config(action) => config::run(action, &global),
        Verb::Task(action) => task::run(action),
        Verb::Restore(args) => restore::run(&args),
        Verb::Server(action) => install::server::run(action, &global),
        Verb::Join(args) => install::join::run(&args),
        verb => runtime()?.block_on(online(verb, &global)),
    }
}

/// Runs a verb that asks the server.
async fn online(verb: Verb, global: &Global) -> Result<()> {
    match verb {
        Verb::Run(args) => run::run(args, global).await,
        Verb::Init(args) => init::run(args, global).await,
        Verb::Apply(args) => apply::run(args, global).await,
        Verb::Watch(args) => watch::run(args, global).await,
        Verb::Create(args) => create::run(args, global).await,
        Verb::Wait(args) => wait::run(args, global).await,
        Verb::Results(args) => results::run(args, global).await,
        Verb::Suspend(args) => suspend::suspend(args, global).await,
        Verb::Resume(args) => suspend::resume(args, global).await,
        Verb::Cancel(args) => suspend::cancel(args, global).await,
        Verb::Retry(args) => retry::run(args, global).await,
        Verb::Rerun(args) => rerun::run(args, global).await,
        Verb::Get(args) => get::run(args, global).await,
        Verb::Describe(args) => describe::run(args, global).await,
        Verb::Why(args) => why::run(args, global).await,
        Verb::Logs(args) => logs::run(args, global).await,
        Verb::Events(args) => events::run(args, global).await,
        Verb::Top(args) => top::run(args, global).await,
        Verb::Trace(args) => trace::run(args, global).await,
        Verb::Metrics(args) => metrics::run(args, global).await,
        Verb::Explain(args) => explain::run(args, global).await,
        Verb::Edit(args) => edit::run(args, global).await,
        Verb::Patch(args) => patch::run(args, global).await,
        Verb::Delete(args) => delete::run(args, global).await,
        Verb::Diff(args) => diff::run(args, global).await,
        Verb::Plan(args) => plan::run(args, global).await,
        Verb::Push(args) => push::run(args, global).await,
        Verb::Replay(args) => replay::run(args, global).await,
        Verb::Cordon(args) => cordon::cordon(args, global).await,
        Verb::Uncordon(args) => cordon::uncordon(args, global).await,
        Verb::Drain(args) => drain::run(args, global).await,
        Verb::Token(action) => token::run(action, global).await,
        Verb::Auth(action) => auth::run(action, global).await,
        Verb::Backup(args) => backup::run(args, global).await,
        Verb::Certs(args) => certs::run(args, global).await,
        Verb::Doctor(args) => doctor::run(args, global).await,
        Verb::Version(args) => version::run(args, global).await,
        Verb::Validate(_)
        | Verb::Config(_)
        | Verb::Task(_)
        | Verb::Restore(_)
        | Verb::Server(_)
        | Verb::Join(_)
        | Verb::Completion(_)
        | Verb::Man(_)
        | Verb::ExitCodes => Ok(()),
    }
}

/// One thread is enough for one client, and starts fastest.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::invalid(format!("cannot start the async runtime: {error}")))
}
