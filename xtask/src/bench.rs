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
    /// end, beside a bare wasmtime loop. `store`: durable writes a second through the API server, beside etcd. `api`:
    /// what requests of each kind cost, and idle watchers. `exec`: what the sandbox costs, no-op and kernels, over the
    /// bare loop and native libraries. `scale`: a thousand hollow nodes and a million subtasks. `peers`: the same jobs on
    /// Dask.distributed, Ray, Python's pool and xargs. `watch`: from a file's save to its object's being applied.
    /// `client`: what a person waits for at the command line.
    #[arg(value_parser = ["latency", "throughput", "exec", "peers", "store", "api", "scale", "watch", "client"])]
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
