//! Other machines: what of the workspace compiles for them, checked by cross-compiling.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{
    command::{cargo, run as run_command},
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
    /// Further variables for build scripts.
    variables: &'static [(&'static str, &'static str)],
}

const TARGETS: [Target; 4] = [
    Target {
        triple: "x86_64-pc-windows-gnu",
        packages: CLIENT,
        compiler: "x86_64-w64-mingw32-gcc",
        debian: &["gcc-mingw-w64-x86-64"],
        variables: &[],
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        packages: EVERYTHING,
        compiler: "aarch64-linux-gnu-gcc",
        debian: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        variables: &[],
    },
    // Apple's headers are nobody's to hand out. Checking links nothing, and ring's C is content with clang's own.
    Target {
        triple: "x86_64-apple-darwin",
        packages: CLIENT,
        compiler: "clang",
        debian: &["clang"],
        variables: &[("CC_x86_64_apple_darwin", "clang"), ("SDKROOT", "/")],
    },
    Target {
        triple: "aarch64-apple-darwin",
        packages: CLIENT,
        compiler: "clang",
        debian: &["clang"],
        variables: &[("CC_aarch64_apple_darwin", "clang"), ("SDKROOT", "/")],
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
    run_command(command.envs(target.variables.iter().copied()))
}
