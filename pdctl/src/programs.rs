//! What else is in the package that pdctl came with: programs that it starts in its place, beside it or on the path, and
//! the built-in tasks.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use crate::errors::{Error, Result};

/// Where the package keeps the built-in tasks, seen from the folder that has `bin`.
const TASKS: &str = "share/processdistro/tasks";

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

/// The built-in tasks, in order of their names; none where pdctl came alone.
pub(crate) fn tasks() -> Result<Vec<PathBuf>> {
    let own = env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent).and_then(Path::parent).map(|root| root.join(TASKS));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else { return Ok(Vec::new()) };
    let listing = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = listing.map_err(Error::file("list", &folder))?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut tasks: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|is| is == "wasm")).collect();
    tasks.sort();
    Ok(tasks)
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
