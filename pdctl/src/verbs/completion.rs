//! `pdctl completion SHELL`

use std::io;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{cli::Cli, errors::Result, output};

/// Which shell.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell to complete in
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut script = io::Cursor::new(Vec::new());
    clap_complete::generate(args.shell, &mut Cli::command(), "pdctl", &mut script);
    output::print(&String::from_utf8_lossy(&script.into_inner()))
}
