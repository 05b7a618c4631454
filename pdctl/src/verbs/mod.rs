//! The verbs, one a file.

pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod cordon;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod drain;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod push;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod token;
pub(crate) mod version;
pub(crate) mod wait;

use crate::{
    cli::{Cli, Verb},
    errors::{EXIT_CODES, Error, Result},
    output,
};

/// Runs one verb. What needs no server starts no runtime.
pub(crate) fn dispatch(cli: Cli) -> Result<()> {
    let Cli { global, verb } = cli;
    match verb {
        Verb::ExitCodes => output::print_line(EXIT_CODES),
        Verb::Completion(args) => completion::run(&args),
        Verb::Version(args) if args.client => version::client_only(&args),
        verb => runtime()?.block_on(async {
            match verb {
                Verb::Run(args) => run::run(args, &global).await,
                Verb::Apply(args) => apply::run(args, &global).await,
                Verb::Get(args) => get::run(args, &global).await,
                Verb::Describe(args) => describe::run(args, &global).await,
                Verb::Delete(args) => delete::run(args, &global).await,
                Verb::Wait(args) => wait::run(args, &global).await,
                Verb::Logs(args) => logs::run(args, &global).await,
                Verb::Results(args) => results::run(args, &global).await,
                Verb::Push(args) => push::run(args, &global).await,
                Verb::Token(args) => token::run(args, &global).await,
                Verb::Cordon(args) => cordon::cordon(args, &global).await,
                Verb::Uncordon(args) => cordon::uncordon(args, &global).await,
                Verb::Drain(args) => drain::run(args, &global).await,
                Verb::Version(args) => version::run(args, &global).await,
                Verb::Completion(_) | Verb::ExitCodes => Ok(()),
            }
        }),
    }
}

/// One thread is enough for one client, and starts fastest.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::invalid(format!("cannot start the async runtime: {error}")))
}
