//! What makes a machine part of a cluster: unit files, their settings, and that they are started.
//!
//! In: what the user chose. Out: an `Installation`, plain data; printed for `--dry-run`, else carried out.

pub(crate) mod join;
pub(crate) mod server;

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    errors::{Error, Result},
    output, platform, programs,
};

/// Where unit files of the machine's own go.
const UNITS: &str = "etc/systemd/system";
/// Where a package keeps them; those in `UNITS` come before them.
const PACKAGED_UNITS: &str = "usr/lib/systemd/system";
/// Where the settings of our units go.
const SETTINGS: &str = "etc/processdistro";
/// In which folder the unit files expect the programs.
const PROGRAMS: &str = "/usr/bin/";
/// There when systemd runs this machine.
const SYSTEMD: &str = "/run/systemd/system";
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// How to install, whatever it is.
#[derive(clap::Args)]
pub(crate) struct How {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Install below this folder, as into an image, and start nothing
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Write the files, and start nothing
    #[arg(long)]
    no_start: bool,
}

/// All that is to be done.
#[derive(Debug, Default, PartialEq)]
struct Installation {
    files: Vec<Planned>,
    /// Units to start, now and whenever the machine does.
    units: Vec<&'static str>,
}

/// One file.
#[derive(Debug, PartialEq)]
struct Planned {
    /// Below the root.
    path: String,
    mode: u32,
    text: String,
    /// True when one that is there stays: it is the user's by now.
    is_kept: bool,
}

impl Installation {
    /// A unit file of ours; its programs are those that came with us.
    fn unit(&mut self, name: &'static str, text: &str) {
        let programs = programs_folder(&text.lines().filter_map(started).collect::<Vec<_>>());
        let text = programs.map_or_else(|| text.to_owned(), |folder| text.replace(PROGRAMS, &folder));
        self.files.push(Planned { path: format!("{UNITS}/{name}"), mode: PUBLIC, text, is_kept: false });
        self.units.push(name);
    }

    /// Variables for a unit.
    fn variables(&mut self, name: &str, variables: &[(&str, Option<String>)]) {
        let given = variables.iter().filter_map(|(name, value)| Some(format!("{name}={}\n", value.as_ref()?)));
        let text = given.collect();
        self.files.push(Planned { path: format!("{SETTINGS}/{name}"), mode: PUBLIC, text, is_kept: false });
    }

    /// A secret.
    fn secret(&mut self, name: &str, secret: &str) {
        let text = format!("{secret}\n");
        self.files.push(Planned { path: format!("{SETTINGS}/{name}"), mode: PRIVATE, text, is_kept: false });
    }

    /// A file that is the user's once it is there.
    fn once(&mut self, name: &str, text: &str) {
        let path = format!("{SETTINGS}/{name}");
        self.files.push(Planned { path, mode: PUBLIC, text: text.to_owned(), is_kept: true });
    }

    /// Does it, or says what it would do. True when the units run now.
    fn carry_out(&self, how: &How) -> Result<bool> {
        if how.dry_run {
            output::print(&self.told(&how.root))?;
            return Ok(false);
        }
        self.files.iter().try_for_each(|file| file.write(&how.root))?;
        if how.no_start || how.root != Path::new("/") {
            return Ok(false);
        }
        if !Path::new(SYSTEMD).is_dir() {
            output::note("systemd does not run this machine: start the programs that the unit files name by hand");
            return Ok(false);
        }
        self.commands().iter().try_for_each(|command| execute(command))?;
        Ok(true)
    }

    fn commands(&self) -> Vec<Vec<&str>> {
        let enable = [&["systemctl", "enable", "--now"][..], &self.units].concat();
        // One that runs already goes on with its new settings.
        let restart = [&["systemctl", "restart"][..], &self.units].concat();
        vec![vec!["systemctl", "daemon-reload"], enable, restart]
    }

    /// For `--dry-run`: everything but the secrets.
    fn told(&self, root: &Path) -> String {
        let mut told = String::new();
        for file in &self.files {
            if let Some(packaged) = file.packaged(root) {
                let _ = writeln!(told, "use {}", packaged.display());
                continue;
            }
            let kept = if file.is_kept { ", unless it is there" } else { "" };
            let path = root.join(&file.path);
            let _ = writeln!(told, "write {} (mode {:o}{kept})", path.display(), file.mode);
            let shown = if file.mode == PRIVATE { "(a secret)\n" } else { &file.text };
            told += &shown.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect::<String>();
        }
        for command in self.commands() {
            let _ = writeln!(told, "run {}", command.join(" "));
        }
        told
    }
}

impl Planned {
    /// The unit of the package that says the same already. A copy of it would outlive the package's next version.
    fn packaged(&self, root: &Path) -> Option<PathBuf> {
        let packaged = root.join(PACKAGED_UNITS).join(Path::new(&self.path).strip_prefix(UNITS).ok()?);
        let is_same = fs::read_to_string(&packaged).is_ok_and(|text| text == self.text);
        (is_same && !root.join(&self.path).exists()).then_some(packaged)
    }

