//! The systems, each with two workers of one thread. One runs at a time; the others do not exist meanwhile.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{jobs::Job, python::Driver};
use crate::{Scenario, bench::run_job, binaries::Binaries};

/// Workers of every system, and cores of the machine that they share.
pub(super) const SLOTS: u32 = 2;
/// For one job; far above anything worth reporting.
const JOB_TIME: Duration = Duration::from_mins(10);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(super) enum System {
    /// Ours, a fresh sandbox for each subtask.
    ProcessDistro,
    /// Ours, an instance for many subtasks.
    Batch,
    /// multiprocessing.Pool with chunks of one.
    Pool,
    /// A process for each subtask.
    Xargs,
    /// Ray.
    Ray,
    /// Dask.distributed.
    Dask,
}

impl System {
    /// As tables name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ProcessDistro => "ProcessDistro",
            Self::Batch => "ProcessDistro, Batch",
            Self::Pool => "Python's Pool, chunk 1",
            Self::Xargs => "xargs -P2",
            Self::Ray => "Ray",
            Self::Dask => "Dask.distributed",
        }
    }

    /// True for ours.
    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::ProcessDistro | Self::Batch)
    }

    /// Starts it and has each of its workers do something.
    pub(super) async fn start(self, place: &Place) -> Result<Running> {
        match self {
            Self::ProcessDistro => Ours::start("Subtask").await.map(Running::Ours),
            Self::Batch => Ours::start("Batch").await.map(Running::Ours),
            Self::Pool => Driver::start(place, "pool").await.map(Running::Python),
            Self::Ray => Driver::start(place, "ray").await.map(Running::Python),
            Self::Dask => Driver::start(place, "dask").await.map(Running::Python),
            Self::Xargs => Ok(Running::Xargs(place.clone())),
        }
    }
}

/// Where things are.
#[derive(Clone)]
pub(super) struct Place {
    /// Files of this benchmark; kept from one run to the next.
    pub folder: PathBuf,
    /// A Python; with Dask and Ray in its environment if they could be installed.
    pub python: PathBuf,
    /// The native kernels as a library and as a program.
    pub library: PathBuf,
    pub program: PathBuf,
}

/// A system that has been started.
pub(super) enum Running {
    Ours(Ours),
    Python(Driver),
    Xargs(Place),
}

impl Running {
    /// Runs a job from its submission to its last output, in seconds.
    pub(super) async fn run(&mut self, job: &Job) -> Result<f64> {
        let running = async {
            match self {
                Self::Ours(ours) => ours.run(job).await,
                Self::Python(driver) => driver.run(job).await,
                Self::Xargs(place) => xargs(place, job),
            }
        };
        tokio::time::timeout(JOB_TIME, running).await.context("the job took too long")?
    }

    /// Ends it.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Python(driver) => driver.stop().await,
            Self::Ours(_) | Self::Xargs(_) => Ok(()),
        }
    }
}

/// One node of two slots with its API server and reconciler, on the same two cores.
pub(super) struct Ours {
    scenario: Scenario,
    isolation: &'static str,
    jobs: u32,
}

impl Ours {
    async fn start(isolation: &'static str) -> Result<Self> {
        let mut ours = Self { scenario: Scenario::start(1, SLOTS).await?, isolation, jobs: 0 };
        ours.run(&Job::trivial(999)).await?;
        Ok(ours)
    }

