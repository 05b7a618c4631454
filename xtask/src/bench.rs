//! Benchmarks: each prints its own table, and what it was measured beside.

use std::process::Command;

use anyhow::Result;

use crate::{
    build,
    command::{programs, run as run_command},
};

/// Which benchmark.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// `latency`: apply to Complete of 16 trivial subtasks. `throughput`: trivial subtasks a second end to
    /// end, beside a bare wasmtime loop.
    #[arg(value_parser = ["latency", "throughput"])]
    name: String,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds everything and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    build::run()?;
    run_command(Command::new(programs()?.join("pd-bench")).arg(&options.name).args(&options.arguments))
}
