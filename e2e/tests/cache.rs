//! The result cache with real processes: the same work under another name is not computed again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use schemas::{CachedResult, Job, job::conditions};
use serde_json::{Value, json};

/// For a short job on the reference machine.
const JOB_TIME: Duration = Duration::from_mins(1);
/// Subtasks of the job that is there already.
const COUNT: u64 = 200;
/// Two slots need two seconds for it.
fn params() -> Value {
    json!({"count": COUNT, "spinMicros": 20_000, "outputBytes": 100})
}

fn apply(scenario: &Scenario, name: &str, params: &Value, mut spec: Value) -> Result<()> {
    spec["task"] = json!({"name": "noop", "params": params});
    // So that each index is tried once.
    spec["speculation"] = json!({"enabled": false});
    spec["workStealing"] = false.into();
    let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
    let file = format!("{name}.yaml");
    scenario.write(&file, job.to_string())?;
    scenario.pdctl(&["apply", "-f", &file])?;
    Ok(())
}

fn cached(job: &Job) -> u64 {
    job.status.iter().filter_map(|status| status.cached.as_ref()).map(|cached| cached.count).sum()
}

fn succeeded(job: &Job) -> u64 {
    job.status.as_ref().map_or(0, |status| status.subtasks.succeeded)
}

/// Attempts that ended anywhere, as the nodes count them.
async fn attempts(scenario: &Scenario, job: &str) -> Result<u64> {
    let assignments = scenario.assignments(job).await?;
    Ok(assignments.iter().filter_map(|assignment| assignment.status.as_ref()).map(|status| status.started).sum())
}

fn result(scenario: &Scenario, name: &str) -> Result<Vec<u8>> {
    let file = format!("{name}.result");
    scenario.pdctl(&["results", &format!("job/{name}"), "-o", &file])?;
    std::fs::read(scenario.path(&file)).context("reading the result")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_work_is_not_computed_again() -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;

    // A job that ends early leaves what it has.
    apply(&scenario, "cut-short", &params(), json!({}))?;
    let begun = scenario.until_job("cut-short", "to be under way", JOB_TIME, |job| succeeded(job) > 20).await?;
    let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    jobs.patch("cut-short", &PatchParams::default(), &cancel).await?;
    scenario.until_job("cut-short", "to fail", JOB_TIME, |job| e2e::scenario::has(job, conditions::FAILED)).await?;
    apply(&scenario, "first", &params(), json!({}))?;
    let first = scenario.until_complete("first", JOB_TIME).await?;
    ensure!(cached(&first) >= succeeded(&begun), "{} of {} were taken over", cached(&first), succeeded(&begun));
    ensure!(attempts(&scenario, "first").await? == COUNT - cached(&first), "only the rest was computed");

    // A whole one leaves nothing to do, not even when it is gone.
    let told = scenario.pdctl(&["plan", "-f", "first.yaml"])?;
    ensure!(told.contains("cache hits: 200 of 200 subtasks, computed by job first, and the result"), "{told}");
    let before = result(&scenario, "first")?;
    scenario.pdctl(&["delete", "job/cut-short", "job/first"])?;
    apply(&scenario, "second", &params(), json!({}))?;
    let second = scenario.until_complete("second", JOB_TIME).await?;
    ensure!((cached(&second), succeeded(&second)) == (COUNT, COUNT), "{:?}", second.status);
    ensure!(scenario.assignments("second").await?.is_empty(), "no node was asked for anything");
    ensure!(result(&scenario, "second")? == before, "the same bytes");
    let output = scenario.pdctl_output(&["results", "job/second", "--index", "7"])?;
    ensure!(output.stdout.len() == 100, "the outputs of single indexes are there as well");

    // Whoever wants it computed has it computed.
    let little = json!({"count": 8});
    for (name, cache) in [("little", true), ("little-again", false)] {
        apply(&scenario, name, &little, json!({"cache": cache}))?;
        let job = scenario.until_complete(name, JOB_TIME).await?;
        ensure!(cached(&job) == 0 && attempts(&scenario, name).await? >= 8, "{:?}", job.status);
    }
    missing_artifacts_are_computed_anew(&mut scenario, &little).await
}

/// A cached result whose artifact was lost costs a computation, never a failure.
async fn missing_artifacts_are_computed_anew(scenario: &mut Scenario, params: &Value) -> Result<()> {
    let entries: Api<CachedResult> = Api::default_namespaced(scenario.client());
    let listed = entries.list(&ListParams::default()).await?.items;
    let entry = listed.into_iter().find(|entry| entry.spec.job == "little").context("what `little` left")?;
    scenario.pdctl(&["delete", "job/little", "job/little-again"])?;
    let digest = entry.spec.outputs.segments.first().context("a segment")?.digest;
    scenario.cluster().lose_artifact(&digest)?;
    // It knows by heart for some minutes what it has.
    scenario.cluster().restart_apiserver().await?;

    apply(scenario, "little-anew", params, json!({}))?;
    let job = scenario.until_complete("little-anew", JOB_TIME).await?;
    ensure!(cached(&job) == 0 && attempts(scenario, "little-anew").await? >= 8, "{:?}", job.status);
    deadline::until("the cached result to be whole again", JOB_TIME, async || {
        let entry = entries.get_opt(&entry.spec.key.hex()).await?;
        Ok(entry.filter(|entry| entry.spec.job == "little-anew").map(drop))
    })
    .await
}
