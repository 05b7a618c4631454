//! What people install: a Debian package checked by lintian, and programs that need no library of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    build,
    command::{cargo, programs, read, root, run as run_command, target},
    setup,
};

const PROGRAMS: [&str; 5] = ["pdctl", "pd-apiserver", "pd-reconciler", "pd-kubelet", "pd-executor"];
/// The tool that makes the package; pinned, since its metadata is ours.
const CARGO_DEB: &str = "3.6.4";
const MUSL: &str = "x86_64-unknown-linux-musl";
const SHELLS: [(&str, &str); 3] = [("bash", "pdctl"), ("zsh", "_pdctl"), ("fish", "pdctl.fish")];

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Statically linked programs in a tar.gz instead of the Debian package: for any Linux of this processor
    #[arg(long = "static")]
    is_static: bool,
}

/// Makes it below `target/package`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = target()?.join("package");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    if options.is_static { make_static(&folder) } else { make_deb(&folder) }
}

fn make_deb(folder: &Path) -> Result<()> {
    build::run()?;
    write_texts(folder)?;
    let tool = cargo_deb()?;
    // One left from before would be checked as well.
    for old in debs(folder)? {
        fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
    }
    let mut command = Command::new(tool);
    command.current_dir(root()).env("CARGO_TARGET_DIR", target()?);
    command.args(["--package", "pdctl", "--no-build", "--output"]).arg(folder);
    run_command(&mut command)?;
    let made = debs(folder)?;
    ensure!(made.len() == 1, "{made:?} were made, one was expected");
    if !setup::answers("lintian", &["--version"]) {
        setup::install_packages(&["lintian"])?;
    }
    run_command(Command::new("lintian").args(["--fail-on", "error,warning"]).arg(&made[0]))?;
    println!("{}", made[0].display());
    Ok(())
}

/// Manual pages and completions, as pdctl itself writes them.
fn write_texts(folder: &Path) -> Result<()> {
    let pdctl = || programs().map(|folder| Command::new(folder.join("pdctl")));
    let pages = folder.join("man");
    if pages.exists() {
        fs::remove_dir_all(&pages)?;
    }
    run_command(pdctl()?.arg("man").arg(&pages))?;
    for page in fs::read_dir(&pages)? {
        // Debian wants them compressed, without a time stamp in them.
        run_command(Command::new("gzip").arg("-9n").arg(page?.path()))?;
    }
    for (shell, name) in SHELLS {
        let script = read(pdctl()?.args(["completion", shell]))?;
        let path = folder.join(name);
        fs::write(&path, script).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
}

/// `cargo-deb`, built once.
fn cargo_deb() -> Result<PathBuf> {
    let tools = target()?.join("tools");
    let program = tools.join("bin/cargo-deb");
    if !program.exists() {
        let install = ["install", "cargo-deb", "--locked", "--version", CARGO_DEB, "--root"];
        run_command(cargo()?.args(install).arg(&tools))?;
    }
    Ok(program)
}

fn make_static(folder: &Path) -> Result<()> {
    setup::add_target(MUSL)?;
    if !setup::answers("musl-gcc", &["--version"]) {
        setup::install_packages(&["musl-tools"])?;
    }
    let packages = PROGRAMS.iter().flat_map(|program| ["--package", program]);
    run_command(cargo()?.args(["build", "--release", "--target", MUSL]).args(packages))?;
    let built = target()?.join(MUSL).join("release");
    for program in PROGRAMS {
        let path = built.join(program);
        // The loader says of a program that needs it not that it does; `ldd` ends badly then, or says so.
        let needs = Command::new("ldd").arg(&path).output().context("running ldd")?;
        let said = String::from_utf8_lossy(&needs.stdout).into_owned() + &String::from_utf8_lossy(&needs.stderr);
        let is_static = said.contains("statically linked") || said.contains("not a dynamic executable");
        ensure!(is_static, "{} needs libraries of the machine:\n{said}", path.display());
        read(Command::new(&path).arg("--version"))?;
    }
    let archive = folder.join(format!("processdistro-{}-{MUSL}.tar.gz", env!("CARGO_PKG_VERSION")));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "-czf"]).arg(&archive).arg("-C").arg(&built).args(PROGRAMS);
    run_command(&mut tar)?;
    println!("{}", archive.display());
    Ok(())
}
