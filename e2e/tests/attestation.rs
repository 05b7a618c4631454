//! Verification of a task that can tell a right output from a wrong one: what another node has delivered is attested without
//! computing it again, and a node that lies is found all the same.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline, scrape};
use schemas::Job;
use serde_json::{Value, json};

/// For a short job on the reference machine.
const JOB_TIME: Duration = Duration::from_mins(1);
/// Rows and columns of the product, and of its tiles.
const SIZE: u64 = 1024;
const TILE: u64 = 128;
const TILES: u64 = (SIZE / TILE) * (SIZE / TILE);

/// Applies a product of two generated matrices.
fn apply(scenario: &Scenario, name: &str, isolation: &str, verification: Value) -> Result<()> {
    let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"task": {"name": "matrix-mul", "params": {"size": SIZE, "tileSize": TILE}},
            "verification": verification, "sandbox": {"isolation": isolation}, "cache": false}});
    let file = format!("{name}.yaml");
    scenario.write(&file, job.to_string())?;
    scenario.pdctl(&["apply", "-f", &file])?;
    Ok(())
}

/// Its result.
fn result(scenario: &Scenario, name: &str) -> Result<Vec<u8>> {
    let file = format!("{name}.npy");
    scenario.pdctl(&["results", &format!("job/{name}"), "-o", &file])?;
    fs::read(scenario.path(&file)).with_context(|| format!("reading {file}"))
}

/// Over all real nodes: how often `verify` was called, by what it said.
async fn checks(scenario: &mut Scenario, said: &str) -> Result<u64> {
    let ports: Vec<u16> = scenario.cluster().state().nodes.iter().map(|node| node.metrics_port).collect();
    let mut sum = 0.0;
    for port in ports {
        let page = scrape::get(port, "/metrics").await?.text;
        let series = format!("pd_kubelet_checks_total{{result=\"{said}\"}}");
        sum += scrape::value(&page, &series).with_context(|| format!("no {series} on the page"))?;
    }
    Ok(sum as u64)
}

fn verified(job: &Job) -> u64 {
    let status = job.status.as_ref().and_then(|status| status.verification.as_ref());
    status.map_or(0, |verification| verification.verified.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_verified_without_being_computed_again() -> Result<()> {
    let mut scenario = Scenario::start(1, 1).await?;
    // Of one node the slots share a process, where calls are ended in another way.
    scenario.cluster().add_shared_node(1).await?;
    apply(&scenario, "believed", "Subtask", Value::Null)?;
    scenario.until_complete("believed", JOB_TIME).await?;
    let right = result(&scenario, "believed")?;
    ensure!(checks(&mut scenario, "attested").await? == 0, "what is not to be checked is not");

    apply(&scenario, "quorum", "Subtask", json!({"quorum": {"agree": 2, "of": 3}}))?;
    let job = scenario.until_complete("quorum", JOB_TIME).await?;
    ensure!(verified(&job) == TILES, "{:?}", job.status);
    ensure!(result(&scenario, "quorum")? == right);
    let attested = checks(&mut scenario, "attested").await?;
    // All of them, unless the machine is so busy that a node is taken for lost.
    ensure!(4 * attested >= 3 * TILES, "{attested} of {TILES} tiles were attested");

    apply(&scenario, "sample", "Batch", json!({"sample": {"fraction": "0.5"}}))?;
    let job = scenario.until_complete("sample", JOB_TIME).await?;
    ensure!(verified(&job) >= TILES / 3, "{:?}", job.status);
    ensure!(result(&scenario, "sample")? == right);
    let more = checks(&mut scenario, "attested").await? - attested;
    ensure!(4 * more >= 3 * verified(&job), "{more} of {} tiles were attested", verified(&job));
    ensure!((checks(&mut scenario, "refused").await?, checks(&mut scenario, "failed").await?) == (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_is_found() -> Result<()> {
    let mut scenario = Scenario::start(1, 1).await?;
    apply(&scenario, "believed", "Subtask", Value::Null)?;
    scenario.until_complete("believed", JOB_TIME).await?;
    let right = result(&scenario, "believed")?;
    let liar = scenario.cluster().add_lying_node(1).await?;

    // Of two nodes each has to deliver; a third one, which decides, comes when the liar has.
    apply(&scenario, "quorum", "Subtask", json!({"quorum": {"agree": 2, "of": 3}}))?;
    deadline::until("the liar to deliver", JOB_TIME, async || {
        let assignments = scenario.assignments("quorum").await?;
        let of_liar = assignments.iter().filter(|assignment| assignment.spec.node_name == liar);
        let delivered: u64 = of_liar.filter_map(|one| one.status.as_ref()).map(|status| status.succeeded).sum();
        Ok((delivered > 0).then_some(()))
    })
    .await?;
    scenario.cluster().add_node(1).await?;
    let job = scenario.until_complete("quorum", JOB_TIME).await?;
    let untrusted = job.status.as_ref().and_then(|status| status.verification.clone()).unwrap_or_default().untrusted;
    let names: Vec<&str> = untrusted.iter().map(|node| node.name.as_str()).collect();
    ensure!(names == [liar.as_str()], "{:?}", job.status);
    ensure!(result(&scenario, "quorum")? == right, "nothing of what it did counts");
    let asked = checks(&mut scenario, "attested").await? + checks(&mut scenario, "refused").await?;
    ensure!(asked > 0, "the task was asked");
    Ok(())
}
