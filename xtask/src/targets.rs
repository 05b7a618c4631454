//! Other machines: what of the workspace compiles for them, checked by cross-compiling.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    command::{cargo, run as run_command, target as target_folder},
    setup,
};

/// What runs wherever people sit; its C, that of ring, is compiled for each target.
const CLIENT: &[&str] = &["pdctl"];
/// What runs where machines compute, too.
const EVERYTHING: &[&str] = &["pdctl", "pd-apiserver", "pd-reconciler", "pd-kubelet", "pd-executor"];

/// A target, and what it takes to check it on Debian.
struct Target {
    triple: &'static str,
    packages: &'static [&'static str],
    /// The C compiler, which must be there, and its Debian package.
    compiler: &'static str,
    debian: &'static [&'static str],
    /// Apple's headers are nobody's to hand out: C is compiled without any.
    is_without_headers: bool,
}

const TARGETS: [Target; 4] = [
    Target {
        triple: "x86_64-pc-windows-gnu",
        packages: CLIENT,
        compiler: "x86_64-w64-mingw32-gcc",
        debian: &["gcc-mingw-w64-x86-64"],
        is_without_headers: false,
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        packages: EVERYTHING,
        compiler: "aarch64-linux-gnu-gcc",
        debian: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        is_without_headers: false,
    },
    Target {
        triple: "x86_64-apple-darwin",
        packages: CLIENT,
        compiler: "clang",
        debian: &["clang"],
        is_without_headers: true,
    },
    Target {
        triple: "aarch64-apple-darwin",
        packages: CLIENT,
        compiler: "clang",
        debian: &["clang"],
        is_without_headers: true,
    },
];

/// Which targets.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// These alone; default: all that are known
    #[arg(value_name = "TRIPLE")]
    triples: Vec<String>,
}

/// `cargo check` for each of them.
pub(crate) fn run(options: &Options) -> Result<()> {
    let known = || TARGETS.iter().map(|target| target.triple).collect::<Vec<_>>().join(", ");
    for triple in &options.triples {
        ensure!(TARGETS.iter().any(|target| target.triple == *triple), "`{triple}` is none of {}", known());
    }
    let wanted = |target: &&Target| options.triples.is_empty() || options.triples.iter().any(|t| t == target.triple);
    TARGETS.iter().filter(wanted).try_for_each(check)
}

fn check(target: &Target) -> Result<()> {
    setup::add_target(target.triple)?;
    if !setup::answers(target.compiler, &["--version"]) {
        setup::install_packages(target.debian)?;
    }
    let packages = target.packages.iter().flat_map(|package| ["--package", package]);
    let mut command: Command = cargo()?;
    command.args(["check", "--release", "--target", target.triple]).args(packages);
    if target.is_without_headers {
        use_own_headers(&mut command, target)?;
    }
    run_command(&mut command)
}

/// Has build scripts compile C with clang's own headers and a stand-in for the one of Apple's that ring asks for. Checking
/// links nothing, so that is enough.
fn use_own_headers(command: &mut Command, target: &Target) -> Result<()> {
    let folder = target_folder()?.join("apple-headers");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let file = folder.join("TargetConditionals.h");
    fs::write(&file, "#define TARGET_OS_OSX 1\n").with_context(|| format!("writing {}", file.display()))?;
    let triple = target.triple.replace('-', "_");
    let flags = format!("-ffreestanding -nostdlibinc -DRING_CORE_NOSTDLIBINC=1 -I{}", folder.display());
    command.env(format!("CC_{triple}"), target.compiler).env(format!("CFLAGS_{triple}"), flags).env("SDKROOT", "/");
    Ok(())
}
