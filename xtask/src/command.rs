//! Running other programs: echoed, and with their failure as ours.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder of this build: `target/release`, as a rule.
pub(crate) fn programs() -> Result<PathBuf> {
    let own = env::current_exe().context("finding the running program's own path")?;
    own.parent().map(Path::to_path_buf).context("the running program has no folder")
}

/// `target`, as a rule.
pub(crate) fn target() -> Result<PathBuf> {
    programs()?.parent().map(Path::to_path_buf).context("the programs' folder has no parent")
}

/// The cargo that runs us, in the repository's root, with the same target folder.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TARGET_DIR", target()?);
    // What cargo told us of ourselves. Build scripts that look at such variables (that of ring) would run anew, and all
    // that needs them would be compiled anew, each time that cargo is called from here and by hand in turn.
    let told = env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| name.to_str().is_some_and(is_of_a_package)) {
        command.env_remove(name);
    }
    Ok(command)
}

/// Whether cargo sets this variable for the package that it runs or builds.
fn is_of_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Runs it to its end with its output shown; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}

/// Runs it to its end and answers what it wrote to its standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("starting `{line}`"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{line}` failed: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` wrote something else than text"))
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
