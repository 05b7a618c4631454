//! `pdctl man`: the manual, as pages for `man`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::{
    cli::Cli,
    errors::{Error, Result},
    output,
};

const EXAMPLES: &str = "\
Examples:
  pdctl man | man -l -               # the first page
  pdctl man ~/.local/share/man/man1  # a page for each verb; then `man pdctl-apply`";

/// Where to.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write all pages into this folder; without it the first is printed
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let command = Cli::command();
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(Error::stdout)?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    std::fs::create_dir_all(folder).map_err(Error::file("create the folder", folder))?;
    clap_mangen::generate_to(command, folder).map_err(Error::file("write the pages into", folder))?;
    output::note(&format!("wrote the pages into {}", folder.display()));
    Ok(())
}
