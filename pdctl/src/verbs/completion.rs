//! `pdctl completion SHELL`: a script that asks pdctl itself what to offer, names of the cluster included.

use clap_complete::env::Shells;

use crate::{
    errors::{Error, Result},
    output, suggest,
};

const EXAMPLES: &str = "\
Examples:
  source <(pdctl completion bash)                                     # in ~/.bashrc
  source <(pdctl completion zsh)                                      # in ~/.zshrc
  pdctl completion fish > ~/.config/fish/completions/pdctl.fish";

/// The environment variable by which the script asks.
pub(crate) const VARIABLE: &str = "PDCTL_COMPLETE";

/// Which shell.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// bash, zsh, fish, elvish or powershell
    shell: String,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> Result<()> {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(&args.shell) else {
        let known: Vec<&str> = shells.names().collect();
        let hint = suggest::did_you_mean(&args.shell, known.iter().copied())
            .unwrap_or_else(|| format!("one of {}", known.join(", ")));
        return Err(Error::Usage { message: format!("no completion for a shell `{}`", args.shell), hint: Some(hint) });
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "pdctl", "pdctl", "pdctl", &mut script).map_err(Error::stdout)?;
    output::print(&String::from_utf8_lossy(&script))
}
