//! The executor: runs the calls of one task at a time in a sandbox, for the kubelet that started it.
//!
//! In: `Request`s on standard input. Out: `Reply`s on standard output, words for people on standard error.
//! It holds no secret, opens no file but the module it is told to load, and knows nothing of jobs, nodes or
//! the API server. One thread calls the guest; three small ones read the pipe, flush it, and watch the clock.

mod bench;
mod blobs;
mod call;
mod compile;
mod engine;
mod host;
mod limits;
mod log;
mod pipe;
mod prepare;
mod sandbox;
mod serve;
mod trap;
mod watchdog;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Call `run` in a bare loop, a fresh instance each, and print `runs_per_second=…`
    Bench {
        /// A task's component
        #[arg(long)]
        component: PathBuf,
        /// The job's params as JSON
        #[arg(long, default_value = "{}")]
        params: String,
        /// How many calls
        #[arg(long, default_value_t = 100_000)]
        count: u64,
    },
    /// Print what a compiled module depends on besides its source: part of a cache's key
    Fingerprint,
}

/// Does what the flags say and tells with which code to exit.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.verb.unwrap_or(Verb::Serve) {
        Verb::Serve => {
            sandbox::enter();
            Ok(serve::serve()?)
        }
        Verb::Bench { component, params, count } => {
            bench::bench(&component, &params, count)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Fingerprint => {
            println!("{}", engine::fingerprint(&engine::engine()?));
            Ok(ExitCode::SUCCESS)
        }
    }
}
