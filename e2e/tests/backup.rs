//! A cluster is backed up while it works, lost, and restored: the job goes on with the same nodes, and whoever watched
//! the lost server lists anew.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::Scenario;
use kube::{
    Api,
    api::{ListParams, WatchParams},
};
use schemas::Job;

/// For the whole job on the reference machine, what is computed again included.
const JOB_TIME: Duration = Duration::from_secs(90);

fn succeeded(job: &Job) -> u64 {
    job.status.as_ref().map_or(0, |status| status.subtasks.succeeded)
}

/// A picture of many small tiles: each output is another one.
fn start_job(scenario: &Scenario, name: &str) -> Result<()> {
    let params = r#"{"width":1200,"height":800,"maxIterations":20000,"tileSize":40,"output":"counts"}"#;
    scenario.pdctl(&["run", "mandelbrot", "--name", name, "--params", params, "--detach"])?;
    Ok(())
}

fn result_of(scenario: &Scenario, name: &str) -> Result<Vec<u8>> {
    scenario.pdctl(&["results", &format!("job/{name}"), "-o", name])?;
    fs::read(scenario.path(name)).context("reading the result")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_comes_back_from_its_backup_and_its_job_goes_on() -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;
    start_job(&scenario, "undisturbed")?;
    let total = scenario.until_complete("undisturbed", JOB_TIME).await?.status.context("a status")?.subtasks.total;
    let undisturbed = result_of(&scenario, "undisturbed")?;

    start_job(&scenario, "disturbed")?;
    scenario.until_job("disturbed", "to be a third done", JOB_TIME, |job| succeeded(job) > total / 3).await?;
    scenario.pdctl(&["backup", "cluster.tar"])?;
    let backup = scenario.path("cluster.tar");
    ensure!(fs::metadata(&backup)?.permissions().mode() & 0o777 == 0o600, "others can read the backup");
    // The cluster goes on, and what it does from here on is lost with it.
    start_job(&scenario, "forgotten")?;
    scenario.until_job("disturbed", "to be two thirds done", JOB_TIME, |job| succeeded(job) > total * 2 / 3).await?;
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    let seen = jobs.list(&ListParams::default()).await?.metadata.resource_version.context("a revision")?;

    scenario.cluster().kill_apiserver()?;
    let data = scenario.cluster().kubeconfig().parent().context("a data folder")?.to_owned();
    let folder = data.to_str().context("a path")?.to_owned();
    let refused = scenario.pdctl_output(&["restore", "cluster.tar", "--data-dir", &folder])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("is not empty"), "{said}");
    fs::rename(&data, scenario.path("lost"))?;
    let restored = scenario.pdctl(&["restore", "cluster.tar", "--data-dir", &folder])?;
    ensure!(restored.trim() == format!("{folder} restored"), "{restored}");
    scenario.cluster().restart_apiserver().await?;

    // Nobody resumes where the lost server was.
    let old = jobs.watch(&WatchParams::default(), &seen).await;
    let is_gone = match old {
        Err(kube::Error::Api(status)) => status.code == 410,
        Err(_) => false,
        Ok(events) => {
            use futures::TryStreamExt as _;
            let mut events = Box::pin(events);
            matches!(events.try_next().await?, Some(kube::api::WatchEvent::Error(status)) if status.code == 410)
        }
    };
    ensure!(is_gone, "a watch from {seen} went on");
    ensure!(jobs.get_opt("forgotten").await?.is_none(), "what came after the backup is not in it");

    let disturbed = scenario.until_complete("disturbed", JOB_TIME).await?;
    ensure!(succeeded(&disturbed) == total, "{:?}", disturbed.status);
    ensure!(result_of(&scenario, "disturbed")? == undisturbed, "the bytes differ");
    start_job(&scenario, "afterwards")?;
    scenario.until_complete("afterwards", JOB_TIME).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_for_admins_alone_and_a_damaged_one_restores_nothing() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let token = scenario.pdctl(&["token", "create", "--role", "Edit"])?;
    let raw = scenario.pdctl(&["config", "view", "--raw", "-o", "json"])?;
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&raw)?;
    kubeconfig["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    scenario.write("editor", kubeconfig.to_string())?;
    let refused = scenario.pdctl_output(&["--kubeconfig", "editor", "backup", "stolen.tar"])?;
    ensure!(refused.status.code() == Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    ensure!(!scenario.path("stolen.tar").exists(), "a file is left");

    scenario.pdctl(&["backup", "cluster.tar"])?;
    let mut bytes = fs::read(scenario.path("cluster.tar"))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    scenario.write("damaged.tar", &bytes)?;
    scenario.write("short.tar", &bytes[..middle])?;
    for file in ["damaged.tar", "short.tar"] {
        let refused = scenario.pdctl_output(&["restore", file, "--data-dir", "new"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(1) && said.contains("the backup cannot be used"), "{file}: {said}");
        ensure!(!scenario.path("new").exists(), "{file} left a folder");
    }
    Ok(())
}
