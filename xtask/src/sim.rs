//! The simulator: `pd-sim`, built and run.

use std::process::Command;

use anyhow::Result;

use crate::{
    build,
    command::{programs, run as run_command},
};

/// What is passed on to `pd-sim`; `--help` is its own.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// For example `--hours 1000`, `--scenarios paper`, `--seed 7 --trace`, `--bug wake-lost`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds everything and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    build::run()?;
    run_command(Command::new(programs()?.join("pd-sim")).args(&options.arguments))
}
