//! Two reconcilers: one leads. When it dies or hangs the other takes over in seconds, and the job's result is right.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline, scrape};
use schemas::Job;

/// For one job of this file on the reference machine.
const JOB_TIME: Duration = Duration::from_secs(90);
/// From a leader's death to another's lease: four to five seconds, and a slow machine's scheduling.
const TAKE_OVER_TIME: Duration = Duration::from_secs(8);
/// Two seconds of work for each of two slots after the leader is gone, which the orphaned grants do not last for.
const PARAMS: &str = r#"{"count": 20000, "spinMicros": 300, "outputBytes": 8}"#;

fn start_job(scenario: &Scenario, name: &str) -> Result<()> {
    scenario.pdctl(&["run", "noop", "--name", name, "--params", PARAMS, "--detach"]).map(drop)
}

fn succeeded(job: &Job) -> u64 {
    job.status.as_ref().map_or(0, |status| status.subtasks.succeeded)
}

/// Two nodes, two reconcilers; answers who leads and who stands by.
async fn start() -> Result<(Scenario, String, String)> {
    let mut scenario = Scenario::start(2, 1).await?;
    let second = scenario.cluster().add_reconciler(&[])?;
    for name in ["reconciler-0", second.as_str()] {
        scenario.cluster().until_reconciler_ready(name).await?;
    }
    let leader = until_led(&mut scenario, |_| true).await?;
    let standby = if leader == second { "reconciler-0".to_owned() } else { second };
    Ok((scenario, leader, standby))
}

/// Waits until the Lease names somebody who `is_right`; answers the name.
async fn until_led(scenario: &mut Scenario, is_right: impl Fn(&str) -> bool) -> Result<String> {
    let cluster = scenario.cluster();
    deadline::until("another reconciler to lead", TAKE_OVER_TIME, async || {
        Ok(cluster.leader().await?.filter(|name| is_right(name)))
    })
    .await
}

/// Whole and exact, whoever led.
fn check_result(scenario: &Scenario, job: &Job) -> Result<()> {
    let status = job.status.as_ref().context("a complete job has a status")?;
    ensure!(status.subtasks.succeeded == 20_000 && status.completed_indexes.count() == 20_000, "{status:?}");
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let result = scenario.pdctl(&["results", &format!("job/{name}"), "-o", "-"])?;
    ensure!(result == "{\"subtasks\":20000,\"bytes\":160000}\n", "the result is {result}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_say_who_leads() -> Result<()> {
    let (mut scenario, leader, standby) = start().await?;
    let cluster = scenario.cluster();
    deadline::until("both pages to tell of the leader", TAKE_OVER_TIME, async || {
        let leading = cluster.reconciler_page(&leader, "/readyz").await?.text;
        let waiting = cluster.reconciler_page(&standby, "/readyz").await?.text;
        let agree = leading.starts_with(&format!("ok: leading as {leader}_"))
            && waiting.starts_with(&format!("ok: standing by, {leader}_"));
        Ok(agree.then_some(()))
    })
    .await?;
    let figures = |text: &str| scrape::value(text, "pd_reconciler_leading");
    let metrics = cluster.reconciler_page(&leader, "/metrics").await?.text;
    ensure!(figures(&metrics) == Some(1.0), "{metrics}");
    let metrics = cluster.reconciler_page(&standby, "/metrics").await?.text;
    ensure!(figures(&metrics) == Some(0.0), "{metrics}");
    ensure!(scrape::sum(&metrics, "pd_reconciler_plan_seconds_count") == 0.0, "the one that stands by has planned");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_killed_the_other_takes_over_in_seconds() -> Result<()> {
    let (mut scenario, leader, standby) = start().await?;
    start_job(&scenario, "orphaned")?;
    scenario.until_job("orphaned", "to have begun", JOB_TIME, |job| succeeded(job) > 100).await?;
    scenario.cluster().kill_reconciler(&leader)?;
    let killed = Instant::now();
    until_led(&mut scenario, |name| name == standby).await?;
    eprintln!("{standby} took over after {:.1} s", killed.elapsed().as_secs_f64());
    let job = scenario.until_complete("orphaned", JOB_TIME).await?;
    check_result(&scenario, &job)?;

    scenario.cluster().restart_reconciler(&leader)?;
    let told = scenario.cluster().until_reconciler_ready(&leader).await?;
    ensure!(!told.contains("leading"), "the one that came back leads beside {standby}: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_is_followed_and_does_no_harm_when_it_wakes() -> Result<()> {
    let (mut scenario, leader, standby) = start().await?;
    start_job(&scenario, "hung")?;
    scenario.until_job("hung", "to have begun", JOB_TIME, |job| succeeded(job) > 100).await?;
    scenario.cluster().pause_reconciler(&leader)?;
    until_led(&mut scenario, |name| name == standby).await?;
    let before = succeeded(&scenario.job("hung").await?);
    scenario.until_job("hung", "to go on", JOB_TIME, |job| succeeded(job) > before).await?;
    // It wakes with an old plan in hand while the other one plans.
    scenario.cluster().resume_reconciler(&leader)?;
    let job = scenario.until_complete("hung", JOB_TIME).await?;
    check_result(&scenario, &job)?;
    ensure!(scenario.cluster().leader().await?.as_deref() == Some(standby.as_str()), "the Lease changed hands again");
    let waiting = scenario.cluster().until_reconciler_ready(&leader).await?;
    ensure!(waiting.starts_with("ok: standing by"), "{waiting}");

    start_job(&scenario, "after")?;
    let job = scenario.until_complete("after", JOB_TIME).await?;
    check_result(&scenario, &job)
}
