//! Programs of others that tests cannot do without: those that our results are compared with (Python with numpy and
//! bcrypt or with the client of Kubernetes, kubectl, Prometheus), and tools that people use on our files. What is missing
//! is told loudly here, and is a failure where `CI=true`: there nothing is skipped.

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

/// True when Python can import all of `modules`; see `works` for what happens when it cannot.
pub fn has_python(modules: &[&str]) -> bool {
    let import = format!("import {}", modules.join(", "));
    works(Command::new(PYTHON).args(["-c", &import]), &format!("Python 3 with {}", modules.join(" and ")))
}

/// The Python that has the Kubernetes client, which `cargo xtask setup` puts beside the programs; `None`: see `works` for
/// what happens when it is not there.
pub fn kubernetes_python() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let found = own.ancestors().map(|folder| folder.join(KUBERNETES_PYTHON)).find(|python| python.is_file());
    let python = found.unwrap_or_else(|| PYTHON.into());
    works(Command::new(&python).args(["-c", "import kubernetes"]), "the Kubernetes client of Python").then_some(python)
}

/// True when kubectl is there; see `works` for what happens when it is not.
pub fn has_kubectl() -> bool {
    works(Command::new("kubectl").args(["version", "--client"]), "kubectl")
}

/// True when Prometheus and promtool are there; see `works` for what happens when they are not.
pub fn has_prometheus() -> bool {
    has("prometheus") && has("promtool")
}

/// Runs a Python script with arguments, in `folder`; answers what it printed.
pub fn python(script: &str, arguments: &[&str], folder: &Path) -> Result<String> {
    let output = Command::new(PYTHON).arg("-c").arg(script).args(arguments).current_dir(folder).output()?;
    ensure!(output.status.success(), "the reference script failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("the reference script printed something else than text")
}

/// True when `program` answers to `--version`; see `works` for what happens when it does not.
pub fn has(program: &str) -> bool {
    works(Command::new(program).arg("--version"), program)
}

/// True when the command succeeds, which shows that `what` is there. With `CI=true` it is a failure when it does not;
/// elsewhere the caller leaves its test out, and this says so.
pub fn works(command: &mut Command, what: &str) -> bool {
    let why = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => error.to_string(),
    };
    missing(what, &why);
    false
}

/// Tells that `what` is missing; with `CI=true` it does not return.
pub fn missing(what: &str, why: &str) {
    let told = format!("{what} is missing ({why}): `cargo xtask setup` installs it, or says how");
    assert!(!env::var("CI").is_ok_and(|value| value == "true"), "{told}");
    eprintln!("NOT TESTED: {told}");
}
