//! Tasks that mean harm on a live cluster: each fails by the name of what it did, and nobody else notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, guests, scenario::has};
use schemas::{assignment::FailureOutcome, job::conditions};

const JOB_TIME: Duration = Duration::from_mins(2);

/// A job of a harmful task on the nodes of that mode: its other indexes succeed, index 1 fails at once.
fn manifest(name: &str, mode: &str) -> String {
    format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  \
         backoffLimitPerIndex: 0\n  subtaskTimeout: 30s\n  resources: {{memory: 16Mi, cpuTime: 1s}}\n  \
         placement: {{nodeSelector: {{processdistro.dev/executors: {mode}}}}}\n  task: {{name: {name}}}\n"
    )
}

/// What a task does, how its index 1 ends, and what is said of it.
type Case = (&'static str, &'static str, FailureOutcome, &'static str);

const CASES: [Case; 8] = [
    ("loop", guests::LOOP, FailureOutcome::Timeout, "processor time"),
    ("memory", guests::MEMORY, FailureOutcome::OutOfMemory, "limit of 16777216"),
    ("stack", guests::STACK, FailureOutcome::Trap, "stack overflowed"),
    ("panic", guests::PANIC, FailureOutcome::Trap, "panicked at guest.rs:1: boom"),
    ("lie", guests::LIE, FailureOutcome::InvalidOutput, ""),
    ("no-text", guests::NO_TEXT, FailureOutcome::Trap, "called the host wrongly"),
    ("kernel-lie", guests::KERNEL_LIE, FailureOutcome::InvalidOutput, "a has 8 elements"),
    ("kernel-loop", guests::KERNEL_LOOP, FailureOutcome::Timeout, "processor time"),
];

/// Runs the tasks one after the other on nodes of that mode.
async fn each_fails_by_its_name(scenario: &Scenario, cases: &[Case], mode: &str) -> Result<()> {
    for (name, harm, outcome, said) in cases {
        scenario.write("harmful.wasm", guests::harmful(harm)?)?;
        scenario.pdctl(&["push", "harmful.wasm", "--name", name])?;
        scenario.write("job.yaml", manifest(name, mode))?;
        scenario.pdctl(&["apply", "-f", "job.yaml"])?;
        let ended = |job: &schemas::Job| has(job, conditions::FAILED) || has(job, conditions::COMPLETE);
        let job = scenario.until_job(name, "to end", JOB_TIME, ended).await?;
        let status = job.status.context("a status")?;
        ensure!(status.failed_indexes.to_string() == "1", "{name}: {status:?}");
        ensure!(status.completed_indexes.to_string() == "0,2-3", "{name}: {status:?}");
        let failures: Vec<_> = scenario
            .assignments(name)
            .await?
            .into_iter()
            .filter_map(|assignment| assignment.status)
            .flat_map(|status| status.failures)
            .collect();
        let told = failures.iter().any(|failure| failure.outcome == *outcome && failure.message.contains(said));
        ensure!(told, "{name}: {failures:?}");
    }
    Ok(())
}

/// A job that keeps a slot busy for some ten seconds.
fn neighbour(scenario: &Scenario) -> Result<()> {
    let params = r#"{"count":2000,"spinMicros":5000}"#;
    scenario.pdctl(&["run", "noop", "--name", "neighbour", "--params", params, "--detach"])?;
    Ok(())
}

async fn did_not_notice(scenario: &Scenario) -> Result<()> {
    let job = scenario.until_complete("neighbour", JOB_TIME).await?;
    let status = job.status.context("a status")?;
    ensure!(status.subtasks.succeeded == 2000 && status.retries == 0, "the neighbour noticed: {status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fails_by_the_name_of_what_it_did_and_a_neighbour_does_not_notice() -> Result<()> {
    let scenario = Scenario::start(1, 2).await?;
    neighbour(&scenario)?;
    each_fails_by_its_name(&scenario, &CASES, "process").await?;
    did_not_notice(&scenario).await
}

/// Slots that share a process: a limit ends the call alone, and the end of the process costs nobody an index.
#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_where_slots_share_a_process() -> Result<()> {
    let mut scenario = Scenario::start(0, 1).await?;
    let name = scenario.cluster().add_shared_node(2).await?;
    neighbour(&scenario)?;
    let few: Vec<Case> = CASES.into_iter().filter(|(name, ..)| !["stack", "panic", "lie"].contains(name)).collect();
    each_fails_by_its_name(&scenario, &few, "shared").await?;
    did_not_notice(&scenario).await?;
    let described = scenario.kubectl(&["describe", "node", &name])?;
    ensure!(described.contains("without a process for each slot"), "{described}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lines_harms_nobody() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    scenario.write("harmful.wasm", guests::harmful(guests::FLOOD)?)?;
    scenario.pdctl(&["push", "harmful.wasm", "--name", "flood"])?;
    scenario.write("job.yaml", manifest("flood", "process"))?;
    scenario.pdctl(&["apply", "-f", "job.yaml"])?;
    let job = scenario.until_complete("flood", JOB_TIME).await?;
    ensure!(job.status.is_some_and(|status| status.subtasks.succeeded == 4), "every index succeeded");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gives_the_same_result() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    for isolation in ["Subtask", "Batch"] {
        let name = isolation.to_lowercase();
        let job = format!(
            "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  \
             sandbox: {{isolation: {isolation}}}\n  cache: false\n  task: {{name: mandelbrot, params: {{width: 300, height: 200, tileSize: 32}}}}\n"
        );
        scenario.write("job.yaml", job)?;
        scenario.pdctl(&["apply", "-f", "job.yaml"])?;
        scenario.until_complete(&name, JOB_TIME).await?;
        scenario.pdctl(&["results", &format!("job/{name}"), "-o", &format!("{name}.png")])?;
    }
    let read = |name: &str| std::fs::read(scenario.path(name));
    ensure!(read("subtask.png")? == read("batch.png")?, "the two images differ");
    Ok(())
}
