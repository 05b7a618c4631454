//! Independent programs that our results are compared with: Python with numpy and bcrypt or with the client of
//! Kubernetes, kubectl, and Prometheus.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Debian's Python, whose packages `cargo xtask setup` installs.
const PYTHON: &str = "/usr/bin/python3";
/// An environment of its own, in the folder of the build.
const KUBERNETES_PYTHON: &str = "python/bin/python";

/// True when Python can import all of `modules`. With `CI=true` a missing one is a failure; elsewhere the
/// caller skips its comparison, and this says so.
pub fn has_python(modules: &[&str]) -> bool {
    let import = format!("import {}", modules.join(", "));
    answers(Command::new(PYTHON).args(["-c", &import]), &format!("Python 3 with {}", modules.join(" and ")))
}

/// The Python that has the Kubernetes client, which `cargo xtask setup` puts beside the programs; `None`: see
/// `has_python` for what happens when it is not there.
pub fn kubernetes_python() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let found = own.ancestors().map(|folder| folder.join(KUBERNETES_PYTHON)).find(|python| python.is_file());
    let python = found.unwrap_or_else(|| PYTHON.into());
    answers(Command::new(&python).args(["-c", "import kubernetes"]), "the Kubernetes client of Python")
        .then_some(python)
}

/// True when kubectl is there; see `has_python` for what happens when it is not.
pub fn has_kubectl() -> bool {
    answers(Command::new("kubectl").args(["version", "--client"]), "kubectl")
}

/// True when Prometheus and promtool are there; see `has_python` for what happens when they are not.
pub fn has_prometheus() -> bool {
    let has = |program: &str| answers(Command::new(program).arg("--version"), program);
    has("prometheus") && has("promtool")
}

/// Runs a Python script with arguments, in `folder`; answers what it printed.
pub fn python(script: &str, arguments: &[&str], folder: &Path) -> Result<String> {
    let output = Command::new(PYTHON).arg("-c").arg(script).args(arguments).current_dir(folder).output()?;
    ensure!(output.status.success(), "the reference script failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("the reference script printed something else than text")
}

fn answers(command: &mut Command, what: &str) -> bool {
    let works = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let is_ci = env::var("CI").is_ok_and(|value| value == "true");
    assert!(works || !is_ci, "{what} is missing: `cargo xtask setup` says how to install it");
    if !works {
        eprintln!("SKIPPED: {what} is missing: `cargo xtask setup` says how to install it");
    }
    works
}
