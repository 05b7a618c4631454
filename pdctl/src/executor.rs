//! `pd-executor`, the sandbox, as a program of the user's machine: pdctl links no wasmtime and starts the one that
//! stands beside it, or on the path.

use std::{
    ffi::OsStr,
    process::{Command, ExitStatus},
};

use crate::{
    errors::{Error, Result},
    programs,
};

const PROGRAM: &str = "pd-executor";

/// What `pd-executor` said of a call or of a component: 0.
pub(crate) const SUCCESS: i32 = 0;
/// The call ended otherwise, or the component is not right: it has said how.
pub(crate) const REFUSED: i32 = 1;

/// A command line of it.
pub(crate) fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    programs::command(PROGRAM, arguments)
}

/// Runs it with our own stdin, stdout and stderr.
pub(crate) fn run(command: Command) -> Result<ExitStatus> {
    programs::run(PROGRAM, "runs components", command)
}

/// As an error with an exit code of pdctl's; `refused` is the one for what the component itself did.
pub(crate) fn settle(status: ExitStatus, refused: u8) -> Result<()> {
    match status.code() {
        Some(SUCCESS) => Ok(()),
        Some(REFUSED) => Err(Error::Program { program: PROGRAM.to_owned(), code: refused }),
        Some(_) => Err(Error::Program { program: PROGRAM.to_owned(), code: 1 }),
        None => Err(Error::invalid(format!("`{PROGRAM}` was killed: {status}"))),
    }
}
