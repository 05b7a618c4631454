//! What a new machine lacks.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::command::{read, run as run_command, target};

/// The target of the guests.
const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// The Kubernetes client of Python that the tests use: the newest major version they have seen.
const KUBERNETES_CLIENT: &str = "kubernetes==37.*";
/// Debian packages with the references that the tests compare our results with.
const REFERENCES: [&str; 3] = ["python3", "python3-numpy", "python3-bcrypt"];

/// Installs it, and says what it could not.
pub(crate) fn run() -> Result<()> {
    add_wasm_target()?;
    install_references()?;
    install_kubernetes_client()?;
    install_prometheus()?;
    install_clang()?;
    if !answers("kubectl", &["version", "--client"]) {
        eprintln!("kubectl is not on the PATH: install 1.30 or newer; without it the kubectl tests are skipped");
    }
    Ok(())
}

/// The guests' target, unless it is there.
pub(crate) fn add_wasm_target() -> Result<()> {
    let mut rustc = Command::new("rustc");
    let folder = read(rustc.args(["--print", "target-libdir", "--target", WASM_TARGET])).unwrap_or_default();
    if std::path::Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    run_command(Command::new("rustup").args(["target", "add", WASM_TARGET]))
}

/// The references, unless they are there.
fn install_references() -> Result<()> {
    if answers("/usr/bin/python3", &["-c", "import numpy, bcrypt"]) {
        return Ok(());
    }
    if !answers("apt-get", &["--version"]) {
        eprintln!("no apt-get here: install Python 3 with numpy and bcrypt; without them those tests are skipped");
        return Ok(());
    }
    apt_get(&["update", "-qq"])?;
    apt_get(&[&["install", "-y", "-qq", "--no-install-recommends"], &REFERENCES[..]].concat())
}

/// The Kubernetes client of Python, in an environment of its own in `target`, unless it is there.
fn install_kubernetes_client() -> Result<()> {
    let folder = target()?.join("python");
    let python = folder.join("bin/python").to_string_lossy().into_owned();
    if answers(&python, &["-c", "import kubernetes"]) {
        return Ok(());
    }
    if !answers("/usr/bin/python3", &["-c", "import ensurepip"]) {
        if !answers("apt-get", &["--version"]) {
            eprintln!("no apt-get here: install Python 3 with venv; without it the Python client is not tested");
            return Ok(());
        }
        apt_get(&["update", "-qq"])?;
        apt_get(&["install", "-y", "-qq", "--no-install-recommends", "python3-venv"])?;
    }
    run_command(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&folder))?;
    run_command(Command::new(&python).args(["-m", "pip", "install", "--quiet", KUBERNETES_CLIENT]))
}

/// Prometheus with promtool, unless it is there. On a machine with systemd Debian starts a server of it, which the tests
/// neither need nor disturb: `systemctl disable --now prometheus` ends it.
fn install_prometheus() -> Result<()> {
    if answers("prometheus", &["--version"]) && answers("promtool", &["--version"]) {
        return Ok(());
    }
    if !answers("apt-get", &["--version"]) {
        eprintln!("no apt-get here: install Prometheus 2.42 or newer; without it the metrics tests are skipped");
        return Ok(());
    }
    apt_get(&["update", "-qq"])?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", "prometheus"])
}

/// The compiler of the example task in C, unless it is there.
fn install_clang() -> Result<()> {
    if answers("clang", &["--version"]) && answers("wasm-ld", &["--version"]) {
        return Ok(());
    }
    if !answers("apt-get", &["--version"]) {
        eprintln!("no apt-get here: install clang and lld; without them the task in C is not tested");
        return Ok(());
    }
    apt_get(&["update", "-qq"])?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", "clang", "lld"])
}

/// `apt-get`, through sudo for whoever is not root.
fn apt_get(arguments: &[&str]) -> Result<()> {
    let is_root = answers("test", &["-w", "/var/lib/dpkg"]);
    let mut command = if is_root { Command::new("apt-get") } else { Command::new("sudo") };
    if !is_root {
        command.arg("apt-get");
    }
    run_command(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// True when `program` runs and ends well.
fn answers(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
