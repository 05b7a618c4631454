//! pdctl: the command line of ProcessDistro.
//!
//! In: arguments, manifests, an ordinary kubeconfig. Out: requests to the API server, results on stdout,
//! everything else on stderr, and an exit code that says what happened. It is a client like any other: it
//! knows the wire protocol and the kinds, never the store, the plan or the sandbox.

mod age;
mod artifacts;
mod cli;
mod client;
mod complete;
mod errors;
mod events;
mod executor;
mod follow;
mod inputs;
mod kinds;
mod manifests;
mod output;
mod params;
mod platform;
mod programs;
mod progress;
mod screen;
mod suggest;
mod table;
mod text;
mod verbs;
mod writes;

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::CompleteEnv;

pub use cli::Cli;

/// Answers a shell that asks what a half-written line may go on with; returns when none asks.
pub fn complete() {
    CompleteEnv::with_factory(Cli::command).var(verbs::completion::VARIABLE).complete();
}

/// Runs one command to its end, reporting an error on stderr.
pub fn main(cli: Cli) -> ExitCode {
    match verbs::dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            ExitCode::from(error.exit_code())
        }
    }
}
