//! From apply to Complete of a small job on a warm cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use schemas::Job;

use super::{noop, run_job, spread};
use crate::Scenario;

/// For one job; far above anything worth reporting.
const JOB_TIME: Duration = Duration::from_secs(30);
/// Jobs before the measured ones: modules are compiled and caches filled.
const WARM_UP_JOBS: u32 = 5;

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Nodes of one slot each.
    #[arg(long, default_value_t = 2)]
    nodes: u32,
    /// Subtasks of each job.
    #[arg(long, default_value_t = 16)]
    subtasks: u64,
    /// Measured jobs.
    #[arg(long, default_value_t = 50)]
    jobs: u32,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let scenario = Scenario::start(options.nodes, 1).await?;
    let client = scenario.client();
    let jobs: Api<Job> = Api::default_namespaced(client.clone());
    let (mut complete, mut acknowledged) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP_JOBS + options.jobs {
        let name = format!("latency-{number}");
        let job = noop(&name, options.subtasks);
        let start = Instant::now();
        run_job(&client, &name, &job, JOB_TIME).await?;
        let all = start.elapsed().as_secs_f64() * 1000.0;
        // One more write, for scale: what the API server and the disk alone cost a client.
        let start = Instant::now();
        let label = serde_json::json!({"metadata": {"labels": {"measured": "yes"}}});
        jobs.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await.context("labelling a job")?;
        let write = start.elapsed().as_secs_f64() * 1000.0;
        if number >= WARM_UP_JOBS {
            complete.push(all);
            acknowledged.push(write);
        }
        jobs.delete(&name, &DeleteParams::default()).await.context("deleting a job")?;
    }
    println!("{} jobs of {} trivial subtasks on {} nodes of one slot", options.jobs, options.subtasks, options.nodes);
    println!("{:<28} {:>9} {:>9} {:>9}", "milliseconds", "minimum", "median", "maximum");
    for (what, values) in [("apply to Complete", &mut complete), ("one durable write, for scale", &mut acknowledged)] {
        let (minimum, median, maximum) = spread(values);
        println!("{what:<28} {minimum:>9.1} {median:>9.1} {maximum:>9.1}");
    }
    Ok(())
}
