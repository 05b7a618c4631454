//! `cargo xtask`: set-up, build, demo, tests, packages, benchmarks, fuzzing and simulations.

mod bench;
mod build;
mod check;
mod command;
mod demo;
mod fuzz;
mod package;
mod setup;
mod sim;
mod targets;
mod test;

use anyhow::Result;
use clap::Parser;

/// What this repository can do for you.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
enum Verb {
    /// Install what a new machine lacks: the wasm target, and Debian packages that the tests compare with.
    Setup,
    /// Build all programs (release) and the built-in task components.
    Build,
    /// Start a cluster, render a picture on it, show it, delete the cluster.
    Demo(demo::Options),
    /// Run all tests, the whole-system ones included.
    Test,
    /// Check formatting, lints and docs.
    Check,
    /// Check that what runs on other systems compiles for them.
    CheckTargets(targets::Options),
    /// Make what people install: a Debian package, or static programs.
    Package(package::Options),
    /// Measure.
    Bench(bench::Options),
    /// Fuzz everything that reads what a stranger wrote.
    Fuzz(fuzz::Options),
    /// Simulate whole clusters around the real plan: random faults, or the comparison with other policies.
    Sim(sim::Options),
}

fn main() -> Result<()> {
    if fuzz::is_compiling() {
        return fuzz::compile();
    }
    match Verb::parse() {
        Verb::Setup => setup::run(),
        Verb::Build => build::run(),
        Verb::Demo(options) => demo::run(&options),
        Verb::Test => test::run(),
        Verb::Check => check::run(),
        Verb::CheckTargets(options) => targets::run(&options),
        Verb::Package(options) => package::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Sim(options) => sim::run(&options),
    }
}
