//! What a new machine lacks.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::command::{read, run as run_command, target};

/// The target of the guests.
const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// The Kubernetes client of Python that the tests use: the newest major version they have seen.
const KUBERNETES_CLIENT: &str = "kubernetes==37.*";

/// Something that tests need, and the Debian packages that have it. On a machine with systemd Debian starts a server
/// with the package `prometheus`, which the tests neither need nor disturb: `systemctl disable --now prometheus` ends it.
struct Part {
    what: &'static str,
    /// Command lines that all end well when it is there.
    shown_by: &'static [&'static [&'static str]],
    packages: &'static [&'static str],
}

const PARTS: [Part; 8] = [
    Part {
        what: "Python 3 with numpy and bcrypt, which results are compared with",
        shown_by: &[&["/usr/bin/python3", "-c", "import numpy, bcrypt"]],
        packages: &["python3", "python3-numpy", "python3-bcrypt"],
    },
    Part {
        what: "Python's venv, for the example task in Python and the client of Kubernetes",
        shown_by: &[&["/usr/bin/python3", "-c", "import venv, ensurepip"]],
        packages: &["python3-venv"],
    },
    Part {
        what: "Prometheus 2.42 or newer, which scrapes a cluster",
        shown_by: &[&["prometheus", "--version"], &["promtool", "--version"]],
        packages: &["prometheus"],
    },
    Part {
        what: "clang and lld, for the example task in C",
        shown_by: &[&["clang", "--version"], &["wasm-ld", "--version"]],
        packages: &["clang", "lld"],
    },
    Part {
        what: "clang's libFuzzer, which `cargo xtask fuzz` links",
        shown_by: &[&["sh", "-c", "test -f \"$(clang -print-runtime-dir)/libclang_rt.fuzzer-$(uname -m).a\""]],
        packages: &["clang", "libclang-rt-dev"],
    },
    Part {
        what: "Node.js with npm, for the example task in JavaScript",
        shown_by: &[&["node", "--version"], &["npm", "--version"]],
        packages: &["nodejs", "npm"],
    },
    Part {
        what: "vim and git, which edit a watched folder",
        shown_by: &[&["vim", "--version"], &["git", "--version"]],
        packages: &["vim", "git"],
    },
    Part {
        what: "systemd-analyze, which checks our units",
        shown_by: &[&["systemd-analyze", "--version"]],
        packages: &["systemd"],
    },
];

/// Installs it, and says what it could not.
pub(crate) fn run() -> Result<()> {
    add_target(WASM_TARGET)?;
    let missing: Vec<&Part> = PARTS.iter().filter(|part| !part.is_there()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    install_kubernetes_client()?;
    if !answers("kubectl", &["version", "--client"]) {
        eprintln!(
            "kubectl is not on the PATH: install 1.30 or newer; without it its tests are left out, and fail where CI=true"
        );
    }
    Ok(())
}

/// The guests' target, unless it is there.
pub(crate) fn add_wasm_target() -> Result<()> {
    add_target(WASM_TARGET)
}

/// A target of the compiler, unless it is there.
pub(crate) fn add_target(target: &str) -> Result<()> {
    let mut rustc = Command::new("rustc");
    let folder = read(rustc.args(["--print", "target-libdir", "--target", target])).unwrap_or_default();
    if std::path::Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    run_command(Command::new("rustup").args(["target", "add", target]))
}

impl Part {
    fn is_there(&self) -> bool {
        self.shown_by.iter().all(|line| answers(line[0], &line[1..]))
    }
}

/// The Kubernetes client of Python, in an environment of its own in `target`, unless it is there.
fn install_kubernetes_client() -> Result<()> {
    let folder = target()?.join("python");
    let python = folder.join("bin/python").to_string_lossy().into_owned();
    if answers(&python, &["-c", "import kubernetes"]) {
        return Ok(());
    }
    if !answers("/usr/bin/python3", &["-c", "import ensurepip"]) {
        eprintln!("Python 3 has no venv here: the Python client is not tested, which is a failure where CI=true");
        return Ok(());
    }
    run_command(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&folder))?;
    run_command(Command::new(&python).args(["-m", "pip", "install", "--quiet", KUBERNETES_CLIENT]))
}

fn install(missing: &[&Part]) -> Result<()> {
    if !answers("apt-get", &["--version"]) {
        for part in missing {
            eprintln!(
                "no apt-get here: install {}; without it those tests are left out, and fail where CI=true",
                part.what
            );
        }
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|part| part.packages).copied().collect();
    install_packages(&packages)
}

/// Debian packages, as they are.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    apt_get(&["update", "-qq"])?;
    apt_get(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
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
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