    async fn run(&mut self, job: &Job) -> Result<f64> {
        let inputs = self.inputs(job)?;
        self.jobs += 1;
        let name = format!("job-{}", self.jobs);
        let manifest = json!({
            "apiVersion": "processdistro.dev/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "task": {"name": job.task, "params": job.params, "inputs": inputs},
                "sandbox": {"isolation": self.isolation},
                "cache": false,
            },
        });
        let started = Instant::now();
        let ended = run_job(&self.scenario.client(), &name, &manifest, JOB_TIME).await?;
        let seconds = started.elapsed().as_secs_f64();
        let status = ended.status.context("a complete job has a status")?;
        ensure!(status.subtasks.succeeded == job.count, "{:?} of {}", status.subtasks, job.count);
        Ok(seconds)
    }

    /// The digests of a job's inputs, which the store and the node have afterwards: the files are uploaded with a job
    /// of other params, so that nothing of the measured one is known. It has ended before the measured one is applied.
    fn inputs(&mut self, job: &Job) -> Result<Value> {
        let mut digests = serde_json::Map::new();
        let mut arguments = vec!["run".to_owned(), job.task.to_owned(), "--name".to_owned(), "warm-up".to_owned()];
        for (name, path) in &job.inputs {
            digests.insert((*name).to_owned(), Value::String(digest(path)?));
            arguments.extend(["--input".to_owned(), format!("{name}={path}")]);
        }
        if !digests.is_empty() {
            let mut params = job.params.clone();
            params["batchSize"] = json!(499_999);
            arguments.extend(["--params".to_owned(), params.to_string()]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            self.scenario.pdctl(&arguments)?;
            self.scenario.pdctl(&["wait", "job/warm-up"])?;
        }
        Ok(Value::Object(digests))
    }
}

fn digest(path: &str) -> Result<String> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let bytes = fs::read(path).with_context(|| format!("reading {path}"))?;
    hash.update(bytes);
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{digits}"))
}

/// A process for each index: for the trivial job `true`, for the others the native kernels' program. Outputs go to one
/// file, as they come.
fn xargs(place: &Place, job: &Job) -> Result<f64> {
    let (indexes, description) = (place.folder.join("indexes"), place.folder.join("description.json"));
    let numbers: String = (0..job.count).map(|index| format!("{index}\n")).collect();
    fs::write(&indexes, numbers).context("writing the list of indexes")?;
    let mut command = Command::new("xargs");
    command.arg(format!("-P{SLOTS}")).args(["-n", "1"]);
    match &job.description {
        None => command.arg("true"),
        Some(text) => {
            fs::write(&description, text).context("writing the job's description")?;
            command.arg(&place.program).arg(&description).arg("run")
        }
    };
    let outputs = File::create(place.folder.join("outputs")).context("creating a file for outputs")?;
    command
        .stdin(File::open(&indexes).context("opening the list of indexes")?)
        .stdout(outputs)
        .stderr(Stdio::inherit());
    let started = Instant::now();
    let status = command.status().context("running xargs")?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(status.success(), "xargs: {status}");
    Ok(seconds)
}

/// Seconds that a job's kernel takes on one thread: the native one, or ours in the bare wasmtime loop.
pub(super) fn single_thread(place: &Place, job: &Job, is_ours: bool) -> Result<f64> {
    if is_ours { bare_loop(job) } else { native(place, job) }
}

fn native(place: &Place, job: &Job) -> Result<f64> {
    let file = place.folder.join("description.json");
    fs::write(&file, job.description.as_deref().context("a job that computes")?).context("writing a description")?;
    let output = Command::new(&place.program).arg(&file).arg("all").output().context("running pd-kernel")?;
    ensure!(output.status.success(), "pd-kernel: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.trim().parse().context("pd-kernel prints seconds")
}

fn bare_loop(job: &Job) -> Result<f64> {
    let binaries = Binaries::locate()?;
    let mut command = Command::new(binaries.program("pd-executor"));
    command.arg("bench").arg("--component").arg(binaries.task(job.task));
    command.args(["--params", &job.params.to_string(), "--count", &job.count.to_string()]);
    for (name, path) in &job.inputs {
        command.args(["--input", &format!("{name}={path}")]);
    }
    let output = command.output().context("running pd-executor")?;
    ensure!(output.status.success(), "pd-executor bench: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let figure = printed.split_whitespace().find_map(|word| word.strip_prefix("runs_per_second="));
    let rate: f64 = figure.with_context(|| format!("no figure in `{printed}`"))?.parse()?;
    Ok(job.count as f64 / rate)
}
