//! One test's cluster: created for it, deleted after it, with its logs shown when the test fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::{Api, Client, api::ListParams};
use schemas::{Assignment, Job, condition, job::conditions, well_known::LABEL_JOB};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::{Cluster, Shape, deadline};

/// Scenarios of one test program take turns: each wants the machine for itself.
static TURN: Mutex<()> = Mutex::const_new(());
/// Name of every scenario's cluster; each has a home of its own.
const CLUSTER: &str = "scenario";

/// A cluster for one test, and a folder for its files.
pub struct Scenario {
    cluster: Option<Cluster>,
    client: Client,
    files: TempDir,
    // The last field: the next scenario starts when this one is gone.
    _turn: MutexGuard<'static, ()>,
}

impl Scenario {
    /// Creates the cluster and waits until its nodes are ready.
    pub async fn start(nodes: u32, slots: u32) -> Result<Self> {
        let turn = TURN.lock().await;
        let files = tempfile::tempdir().context("creating a scenario's folder")?;
        let home = files.path().join("clusters");
        let cluster = Cluster::create(&home, CLUSTER, Shape { nodes, slots }).await?;
        let client = cluster.client().await?;
        Ok(Self { cluster: Some(cluster), client, files, _turn: turn })
    }

    /// Its cluster.
    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("invariant: a scenario has its cluster until it is dropped")
    }

    fn running(&self) -> &Cluster {
        self.cluster.as_ref().expect("invariant: a scenario has its cluster until it is dropped")
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Path of a file in the scenario's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a file into the scenario's folder and answers its path as text.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        text(&path)
    }

    /// The scenario's folder.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// Runs pdctl in the scenario's folder; whatever it answers.
    pub fn pdctl_output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.running().pdctl();
        command.args(arguments).current_dir(self.files.path()).output().context("running pdctl")
    }

    /// Runs pdctl; answers what it printed, or fails with what it complained of.
    pub fn pdctl(&self, arguments: &[&str]) -> Result<String> {
        succeeded("pdctl", arguments, &self.pdctl_output(arguments)?)
    }

    /// Runs kubectl; answers what it printed, or fails with what it complained of.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_command().args(arguments).output().context("running kubectl")?;
        succeeded("kubectl", arguments, &output)
    }

    /// A kubectl command in the scenario's folder.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.running().kubectl();
        command.current_dir(self.files.path());
        command
    }

    /// A job by its name.
    pub async fn job(&self, name: &str) -> Result<Job> {
        let jobs: Api<Job> = Api::default_namespaced(self.client());
        jobs.get(name).await.with_context(|| format!("getting job {name}"))
    }

    /// The Assignments of a job.
    pub async fn assignments(&self, job: &str) -> Result<Vec<Assignment>> {
        let assignments: Api<Assignment> = Api::default_namespaced(self.client());
        let listed = assignments.list(&ListParams::default().labels(&format!("{LABEL_JOB}={job}"))).await;
        Ok(listed.with_context(|| format!("listing the assignments of job {job}"))?.items)
    }

    /// Waits until `seen` holds of the job.
    pub async fn until_job(&self, name: &str, what: &str, limit: Duration, seen: impl Fn(&Job) -> bool) -> Result<Job> {
        deadline::until(&format!("job {name} {what}"), limit, async || {
            let job = self.job(name).await?;
            Ok(seen(&job).then_some(job))
        })
        .await
    }

    /// Waits until the job is Complete; fails at once when it has Failed.
    pub async fn until_complete(&self, name: &str, limit: Duration) -> Result<Job> {
        let job = self
            .until_job(name, "to end", limit, |job| has(job, conditions::COMPLETE) || has(job, conditions::FAILED))
            .await?;
        ensure!(has(&job, conditions::COMPLETE), "job {name} failed: {:?}", job.status);
        Ok(job)
    }
}

/// True when the job's condition `type_` is True.
pub fn has(job: &Job, type_: &str) -> bool {
    job.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, type_))
}

/// A path as text.
pub fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not text", path.display()))
}

fn succeeded(program: &str, arguments: &[&str], output: &Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}\n{errors}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let Some(cluster) = self.cluster.take() else { return };
        if thread::panicking() {
            eprintln!("{}", cluster.log_tails());
        }
        if let Err(error) = cluster.delete() {
            eprintln!("deleting the scenario's cluster: {error:#}");
        }
    }
}
