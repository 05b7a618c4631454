//! The executor: runs the calls of one task at a time in a sandbox, for the kubelet that started it.
//!
//! In: `Request`s on standard input. Out: `Reply`s on standard output, words for people on standard error.
//! It holds no secret, opens no file but the module it is told to load, and knows nothing of jobs, nodes or
//! the API server. One thread calls the guest; three small ones read the pipe, flush it, and watch the clock. Where a
//! kubelet cannot have a process for each slot, one serves them all, with these four threads for each.

mod attest;
mod bench;
mod blobs;
mod call;
mod check;
mod compile;
mod coredump;
mod engine;
mod given;
mod host;
mod kernels;
mod limits;
mod local;
mod log;
mod pipe;
mod prepare;
mod replay;
mod sandbox;
mod serve;
mod shared;
mod trap;
mod usage;
mod watchdog;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use executor_protocol::Request;

pub use bench::Bench;
pub use check::Check;
pub use given::{Given, Limits};
pub use replay::{Function, Replay};
pub use shared::Shared;

/// Flags of `pd-executor`.
#[derive(Debug, Parser)]
#[command(name = "pd-executor", version, about = "Runs the calls of a task in a sandbox, for a kubelet")]
pub struct Cli {
    /// What to do; without one: serve a kubelet on standard input and output.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What an executor can do besides serving a kubelet.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve a kubelet on standard input and output (the default)
    Serve,
    /// Serve several slots of a kubelet, each on threads of its own, on standard input and output
    Shared(Shared),
    /// Call `run` in a bare loop, a fresh instance each, and print `runs_per_second=…`
    Bench(Bench),
    /// Make one call of a job again, and show what comes of it
    Replay(Replay),
    /// Find out whether a file is a task that a cluster would take
    Check(Check),
    /// Print which of the walls around an executor this system has, as JSON
    Walls,
    /// Print what a compiled module depends on besides its source: part of a cache's key
    Fingerprint,
}

/// Does what the flags say and tells with which code to exit.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.verb.unwrap_or(Verb::Serve) {
        Verb::Serve => {
            sandbox::complain(&sandbox::enter());
            Ok(serve::serve()?)
        }
        Verb::Shared(options) => Ok(shared::serve(&options)?),
        Verb::Bench(options) => {
            bench::bench(&options)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Replay(options) => replay::replay(&options),
        Verb::Check(options) => check::check(&options),
        Verb::Walls => {
            let mut layers = sandbox::enter();
            layers.extend(sandbox::confine_to(&Request::Plan));
            println!("{}", sandbox::listed(&layers));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Fingerprint => {
            println!("{}", engine::fingerprint(&engine::engine()?));
            Ok(ExitCode::SUCCESS)
        }
    }
}
