//! Programs that pdctl starts in its place: those of the package that it came with, beside it or on the path.

use std::{
    env,
    ffi::OsStr,
    io,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use crate::errors::{Error, Result};

/// A command line of `program`.
pub(crate) fn command(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(beside_us(program).unwrap_or_else(|| PathBuf::from(program)));
    command.args(arguments);
    command
}

/// Where `program` is, when it stands beside us.
pub(crate) fn beside_us(program: &str) -> Option<PathBuf> {
    let program = env::current_exe().ok()?.parent()?.join(format!("{program}{}", env::consts::EXE_SUFFIX));
    program.is_file().then_some(program)
}

/// Runs it with our own stdin, stdout and stderr; `purpose` says what it does when it is here.
pub(crate) fn run(program: &str, purpose: &str, mut command: Command) -> Result<ExitStatus> {
    command.status().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Invalid {
            message: format!("`{program}`, which {purpose}, is neither beside pdctl nor on the path"),
            hint: Some("install the package that pdctl came with, or put its folder on $PATH".to_owned()),
        },
        _ => Error::File { doing: "start", path: program.into(), source },
    })
}
