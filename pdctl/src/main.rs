//! The `pdctl` binary: flags in, exit code out. All else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    pdctl::complete();
    pdctl::main(pdctl::Cli::parse())
}
