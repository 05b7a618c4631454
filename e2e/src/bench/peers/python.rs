//! Dask, Ray and Python's pool: an environment that is made once and kept, and a driver process that speaks lines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{
    jobs::Job,
    systems::{Place, SLOTS},
};

/// What the environment holds; another list makes another environment.
const PACKAGES: [&str; 3] = ["dask==2026.8.0", "distributed==2026.8.0", "ray==2.60.0"];
/// Written last: an environment without it is not whole.
const COMPLETE: &str = "packages.txt";
/// The driver and what it imports.
const FILES: [(&str, &str); 2] = [
    ("peer_driver.py", include_str!("python/peer_driver.py")),
    ("peer_kernels.py", include_str!("python/peer_kernels.py")),
];
/// From the start of a system to the first answer of all its workers.
const START_TIME: Duration = Duration::from_mins(2);
/// What a system gets to end by itself.
const STOP_TIME: Duration = Duration::from_secs(20);

/// The Python of an environment with Dask and Ray, made where it is missing; it takes some 350 MB.
pub(super) fn environment(folder: &Path, python: &Path) -> Result<PathBuf> {
    let environment = folder.join("venv");
    let program = environment.join("bin/python");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(environment.join(COMPLETE)).is_ok_and(|found| found == wanted) {
        return Ok(program);
    }
    eprintln!("installing {} into {}", PACKAGES.join(", "), environment.display());
    let mut make = Command::new(python);
    succeed(make.args(["-m", "venv", "--clear"]).arg(&environment))?;
    succeed(Command::new(&program).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    fs::write(environment.join(COMPLETE), wanted).context("noting that the environment is complete")?;
    Ok(program)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A system and the process that submits jobs to it.
pub(super) struct Driver {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
struct Answer {
    seconds: f64,
}

impl Driver {
    pub(super) async fn start(place: &Place, system: &str) -> Result<Self> {
        for (name, content) in FILES {
            fs::write(place.folder.join(name), content).with_context(|| format!("writing {name}"))?;
        }
        let log = fs::File::create(place.folder.join(format!("{system}.log"))).context("creating a log")?;
        let mut command = tokio::process::Command::new(&place.python);
        command.arg(place.folder.join(FILES[0].0)).arg(system).arg(SLOTS.to_string());
        command.env("PYTHONPATH", &place.folder).env("PEER_KERNELS", &place.library);
        command.env("RAY_USAGE_STATS_ENABLED", "0").kill_on_drop(true);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut process = spawned.with_context(|| format!("starting {}", place.python.display()))?;
        let requests = process.stdin.take().context("the driver has a standard input")?;
        let answers = BufReader::new(process.stdout.take().context("the driver has a standard output")?).lines();
        let mut driver = Self { process, requests, answers };
        let ready = tokio::time::timeout(START_TIME, driver.answer()).await;
        let ready = ready.with_context(|| format!("{system} does not start: see {system}.log"))?;
        ensure!(ready.with_context(|| format!("{system} does not start: see {system}.log"))? == "ready");
        Ok(driver)
    }

    pub(super) async fn run(&mut self, job: &Job) -> Result<f64> {
        let request = format!("{}\n", json!({"description": job.description, "count": job.count}));
        self.requests.write_all(request.as_bytes()).await.context("writing to the driver")?;
        let answer: Answer = serde_json::from_str(&self.answer().await?).context("reading the driver's answer")?;
        Ok(answer.seconds)
    }

    async fn answer(&mut self) -> Result<String> {
        match self.answers.next_line().await.context("reading from the driver")? {
            Some(line) => Ok(line),
            None => bail!("the driver has ended: {}", self.process.wait().await.context("waiting for the driver")?),
        }
    }

    /// Lets the system end what it has started.
    pub(super) async fn stop(mut self) -> Result<()> {
        drop(self.requests);
        let ended = tokio::time::timeout(STOP_TIME, self.process.wait()).await;
        let status = ended.context("the driver does not end")?.context("waiting for the driver")?;
        ensure!(status.success(), "the driver: {status}");
        Ok(())
    }
}
