//! `pdctl restore FILE --data-dir DIR`: a server's data folder out of a backup. `pd-apiserver` does it: the store is its
//! own.

use std::{ffi::OsStr, path::PathBuf};

use crate::{
    errors::{Error, Result},
    output, programs,
};

const EXAMPLES: &str = "\
Runs on the machine of the server, without one: every byte is checked, and a folder with anything in it is refused. The \
restored cluster is the same one, with the same authority, so that nodes and kubeconfigs go on to work. Its revisions \
are beyond all that the old server has given out: whoever watches lists anew. Do not let both of them run.

Examples:
  pdctl restore cluster.tar --data-dir /var/lib/processdistro
  pd-apiserver --data-dir /var/lib/processdistro     # or: systemctl start pd-apiserver";

const PROGRAM: &str = "pd-apiserver";

/// From what, and where to.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What `pdctl backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder to make; absent or empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let arguments =
        [OsStr::new("--data-dir"), args.data_dir.as_os_str(), OsStr::new("--restore"), args.file.as_os_str()];
    let status = programs::run(PROGRAM, "has the store", programs::command(PROGRAM, arguments))?;
    if !status.success() {
        return Err(Error::Program { program: PROGRAM.to_owned(), code: 1 });
    }
    output::print_line(&format!("{} restored", args.data_dir.display()))
}
