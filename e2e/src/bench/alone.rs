//! An API server alone: no reconciler, no nodes; killed and started again on its data.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::wire::Wire;
use crate::{binaries::Binaries, cluster::free_port, process::Process};

/// From a start to its first answer; a large store included.
const START_TIME: Duration = Duration::from_mins(1);
/// Between two attempts to reach a server that starts.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// The server; dropping it kills it.
pub(super) struct Alone {
    folder: PathBuf,
    program: PathBuf,
    port: u16,
    process: Process,
}

impl Alone {
    /// Starts one whose data are in `folder`.
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let program = Binaries::locate()?.program("pd-apiserver");
        let port = free_port()?;
        let process = spawn(&program, folder, port)?;
        let server = Self { folder: folder.to_owned(), program, port, process };
        server.ready().await?;
        Ok(server)
    }

    /// Its process.
    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// How to reach it as its administrator.
    pub(super) async fn wire(&self) -> Result<Wire> {
        Wire::to(&self.folder.join("admin.kubeconfig")).await
    }

    /// How to reach it as a reconciler.
    pub(super) async fn reconciler(&self) -> Result<Wire> {
        Wire::to(&self.folder.join("reconciler.kubeconfig")).await
    }

    /// `kill -9`, and a new start on the same data. Answers when the new process began.
    pub(super) fn crash(&mut self) -> Result<Instant> {
        self.process.kill()?;
        let began = Instant::now();
        self.process = spawn(&self.program, &self.folder, self.port)?;
        Ok(began)
    }

    /// Waits until it answers that it is ready.
    pub(super) async fn ready(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = async { self.wire().await?.connect().await?.get("/readyz").await }.await;
            let Err(error) = answer else { return Ok(()) };
            ensure!(self.process.is_alive(), "the API server has exited: see {}", self.folder.join("log").display());
            if start.elapsed() > START_TIME {
                return Err(error.context("the API server does not become ready"));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

fn spawn(program: &Path, folder: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(folder).arg("--listen").arg(format!("127.0.0.1:{port}"));
    Process::start(&mut command, &folder.join("log"))
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill() {
            eprintln!("ending the API server: {error:#}");
        }
    }
}
