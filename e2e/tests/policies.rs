//! The policies of a Job with real processes: suspend, cancel, failure rules, dependencies, time to live, queues, rerun.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use schemas::{
    Job, JobStatus,
    job::{conditions, waiting},
};
use serde_json::{Value, json};

/// For a short job, or a change of one, on the reference machine.
const JOB_TIME: Duration = Duration::from_mins(1);

fn status(job: &Job) -> JobStatus {
    job.status.clone().unwrap_or_default()
}

fn succeeded(job: &Job) -> u64 {
    job.status.as_ref().map_or(0, |status| status.subtasks.succeeded)
}

fn state(job: &Job) -> &str {
    job.status.as_ref().and_then(|status| status.state.as_deref()).unwrap_or_default()
}

/// Why the job has ended badly; none while it has not.
fn failure(job: &Job) -> Option<String> {
    let conditions = job.status.iter().flat_map(|status| &status.conditions);
    let mut failed = conditions.filter(|c| c.type_ == conditions::FAILED && c.status == "True");
    failed.next().map(|c| c.reason.clone())
}

/// Applies a job of the task `noop`.
fn apply(scenario: &Scenario, name: &str, params: Value, mut spec: Value) -> Result<()> {
    spec["task"] = json!({"name": "noop", "params": params});
    let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
    let file = format!("{name}.yaml");
    scenario.write(&file, job.to_string())?;
    scenario.pdctl(&["apply", "-f", &file])?;
    Ok(())
}

async fn change(scenario: &Scenario, name: &str, spec: Value) -> Result<Job> {
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    let patch = Patch::Merge(json!({"spec": spec}));
    jobs.patch(name, &PatchParams::default(), &patch).await.with_context(|| format!("changing job {name}"))
}

