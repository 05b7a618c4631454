//! Processes that outlive the program that started them, and are only ever touched by pid.
//!
//! A pid alone may have been given to somebody else since; together with the start time in `/proc` it names
//! one process for good.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

/// How long a process may take to end after it was killed.
const KILL_TIME: Duration = Duration::from_secs(10);
/// Between two looks at a dying process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// One process, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pid: i32,
    /// Clock ticks from boot to its start.
    started: u64,
}

/// What `/proc/PID/stat` says of a process.
struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

/// Reads `/proc/PID/stat`; none when there is no such process.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; count from its end.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

impl Process {
    /// Starts `command` in a process group of its own, its output appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let errors = output.try_clone().context("duplicating a log file's handle")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        let pid = i32::try_from(child.id()).context("a pid beyond i32")?;
        let started = stat(pid).context("the process ended before it could be seen")?.started;
        Ok(Self { pid, started })
    }

    /// Its pid.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// True while it has not ended. A child of ours that has is reaped by the way.
    pub fn is_alive(self) -> bool {
        let same = |stat: &Stat| stat.started == self.started;
        if stat(self.pid).is_some_and(|stat| same(&stat) && stat.state == 'Z') {
            // Not our child, or somebody else reaped it: both leave nothing to do.
            let _ = waitpid(Pid::from_raw(self.pid), WaitOptions::NOHANG);
        }
        stat(self.pid).is_some_and(|stat| same(&stat) && stat.state != 'Z')
    }

    /// Sends a signal; a process that has ended already is no error.
    pub fn signal(self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) else { return Ok(()) };
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("sending {signal:?} to process {}", self.pid)),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if self.ends_within(KILL_TIME) { Ok(()) } else { bail!("process {} survives SIGKILL", self.pid) }
    }

    /// Asks it to end, and kills it after `grace`.
    pub fn end(self, grace: Duration) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.signal(Signal::TERM)?;
        if self.ends_within(grace) { Ok(()) } else { self.kill() }
    }

    /// Its children.
    pub fn children(self) -> Vec<Self> {
        let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
        listing
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| {
                stat(pid).filter(|stat| stat.parent == self.pid).map(|stat| Self { pid, started: stat.started })
            })
            .collect()
    }

    /// Its resident memory in bytes, now and at its highest.
    pub fn resident_bytes(self) -> Result<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).context("reading a process's status")?;
        let kib = |key: &str| -> Result<u64> {
            let line =
                text.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key} in the status"))?;
            let number = line.split_whitespace().nth(1).context("a status line without a number")?;
            Ok(number.parse::<u64>()? * 1024)
        };
        Ok((kib("VmRSS:")?, kib("VmHWM:")?))
    }

    fn ends_within(self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }
}
