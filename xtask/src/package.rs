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
/// Those that are no command of a person's, and what their manual pages say that they are.
const SERVICES: [(&str, &str); 4] = [
    ("pd-apiserver", "API server of a ProcessDistro cluster"),
    ("pd-reconciler", "drives the jobs of a ProcessDistro cluster to their end"),
    ("pd-kubelet", "makes a machine a node of a ProcessDistro cluster"),
    ("pd-executor", "runs a task of ProcessDistro in a sandbox"),
];
/// As in pdctl's Cargo.toml.
const MAINTAINER: &str = "The ProcessDistro authors <authors@processdistro.dev>";
/// The tool that makes the package; pinned, since its metadata is ours.
const CARGO_DEB: &str = "3.8.0";
const MUSL: &str = "x86_64-unknown-linux-musl";
/// Each with the name of its completion, and the folder below `/usr/local` where it looks for it.
const SHELLS: [(&str, &str, &str); 3] = [
    ("bash", "pdctl", "share/bash-completion/completions"),
    ("zsh", "_pdctl", "share/zsh/site-functions"),
    ("fish", "pdctl.fish", "share/fish/vendor_completions.d"),
];

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
    write_texts(folder, &programs()?)?;
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

/// Manual pages, completions and the changelog, made by the programs of the package.
fn write_texts(folder: &Path, programs: &Path) -> Result<()> {
    let pdctl = programs.join("pdctl");
    let (commands, services) = (folder.join("man1"), folder.join("man8"));
    for pages in [&commands, &services] {
        if pages.exists() {
            fs::remove_dir_all(pages)?;
        }
        fs::create_dir_all(pages)?;
    }
    run_command(Command::new(&pdctl).arg("man").arg(&commands))?;
    if !setup::answers("help2man", &["--version"]) {
        setup::install_packages(&["help2man"])?;
    }
    for (program, purpose) in SERVICES {
        write_page(&programs.join(program), purpose, &services)?;
    }
    for pages in [commands, services] {
        for page in fs::read_dir(pages)? {
            // Debian wants them compressed, without a time stamp in them.
            run_command(Command::new("gzip").arg("-9n").arg(page?.path()))?;
        }
    }
    for (shell, name, _) in SHELLS {
        write(&folder.join(name), &read(Command::new(&pdctl).args(["completion", shell]))?)?;
    }
    write(&folder.join("changelog.Debian"), &changelog()?)?;
    copy(&root().join("CHANGELOG.md"), folder, "changelog")?;
    run_command(Command::new("gzip").arg("-9nf").arg(folder.join("changelog")))
}

/// The manual page of a service, out of its help.
fn write_page(program: &Path, purpose: &str, folder: &Path) -> Result<()> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut command = Command::new("help2man");
    // Without these it asks for a page of GNU info, and writes `?` for what is not ASCII.
    command.args(["--no-info", "--section", "8", "--name", purpose]).env("LC_ALL", "C.UTF-8");
    write(&folder.join(format!("{name}.8")), &read(command.arg(program))?)
}

/// As Debian has it; what has changed is told by ours, which is beside it.
fn changelog() -> Result<String> {
    let date = read(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%aD"]))?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "processdistro ({version}-1) unstable; urgency=medium\n\n  * Version {version}; changelog.gz has what is new.\n\n \
         -- {MAINTAINER}  {date}"
    ))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
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
    setup::add_wasm_target()?;
    if !setup::answers("musl-gcc", &["--version"]) {
        setup::install_packages(&["musl-tools"])?;
    }
    let packages = PROGRAMS.iter().flat_map(|program| ["--package", program]);
    run_command(cargo()?.args(["build", "--release", "--target", MUSL]).args(packages))?;
    build::build_tasks()?;
    let built = target()?.join(MUSL).join("release");
    for program in PROGRAMS {
        is_static(&built.join(program))?;
    }
    write_texts(folder, &built)?;
    let name = format!("processdistro-{}-{MUSL}", env!("CARGO_PKG_VERSION"));
    stage(&folder.join(&name), &built, folder)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "-czf"]).arg(&archive).arg("-C").arg(folder).arg(&name);
    run_command(&mut tar)?;
    println!("{}", archive.display());
    Ok(())
}

/// It runs, and asks the machine for no library.
fn is_static(program: &Path) -> Result<()> {
    // The loader says of a program that needs it not that it does; `ldd` ends badly then, or says so.
    let needs = Command::new("ldd").arg(program).output().context("running ldd")?;
    let said = String::from_utf8_lossy(&needs.stdout).into_owned() + &String::from_utf8_lossy(&needs.stderr);
    let is_static = said.contains("statically linked") || said.contains("not a dynamic executable");
    ensure!(is_static, "{} needs libraries of the machine:\n{said}", program.display());
    read(Command::new(program).arg("--version"))?;
    Ok(())
}

/// Lays a tree out that `/usr/local` can take as it is.
fn stage(tree: &Path, built: &Path, texts: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    for program in PROGRAMS {
        let path = copy(&built.join(program), &tree.join("bin"), program)?;
        run_command(Command::new("strip").arg(path))?;
    }
    for (from, to) in [
        (target()?.join("tasks"), "share/processdistro/tasks"),
        (texts.join("man1"), "share/man/man1"),
        (texts.join("man8"), "share/man/man8"),
        (root().join("docs"), "share/doc/processdistro"),
    ] {
        for entry in fs::read_dir(&from).with_context(|| format!("listing {}", from.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                copy(&entry.path(), &tree.join(to), entry.file_name())?;
            }
        }
    }
    for name in ["LICENSE", "CHANGELOG.md"] {
        copy(&root().join(name), &tree.join("share/doc/processdistro"), name)?;
    }
    for (_, name, folder) in SHELLS {
        copy(&texts.join(name), &tree.join(folder), name)?;
    }
    Ok(())
}

/// A copy of `file` in `folder`, which is made; answers its path.
fn copy(file: &Path, folder: &Path, name: impl AsRef<Path>) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::copy(file, &path).with_context(|| format!("copying {} to {}", file.display(), path.display()))?;
    Ok(path)
}