fn result_of(scenario: &Scenario, name: &str) -> Result<Vec<u8>> {
    let file = format!("{name}.result");
    scenario.pdctl(&["results", &format!("job/{name}"), "-o", &file])?;
    std::fs::read(scenario.path(&file)).context("reading the result")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_stops_keeps_what_is_done_and_goes_on() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    apply(&scenario, "j", json!({"count": 400, "spinMicros": 20_000}), json!({}))?;
    let running = scenario.until_job("j", "to be under way", JOB_TIME, |job| succeeded(job) > 20).await?;
    change(&scenario, "j", json!({"suspend": true})).await?;
    let suspended = scenario.until_job("j", "to be suspended", JOB_TIME, |job| state(job) == "Suspended").await?;
    ensure!(e2e::scenario::has(&suspended, conditions::SUSPENDED));
    ensure!(succeeded(&suspended) >= succeeded(&running), "what was done is kept");
    ensure!(status(&suspended).waiting.is_some_and(|waiting| waiting.reason == waiting::SUSPENDED));
    deadline::until("the nodes to stop", JOB_TIME, async || {
        let assignments = scenario.assignments("j").await?;
        let mut statuses = assignments.iter().filter_map(|assignment| assignment.status.as_ref());
        Ok(statuses.all(|status| status.running.is_empty()).then_some(()))
    })
    .await?;
    let stopped = succeeded(&scenario.job("j").await?);
    ensure!(stopped < 400, "it was suspended in its middle");

    change(&scenario, "j", json!({"suspend": false})).await?;
    let complete = scenario.until_complete("j", JOB_TIME).await?;
    ensure!(status(&complete).start_time > status(&running).start_time, "its clock starts anew");
    ensure!(succeeded(&complete) == 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_fails_and_a_failure_policy_decides_what_a_failure_means() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    let failed = async |name: &str| scenario.until_job(name, "to fail", JOB_TIME, |job| failure(job).is_some()).await;

    apply(&scenario, "long", json!({"count": 4000, "spinMicros": 20_000}), json!({}))?;
    scenario.until_job("long", "to be under way", JOB_TIME, |job| succeeded(job) > 0).await?;
    change(&scenario, "long", json!({"cancel": true})).await?;
    ensure!(failure(&failed("long").await?).as_deref() == Some("Cancelled"));

    let rule =
        |action: &str, outcome: &str| json!({"failurePolicy": {"rules": [{"action": action, "outcomes": [outcome]}]}});
    let failing = |kind: &str| json!({"count": 200, "spinMicros": 5000, "failIndexes": "3", "failKind": kind});
    apply(&scenario, "at-once", failing("retryable"), rule("FailJob", "TaskError"))?;
    let job = failed("at-once").await?;
    ensure!(failure(&job).as_deref() == Some("FailurePolicy") && status(&job).retries == 0, "{:?}", job.status);

    apply(&scenario, "no-retry", failing("panic"), rule("FailIndex", "Trap"))?;
    let job = failed("no-retry").await?;
    ensure!(failure(&job).as_deref() == Some("FailedIndexes") && succeeded(&job) == 199, "{:?}", job.status);
    ensure!(status(&job).retries == 0, "it trapped once and was not tried again: {:?}", job.status);

    apply(&scenario, "again", failing("permanent"), rule("Retry", "TaskError"))?;
    let job = failed("again").await?;
    ensure!(status(&job).retries == 3, "the task called it permanent, the rule did not: {:?}", job.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_another_one_s_result_as_its_input() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    let multiply = |name: &str, task: Value| json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"task": task}});
    let from = json!({"a": {"job": "product"}, "b": {"job": "product"}});
    let squared = json!({"name": "matrix-mul", "params": {"tile_size": 64}, "inputsFrom": from});
    scenario.write("squared.yaml", multiply("squared", squared).to_string())?;
    scenario.pdctl(&["apply", "-f", "squared.yaml"])?;
    let is_waiting = |job: &Job| status(job).waiting.is_some_and(|waiting| waiting.reason == waiting::DEPENDENCY);
    let job = scenario.until_job("squared", "to wait for the other", JOB_TIME, is_waiting).await?;
    ensure!(scenario.assignments("squared").await?.is_empty() && status(&job).start_time.is_none());

    let product = json!({"name": "matrix-mul", "params": {"matrix_size": 200, "tile_size": 64, "seed": 5}});
    scenario.write("product.yaml", multiply("product", product).to_string())?;
    scenario.pdctl(&["apply", "-f", "product.yaml"])?;
    let done = scenario.until_complete("squared", JOB_TIME).await?;
    let artifact = status(&scenario.job("product").await?).result.context("a result")?.artifact;
    ensure!(status(&done).inputs.values().all(|input| *input == artifact) && status(&done).inputs.len() == 2);

    std::fs::write(scenario.path("product.npy"), result_of(&scenario, "product")?)?;
    let inputs = ["--input", "a=product.npy", "--input", "b=product.npy", "-o", "by-hand.npy"];
    scenario.pdctl(&[&["run", "matrix-mul", "--params", r#"{"tile_size":64}"#], &inputs[..]].concat())?;
    ensure!(result_of(&scenario, "squared")? == std::fs::read(scenario.path("by-hand.npy"))?, "the products differ");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_dependency_fails_the_job_and_a_circle_is_refused() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    apply(&scenario, "after", json!({"count": 5}), json!({"dependsOn": ["before"]}))?;
    let circle = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": "before"},
        "spec": {"task": {"name": "noop"}, "dependsOn": ["after"]}});
    scenario.write("circle.yaml", circle.to_string())?;
    let refused = scenario.pdctl_output(&["apply", "-f", "circle.yaml"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("before -> after -> before"), "{said}");

    let failing = json!({"count": 5, "failIndexes": "0", "failKind": "permanent"});
    apply(&scenario, "before", failing, json!({}))?;
    let after = scenario.until_job("after", "to fail", JOB_TIME, |job| failure(job).is_some()).await?;
    ensure!(failure(&after).as_deref() == Some("DependencyFailed"), "{:?}", after.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_when_its_time_after_the_end_is_over() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    apply(&scenario, "j", json!({"count": 5}), json!({"ttlAfterFinished": "3s"}))?;
    let ended = status(&scenario.until_complete("j", JOB_TIME).await?).completion_time.context("a time")?;
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    deadline::until("the job and its assignments to be gone", JOB_TIME, async || {
        let is_gone = jobs.get_opt("j").await?.is_none() && scenario.assignments("j").await?.is_empty();
        Ok(is_gone.then_some(()))
    })
    .await?;
    // Times are cut to milliseconds.
    let after = k8s_openapi::jiff::Timestamp::now().duration_since(ended);
    ensure!(after.as_millis() >= 2_999, "it went {after:?} after its end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_share_the_slots_by_their_weights() -> Result<()> {
    let scenario = Scenario::start(1, 4).await?;
    let queue = json!({"apiVersion": "processdistro.dev/v1", "kind": "Queue", "metadata": {"name": "heavy"},
        "spec": {"weight": 3}});
    scenario.write("queue.yaml", queue.to_string())?;
    scenario.pdctl(&["apply", "-f", "queue.yaml"])?;
    let long = json!({"count": 100_000, "spinMicros": 10_000});
    apply(&scenario, "light", long.clone(), json!({}))?;
    apply(&scenario, "weighty", long, json!({"queue": "heavy"}))?;
    let both = deadline::until("both to run", JOB_TIME, async || {
        let (light, heavy) = (scenario.job("light").await?, scenario.job("weighty").await?);
        Ok((succeeded(&light) > 0 && succeeded(&heavy) > 0).then(|| (succeeded(&light), succeeded(&heavy))))
    })
    .await?;
    let (light, heavy) = deadline::until("both to have run for a while", 2 * JOB_TIME, async || {
        let light = succeeded(&scenario.job("light").await?) - both.0;
        let heavy = succeeded(&scenario.job("weighty").await?) - both.1;
        Ok((light + heavy > 600).then_some((light, heavy)))
    })
    .await?;
    let ratio = heavy as f64 / light.max(1) as f64;
    ensure!((1.8..5.0).contains(&ratio), "with weights 3 and 1 they did {heavy} and {light}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_job_is_refused_or_starts_over() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    apply(&scenario, "j", json!({"count": 50}), json!({}))?;
    scenario.until_complete("j", JOB_TIME).await?;
    let refused = apply(&scenario, "j", json!({"count": 70}), json!({})).expect_err("it may not change");
    ensure!(format!("{refused:#}").contains("spec.updatePolicy to Rerun"), "{refused:#}");

    // Once from its end, and once from its middle.
    let rerun = json!({"updatePolicy": "Rerun"});
    apply(&scenario, "j", json!({"count": 300, "spinMicros": 20_000}), rerun.clone())?;
    let is_under_way = |job: &Job| status(job).subtasks.total == 300 && succeeded(job) > 10;
    scenario.until_job("j", "to have started over", JOB_TIME, is_under_way).await?;
    apply(&scenario, "j", json!({"count": 70, "outputBytes": 3}), rerun)?;
    let is_new = |job: &Job| status(job).subtasks.total == 70 && e2e::scenario::has(job, conditions::COMPLETE);
    let job = scenario.until_job("j", "to have started over again", JOB_TIME, is_new).await?;
    ensure!(status(&job).observed_generation == job.metadata.generation && succeeded(&job) == 70);
    let result: Value = serde_json::from_slice(&result_of(&scenario, "j")?)?;
    ensure!(result == json!({"subtasks": 70, "bytes": 210}), "{result}");
    Ok(())
}
