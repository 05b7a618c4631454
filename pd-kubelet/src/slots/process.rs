//! An executor as a process: how it is started, whoever it is for, and what becomes of its complaints.

use std::{io, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::metrics::Metrics;

/// Lines of one executor's standard error that reach our log; the rest is read and dropped.
const STDERR_LINES_MAX: usize = 100;
/// Bytes of such a line.
const STDERR_LINE_BYTES_MAX: usize = 2 << 10;

/// A process with its pipes.
pub(super) struct Process {
    /// Killed when this is dropped.
    pub child: Child,
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
}

impl Process {
    /// Starts `command` in `folder`: no environment, a process group of its own, dead when we drop it.
    pub(super) fn start(command: &mut Command, folder: &Path, metrics: &Metrics) -> io::Result<Self> {
        command.env_clear().current_dir(folder).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        metrics.executor_starts.inc();
        let missing = || io::Error::other("the executor has no pipes");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log_stderr(stderr, child.id().unwrap_or_default()));
        }
        Ok(Self { child, stdin, stdout })
    }
}

/// Logs the first lines and drains the rest, so that an executor never blocks on its own complaints.
async fn log_stderr(stderr: ChildStderr, pid: u32) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut logged = 0;
    loop {
        line.clear();
        match (&mut lines).take(STDERR_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) if logged < STDERR_LINES_MAX => {
                let text = String::from_utf8_lossy(&line);
                tracing::warn!(pid, line = text.trim_end(), "executor says");
                logged += 1;
            }
            Ok(_) => {}
        }
    }
}