    /// Whole or not at all, and never readable by others for a moment when it must not be.
    fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(&self.path);
        if self.packaged(root).is_some() {
            return Ok(());
        }
        if self.is_kept && path.exists() {
            output::note(&format!("{} is kept as it is", path.display()));
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let mut file = platform::new_file_with(folder, self.mode).map_err(failed("write", &path))?;
        let write = |file: &mut fs::File| {
            file.write_all(self.text.as_bytes())?;
            platform::set_mode(file, self.mode)?;
            file.sync_all()
        };
        write(file.as_file_mut()).map_err(failed("write", &path))?;
        file.persist(&path).map_err(|error| failed("write", &path)(error.error))?;
        output::note(&format!("wrote {}", path.display()));
        Ok(())
    }
}

/// A refusal for want of rights says how to get them.
fn failed<'p>(doing: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Error + 'p {
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Invalid {
            message: format!("cannot {doing} `{}`: permission denied", path.display()),
            hint: Some("run it as root (sudo), or look at what it does with --dry-run".to_owned()),
        },
        _ => Error::file(doing, path)(source),
    }
}

/// The program that a line of a unit file starts.
fn started(line: &str) -> Option<&str> {
    line.strip_prefix("ExecStart=")?.split(' ').next()?.strip_prefix(PROGRAMS)
}

/// The folder of our own program, with a slash, when it is another than the unit files say and has what they start.
fn programs_folder(names: &[&str]) -> Option<String> {
    let folder = env::current_exe().ok()?.parent()?.to_str()?.to_owned() + "/";
    (folder != PROGRAMS && names.iter().all(|name| programs::beside_us(name).is_some())).then_some(folder)
}

fn execute(command: &[&str]) -> Result<()> {
    let line = command.join(" ");
    output::note(&format!("$ {line}"));
    let status = Command::new(command[0]).args(&command[1..]).status().map_err(Error::file("start", command[0]))?;
    if status.success() {
        return Ok(());
    }
    let hint = Some(format!("`systemctl status {0}` and `journalctl -u {0}` say more", command.last().unwrap_or(&"")));
    Err(Error::Invalid { message: format!("`{line}` failed: {status}"), hint })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn installation() -> Installation {
        let mut installation = Installation::default();
        installation.unit("a.service", "[Service]\nExecStart=/usr/bin/pd-absent --x\n");
        installation.variables("a.env", &[("PD_A", Some("1".to_owned())), ("PD_B", None)]);
        installation.secret("token", "id.secret");
        installation.once("config.yaml", "controller: {}\n");
        installation
    }

    #[test]
    fn a_dry_run_tells_all_but_the_secrets() {
        let told = installation().told(Path::new("/"));
        let expected = "\
write /etc/systemd/system/a.service (mode 644)
  [Service]
  ExecStart=/usr/bin/pd-absent --x
write /etc/processdistro/a.env (mode 644)
  PD_A=1
write /etc/processdistro/token (mode 600)
  (a secret)
write /etc/processdistro/config.yaml (mode 644, unless it is there)
  controller: {}
run systemctl daemon-reload
run systemctl enable --now a.service
run systemctl restart a.service
";
        assert_eq!(told, expected);
    }

    #[test]
    fn files_go_below_the_root_and_the_user_s_own_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let how = How { dry_run: false, root: folder.path().to_owned(), no_start: false };
        assert!(!installation().carry_out(&how).expect("installed"), "nothing is started below a root");
        let mode = |name: &str| fs::metadata(folder.path().join(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!((mode("etc/processdistro/token"), mode("etc/systemd/system/a.service")), (0o600, 0o644));
        let config = folder.path().join("etc/processdistro/config.yaml");
        fs::write(&config, "mine\n").expect("written");
        installation().carry_out(&how).expect("installed again");
        assert_eq!(fs::read_to_string(config).expect("read"), "mine\n");
    }

    #[test]
    fn a_unit_of_the_package_is_not_copied() {
        let root = tempfile::tempdir().expect("a folder");
        let packaged = root.path().join("usr/lib/systemd/system/a.service");
        fs::create_dir_all(packaged.parent().expect("a folder")).expect("made");
        fs::write(&packaged, &installation().files[0].text).expect("written");
        assert!(installation().told(root.path()).starts_with(&format!("use {}\n", packaged.display())));
        let how = How { dry_run: false, root: root.path().to_owned(), no_start: true };
        installation().carry_out(&how).expect("installed");
        let copy = root.path().join("etc/systemd/system/a.service");
        assert!(!copy.exists(), "the package's own would be hidden");
        fs::write(&packaged, "[Service]\n").expect("written");
        installation().carry_out(&how).expect("installed");
        assert!(copy.exists(), "another unit than ours is no use");
    }
}
