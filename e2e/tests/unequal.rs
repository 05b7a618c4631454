//! Machines that are not equal and do not stay: one of four nodes works a tenth of the time, one is killed half-way. The
//! slots that are there are used all the same, and the status says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Scenario;
use schemas::Job;

/// Subtasks of 20 ms of a processor each: twenty seconds for four slots on two processors.
const SUBTASKS: u64 = 2000;
const SPIN_MICROS: u64 = 20_000;
/// For the whole job on the reference machine.
const JOB_TIME: Duration = Duration::from_mins(3);
/// Least efficiency, in percent.
const EFFICIENCY_MIN: u64 = 90;

fn succeeded(job: &Job) -> u64 {
    job.status.as_ref().map_or(0, |status| status.subtasks.succeeded)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_and_a_killed_node_cost_less_than_a_tenth() -> Result<()> {
    let mut scenario = Scenario::start(4, 1).await?;
    let manifest = format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: unequal}}\nspec:\n  task:\n    name: noop\n    \
         params: {{count: {SUBTASKS}, spinMicros: {SPIN_MICROS}, outputBytes: 8}}\n"
    );
    let file = scenario.write("unequal.yaml", manifest)?;
    let throttle = scenario.cluster().throttle_node("node-0", 0.1)?;
    scenario.pdctl(&["apply", "-f", &file])?;
    scenario.until_job("unequal", "to be half done", JOB_TIME, |job| succeeded(job) > SUBTASKS / 2).await?;
    scenario.cluster().kill_node("node-1")?;
    let job = scenario.until_complete("unequal", JOB_TIME).await?;
    drop(throttle);

    let result = scenario.pdctl(&["results", "job/unequal", "-o", "-"])?;
    ensure!(result == format!("{{\"subtasks\":{SUBTASKS},\"bytes\":{}}}\n", 8 * SUBTASKS), "the result is {result}");
    let status = job.status.context("a status")?;
    let efficiency = status.efficiency.as_deref().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok());
    let loss = status.efficiency_loss.context("no word on what was lost")?;
    ensure!(efficiency.is_some_and(|percent| percent >= EFFICIENCY_MIN), "efficiency {efficiency:?} %, lost: {loss:?}");
    ensure!(loss.lost_nodes > 0.0, "nothing is laid to the lost node: {loss:?}");
    let assignments = scenario.assignments("unequal").await?;
    let done = |node: &str| {
        let of_it = assignments.iter().find(|assignment| assignment.spec.node_name == node);
        of_it.and_then(|assignment| assignment.status.as_ref()).map_or(0, |status| status.succeeded)
    };
    let (slow, fast) = (done("node-0"), done("node-2"));
    ensure!(slow > 0 && slow * 3 < fast, "the throttled node did {slow} subtasks, another one {fast}");
    Ok(())
}
