//! Programs and task components.

use std::fs;

use anyhow::{Context, Result};
use task_abi::{inspect, wrap};

use crate::{
    command::{cargo, run as run_command, target},
    setup,
};

/// Crates of the built-in tasks.
const TASKS: [&str; 4] = ["mandelbrot", "matrix_mul", "noop", "password_hash"];

/// Builds everything into `target/release` and `target/tasks`.
pub(crate) fn run() -> Result<()> {
    build(&[])
}

/// Builds the tests as well.
pub(crate) fn run_with_tests() -> Result<()> {
    build(&["--all-targets"])
}

fn build(targets: &[&str]) -> Result<()> {
    setup::add_wasm_target()?;
    // The whole workspace at once: a choice of packages would unify features differently and build twice.
    run_command(cargo()?.args(["build", "--release", "--workspace"]).args(targets))?;
    build_tasks()
}

/// Compiles each task to a core module and wraps it into a component named after its metadata.
pub(crate) fn build_tasks() -> Result<()> {
    let packages = TASKS.iter().flat_map(|task| ["--package", task]);
    run_command(cargo()?.args(["build", "--profile", "task", "--target", "wasm32-unknown-unknown"]).args(packages))?;
    let (modules, components) = (target()?.join("wasm32-unknown-unknown/task"), target()?.join("tasks"));
    fs::create_dir_all(&components).with_context(|| format!("creating {}", components.display()))?;
    for task in TASKS {
        let path = modules.join(task).with_extension("wasm");
        let module = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let component = wrap(&module).with_context(|| format!("wrapping {}", path.display()))?;
        let inspection = inspect(&component).with_context(|| format!("inspecting {task}"))?;
        let path = components.join(&inspection.metadata.name).with_extension("wasm");
        // An unchanged component keeps its time stamp, so that nobody uploads it anew for nothing.
        if fs::read(&path).is_ok_and(|old| old == component) {
            continue;
        }
        fs::write(&path, &component).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("{}: {} bytes", path.display(), component.len());
    }
    Ok(())
}
