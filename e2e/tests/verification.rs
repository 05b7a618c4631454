//! Verification with a node that lies: it is found, tainted and left out, and the result is right.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use schemas::{Job, JobStatus, well_known::TAINT_UNTRUSTED};
use serde_json::{Value, json};

/// For a short job on the reference machine.
const JOB_TIME: Duration = Duration::from_mins(1);
/// Time of each subtask: the job lasts for seconds, so that the liar is through with its set-up while there is work.
const SPIN_MICROS: u64 = 20_000;
/// Bytes of each output.
const OUTPUT_BYTES: usize = 16;

/// Two honest nodes and one of whose outputs one in so many is wrong.
async fn with_liar(lie_every: u64) -> Result<Scenario> {
    let mut scenario = Scenario::start(0, 1).await?;
    let slots = ["--slots".to_owned(), "2".to_owned()];
    let lies = ["--hollow-lie-every".to_owned(), lie_every.to_string()];
    scenario.cluster().start_hollow("honest", 2, &slots).await?;
    scenario.cluster().start_hollow("liar", 1, &[slots, lies].concat()).await?;
    Ok(scenario)
}

fn apply(scenario: &Scenario, name: &str, count: u64, verification: Value) -> Result<()> {
    let params = json!({"count": count, "outputBytes": OUTPUT_BYTES, "spinMicros": SPIN_MICROS});
    let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"task": {"name": "noop", "params": params}, "verification": verification, "cache": false}});
    let file = format!("{name}.yaml");
    scenario.write(&file, job.to_string())?;
    scenario.pdctl(&["apply", "-f", &file])?;
    Ok(())
}

fn status(job: &Job) -> JobStatus {
    job.status.clone().unwrap_or_default()
}

fn untrusted(job: &Job) -> Vec<String> {
    let verification = status(job).verification.unwrap_or_default();
    verification.untrusted.into_iter().map(|node| node.name).collect()
}

/// True when each output of a job is the one that `noop` computes.
fn is_right(scenario: &Scenario, job: &str, count: u64) -> Result<bool> {
    let folder = format!("{job}.outputs");
    scenario.pdctl(&["results", &format!("job/{job}"), "--all", "-o", &folder])?;
    for index in 0..count {
        let path = scenario.path(&folder).join(index.to_string());
        let output = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let expected: Vec<u8> = index.to_le_bytes().into_iter().cycle().take(OUTPUT_BYTES).collect();
        if output != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_finds_the_liar_and_does_its_work_again() -> Result<()> {
    let scenario = with_liar(5).await?;
    apply(&scenario, "believed", 300, Value::Null)?;
    scenario.until_complete("believed", JOB_TIME).await?;
    ensure!(!is_right(&scenario, "believed", 300)?, "without verification a lie is a result like any other");

    apply(&scenario, "verified", 300, json!({"quorum": {"agree": 2, "of": 3}}))?;
    let job = scenario.until_complete("verified", JOB_TIME).await?;
    ensure!(untrusted(&job) == ["liar-0"], "{:?}", job.status);
    ensure!(status(&job).verification.is_some_and(|found| found.verified.count() == 300), "{:?}", job.status);
    ensure!(is_right(&scenario, "verified", 300)?, "every output is the right one");
    let nodes: Api<Node> = Api::all(scenario.client());
    deadline::until("the liar to be tainted", JOB_TIME, async || {
        let taints = nodes.get("liar-0").await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
        Ok(taints.iter().any(|taint| taint.key == TAINT_UNTRUSTED).then_some(()))
    })
    .await?;
    deadline::until("somebody to be told", JOB_TIME, async || {
        let told = scenario.pdctl(&["describe", "node/liar-0"])?;
        Ok((told.contains("Untrusted") && told.contains("differs from what 2 other nodes agree on")).then_some(()))
    })
    .await?;

    // It gets nothing any more, of whatever job.
    apply(&scenario, "later", 50, Value::Null)?;
    scenario.until_complete("later", JOB_TIME).await?;
    ensure!(is_right(&scenario, "later", 50)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_finds_who_lies_and_does_the_rest_again() -> Result<()> {
    let scenario = with_liar(1).await?;
    // One of any two neighbours is in the sample, so whatever it delivers some of it is.
    apply(&scenario, "sampled", 600, json!({"sample": {"fraction": "0.5"}}))?;
    let job = scenario.until_complete("sampled", JOB_TIME).await?;
    ensure!(untrusted(&job) == ["liar-0"], "{:?}", job.status);
    ensure!(is_right(&scenario, "sampled", 600)?, "what the liar did beside the sample is done again, too");
    Ok(())
}
