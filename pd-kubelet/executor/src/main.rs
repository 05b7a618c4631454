//! The executor's binary: see the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match pd_executor::run(pd_executor::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pd-executor: {error:#}");
            ExitCode::from(2)
        }
    }
}
