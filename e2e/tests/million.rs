//! One job may have millions of subtasks: state is interval sets, never a record per subtask.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Scenario;

/// For a million trivial subtasks on the reference machine, with a wide margin: this is no benchmark.
const JOB_TIME: Duration = Duration::from_mins(5);
/// The stored Job as JSON.
const JOB_BYTES_MAX: usize = 100_000;
/// Resident memory of the API server.
const API_SERVER_BYTES_MAX: u64 = 300_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_million_subtasks_complete_in_one_small_job() -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;
    scenario.pdctl(&["run", "noop", "--name", "million", "--params", r#"{"count":1000000}"#, "--detach"])?;
    let mut largest = 0;
    let job = scenario
        .until_job("million", "to end", JOB_TIME, |job| {
            e2e::scenario::has(job, "Complete") || e2e::scenario::has(job, "Failed")
        })
        .await?;
    largest = largest.max(serde_json::to_vec(&job)?.len());
    let status = job.status.context("a status")?;
    ensure!(status.subtasks.succeeded == 1_000_000, "{:?}", status.subtasks);
    ensure!(status.completed_indexes.to_string() == "0-999999");
    ensure!(largest < JOB_BYTES_MAX, "the Job has {largest} bytes");
    let apiserver = scenario.cluster().state().apiserver.context("the API server runs")?;
    let (_, peak) = apiserver.resident_bytes()?;
    ensure!(peak < API_SERVER_BYTES_MAX, "the API server had {peak} bytes");
    Ok(())
}
