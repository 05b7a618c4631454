//! Trivial subtasks a second, end to end, beside the same component in a bare wasmtime loop.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{noop, run_job, spread};
use crate::Scenario;

/// For one job; far above anything worth reporting.
const JOB_TIME: Duration = Duration::from_mins(10);

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Subtasks of each job.
    #[arg(long, default_value_t = 400_000)]
    subtasks: u64,
    /// Measured rounds of both.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Slots of the one node.
    #[arg(long, default_value_t = 1)]
    slots: u32,
    /// One instance for many subtasks, on both sides, instead of a fresh one each.
    #[arg(long)]
    batch: bool,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let mut scenario = Scenario::start(1, options.slots).await?;
    let client = scenario.client();
    let job_of = |name: &str, count: u64| {
        let mut job = noop(name, count);
        job["spec"]["sandbox"] = json!({"isolation": if options.batch { "Batch" } else { "Subtask" }});
        job
    };
    run_job(&client, "warm-up", &job_of("warm-up", 1000), JOB_TIME).await?;
    let (mut bare, mut whole, mut running) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        bare.push(bare_loop(&mut scenario, options.subtasks / 4, options.batch)?);
        let name = format!("throughput-{round}");
        let start = Instant::now();
        let job = run_job(&client, &name, &job_of(&name, options.subtasks), JOB_TIME).await?;
        whole.push(options.subtasks as f64 / start.elapsed().as_secs_f64());
        let status = job.status.context("a complete job has a status")?;
        ensure!(status.subtasks.succeeded == options.subtasks, "{:?}", status.subtasks);
        let busy: f64 =
            scenario.assignments(&name).await?.iter().filter_map(|a| a.status.as_ref()).map(|s| s.busy_seconds).sum();
        running.push(options.subtasks as f64 / busy);
    }
    let instances = if options.batch { "an instance for many" } else { "fresh instance each" };
    println!("{} subtasks a job, {instances}, one node of {} slots", options.subtasks, options.slots);
    println!("{:<44} {:>9} {:>9} {:>9}", "subtasks a second", "minimum", "median", "maximum");
    let rows = [
        ("bare wasmtime loop, one core", &mut bare),
        ("a slot while it is busy", &mut running),
        ("apply to Complete, all slots", &mut whole),
    ];
    let mut medians = Vec::new();
    for (what, values) in rows {
        let (minimum, median, maximum) = spread(values);
        println!("{what:<44} {minimum:>9.0} {median:>9.0} {maximum:>9.0}");
        medians.push(median);
    }
    println!("end to end over the bare loop: {:.2}", medians[2] / medians[0]);
    Ok(())
}

/// The same component in the same engine without anything around it.
fn bare_loop(scenario: &mut Scenario, count: u64, reuse: bool) -> Result<f64> {
    let binaries = scenario.cluster().binaries();
    let mut command = Command::new(binaries.program("pd-executor"));
    command.arg("bench").arg("--component").arg(binaries.task("noop"));
    if reuse {
        command.arg("--reuse");
    }
    let output = command.args(["--params", r#"{"count":1}"#, "--count", &count.to_string()]).output()?;
    ensure!(output.status.success(), "pd-executor bench: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let figure = printed.split_whitespace().find_map(|word| word.strip_prefix("runs_per_second="));
    Ok(figure.with_context(|| format!("no figure in `{printed}`"))?.parse()?)
}
