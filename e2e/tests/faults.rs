//! Nothing acknowledged is lost, nothing counts twice: processes are killed in the middle of a job.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Scenario;
use schemas::Job;

/// Subtasks of the job under test, about 10 ms each: long enough to be killed in its middle.
const SUBTASKS: u64 = 1500;
/// For the whole job on the reference machine, losses included.
const JOB_TIME: Duration = Duration::from_secs(90);

fn succeeded(job: &Job) -> u64 {
    job.status.as_ref().map_or(0, |status| status.subtasks.succeeded)
}

/// Renders a picture with many small tiles, which gives every index a different output. Nothing is copied: an
/// attempt beyond one an index is then work that was done again. Nothing is taken from an earlier job either.
fn start_job(scenario: &Scenario, name: &str) -> Result<()> {
    let manifest = format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  cache: false\n  speculation: \
         {{enabled: false}}\n  task:\n    name: mandelbrot\n    params: {{width: 1200, height: 800, maxIterations: 50000, tileSize: \
         26, output: counts}}\n"
    );
    let file = scenario.write(&format!("{name}.yaml"), manifest)?;
    scenario.pdctl(&["apply", "-f", &file])?;
    Ok(())
}

fn result_of(scenario: &Scenario, name: &str) -> Result<Vec<u8>> {
    let file = format!("{name}.bin");
    scenario.pdctl(&["results", &format!("job/{name}"), "-o", &file])?;
    std::fs::read(scenario.path(&file)).context("reading the result")
}

/// Attempts beyond one an index: what was computed again.
async fn executed(scenario: &Scenario, name: &str) -> Result<u64> {
    Ok(scenario.assignments(name).await?.iter().filter_map(|a| a.status.as_ref()).map(|status| status.started).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_death_of_a_node_with_the_same_bytes() -> Result<()> {
    let mut scenario = Scenario::start(3, 1).await?;
    start_job(&scenario, "undisturbed")?;
    let undisturbed = scenario.until_complete("undisturbed", JOB_TIME).await?;
    let total = undisturbed.status.as_ref().context("a status")?.subtasks.total;
    ensure!(total > SUBTASKS / 2, "only {total} subtasks");
    ensure!(executed(&scenario, "undisturbed").await? == total, "an undisturbed job runs each index once");

    start_job(&scenario, "disturbed")?;
    scenario.until_job("disturbed", "to be a third done", JOB_TIME, |job| succeeded(job) > total / 3).await?;
    scenario.cluster().kill_node("node-1")?;
    let reported = scenario.assignments("disturbed").await?;
    let dead = reported.iter().find(|a| a.spec.node_name == "node-1").context("node-1 had work")?;
    let committed = dead.status.as_ref().context("node-1 had reported")?.completed();
    let disturbed = scenario.until_complete("disturbed", JOB_TIME).await?;
    ensure!(succeeded(&disturbed) == total);
    for other in scenario.assignments("disturbed").await?.iter().filter(|a| a.spec.node_name != "node-1") {
        let done = other.status.as_ref().map(schemas::AssignmentStatus::completed).unwrap_or_default();
        ensure!(done.is_disjoint(&committed), "{} ran again what node-1 had committed", other.spec.node_name);
    }
    ensure!(result_of(&scenario, "disturbed")? == result_of(&scenario, "undisturbed")?, "the bytes differ");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_death_of_the_api_server_and_nothing_runs_twice() -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;
    start_job(&scenario, "undisturbed")?;
    let total = scenario.until_complete("undisturbed", JOB_TIME).await?.status.context("a status")?.subtasks.total;

    start_job(&scenario, "disturbed")?;
    scenario.until_job("disturbed", "to be a third done", JOB_TIME, |job| succeeded(job) > total / 3).await?;
    scenario.cluster().kill_apiserver()?;
    scenario.cluster().restart_apiserver().await?;
    let disturbed = scenario.until_complete("disturbed", JOB_TIME).await?;
    ensure!(succeeded(&disturbed) == total);
    let executed = executed(&scenario, "disturbed").await?;
    ensure!(executed == total, "{executed} attempts at {total} indexes");
    ensure!(result_of(&scenario, "disturbed")? == result_of(&scenario, "undisturbed")?, "the bytes differ");
    Ok(())
}

/// Each kill hits whatever the executor is at; what it had ended is told, so that nothing fails, nothing is missing and
/// the time lost is that of the indexes under way.
#[tokio::test(flavor = "multi_thread")]
async fn executors_that_are_killed_over_and_over_cost_the_indexes_in_flight() -> Result<()> {
    const KILLS_MAX: usize = 25;
    let mut scenario = Scenario::start(1, 2).await?;
    start_job(&scenario, "undisturbed")?;
    let total = scenario.until_complete("undisturbed", JOB_TIME).await?.status.context("a status")?.subtasks.total;

    start_job(&scenario, "disturbed")?;
    let (mut kills, mut seen) = (0, 0);
    while kills < KILLS_MAX && seen < total {
        // Between two kills something ends, so that each finds both executors at work.
        let job = scenario.until_job("disturbed", "to go on", JOB_TIME, |job| succeeded(job) > seen).await?;
        seen = succeeded(&job);
        scenario.cluster().kill_executor("node-0", kills)?;
        kills += 1;
    }
    ensure!(kills > 1, "the job was over after {kills} kills");
    let disturbed = scenario.until_complete("disturbed", JOB_TIME).await?;
    ensure!(succeeded(&disturbed) == total);
    for assignment in scenario.assignments("disturbed").await? {
        let status = assignment.status.context("the node has reported")?;
        ensure!(status.started == total, "{} outcomes of {total} indexes", status.started);
        ensure!(status.failures.is_empty(), "somebody was blamed for a kill: {:?}", status.failures);
    }
    ensure!(result_of(&scenario, "disturbed")? == result_of(&scenario, "undisturbed")?, "the bytes differ");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_comes_back_and_nothing_counts_twice() -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;
    start_job(&scenario, "zombie")?;
    scenario.until_job("zombie", "to have begun", JOB_TIME, |job| succeeded(job) > 50).await?;
    scenario.cluster().pause_node("node-0")?;
    let before = succeeded(&scenario.job("zombie").await?);
    scenario.until_job("zombie", "to go on elsewhere", JOB_TIME, |job| succeeded(job) > before + 100).await?;
    scenario.cluster().resume_node("node-0")?;
    let job = scenario.until_complete("zombie", JOB_TIME).await?;
    let status = job.status.context("a status")?;
    ensure!(
        status.subtasks.succeeded == status.subtasks.total && status.completed_indexes.count() == status.subtasks.total
    );
    Ok(())
}
