//! The control plane at scale: hollow nodes, which are real kubelets that only pretend to compute, a real API server
//! and a real reconciler, all on this machine. What is measured is planning, memory and how busy the slots are.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use schemas::{Assignment, Job, job::conditions};
use serde_json::{Value, json};

use crate::{
    Scenario,
    cluster::Hollow,
    scenario::has,
    scrape::{self, quantile_at_most, value},
};

/// Hollow nodes of one process: their jobs end at about the same time, and each merge holds every segment of its job open.
const PROCESS_NODES_MAX: usize = 250;
/// Between two looks at the jobs: a listing of a hundred costs what a few of the nodes' reports do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Jobs created at once.
const CREATES_AT_ONCE: usize = 16;
/// What 99 of 100 plans have to stay below, in seconds.
const PLAN_P99_MAX: f64 = 0.05;
/// What the API server and the reconciler may take, each.
const MEMORY_BYTES_MAX: u64 = 1_000_000_000;
/// A thousand nodes on one machine share its processors: their leases are renewed less often, and waited for longer.
const NODE_FLAGS: [&str; 2] = ["--renew-lease-every", "10s"];
const RECONCILER_FLAGS: [&str; 4] = ["--node-lost-after", "60s", "--nodes-lost-after", "120s"];

/// How large.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Hollow nodes of one slot.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Jobs, all applied at once.
    #[arg(long, default_value_t = 100)]
    jobs: u64,
    /// Subtasks of all jobs together.
    #[arg(long, default_value_t = 1_000_000)]
    subtasks: u64,
    /// Pretended time of one subtask, in milliseconds.
    #[arg(long, default_value_t = 100)]
    spin_ms: u64,
    /// Bytes of one output.
    #[arg(long, default_value_t = 8)]
    output_bytes: u64,
    /// Most minutes for all jobs.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Instead: how plan time grows with nodes, jobs and intervals, as a table up to these numbers.
    #[arg(long)]
    growth: bool,
}

/// One load on the cluster.
#[derive(Clone, Copy)]
struct Load<'a> {
    prefix: &'a str,
    jobs: u64,
    subtasks: u64,
    output_bytes: u64,
    limit: Duration,
}

/// What one load has shown.
struct Shown {
    wall: Duration,
    /// Slot-seconds spent on subtasks.
    busy: f64,
    /// Text of the reconciler's metrics at the end.
    metrics: String,
    assignments: usize,
    /// Runs of consecutive indexes in all grants and segments.
    intervals: usize,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let mut scenario = Scenario::start(0, 1).await?;
    // One that knows that the machine is crowded takes the place of the first.
    scenario.cluster().kill_reconciler("reconciler-0")?;
    if options.growth { grow(&mut scenario, &options).await } else { measure(&mut scenario, &options).await }
}

async fn measure(scenario: &mut Scenario, options: &Options) -> Result<()> {
    let reconciler = scenario.cluster().add_reconciler(&RECONCILER_FLAGS)?;
    scenario.cluster().until_reconciler_ready(&reconciler).await?;
    let started = Instant::now();
    let mut hollow = Vec::new();
    start_nodes(scenario, &mut hollow, options.nodes, options).await?;
    println!("{} hollow nodes joined in {:.0} s", options.nodes, started.elapsed().as_secs_f64());
    let load = Load {
        prefix: "scale",
        jobs: options.jobs,
        subtasks: options.subtasks,
        output_bytes: options.output_bytes,
        limit: Duration::from_secs(60 * options.minutes),
    };
    let shown = bear(scenario, &reconciler, &hollow, load).await?;
    let (nodes, jobs, subtasks) = (options.nodes, options.jobs, options.subtasks);
    println!("{subtasks} subtasks of {} ms in {jobs} jobs on {nodes} hollow nodes of one slot", options.spin_ms);
    print_shown(options.nodes, &shown);
    let (plan, memory) = (quantile(&shown.metrics, "plan_cpu", 0.99)?, print_memory(scenario, &reconciler, &hollow)?);
    ensure!(plan <= PLAN_P99_MAX, "99 of 100 plans take up to {plan} s of processor time, not {PLAN_P99_MAX} s");
    ensure!(memory <= MEMORY_BYTES_MAX, "a component took {memory} bytes, more than {MEMORY_BYTES_MAX}");
    Ok(())
}

/// Nodes and jobs in steps of ten, a fresh reconciler for each row.
async fn grow(scenario: &mut Scenario, options: &Options) -> Result<()> {
    println!(
        "{:>6} {:>6} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "nodes", "jobs", "assignments", "intervals", "plans", "p50 ms", "p99 ms", "snapshot", "wall s"
    );
    let mut processes: Vec<Hollow> = Vec::new();
    let mut running = 0;
    for nodes in steps(options.nodes as u64, 10).into_iter().map(|nodes| nodes as usize) {
        start_nodes(scenario, &mut processes, nodes - running, options).await?;
        running = nodes;
        for jobs in steps(options.jobs, 1) {
            let reconciler = scenario.cluster().add_reconciler(&RECONCILER_FLAGS)?;
            scenario.cluster().until_reconciler_ready(&reconciler).await?;
            let prefix = format!("grow-{nodes}-{jobs}");
            let load = Load {
                prefix: &prefix,
                jobs,
                // The same work for each slot in every row.
                subtasks: options.subtasks * nodes as u64 / options.nodes as u64,
                output_bytes: options.output_bytes,
                limit: Duration::from_secs(60 * options.minutes),
            };
            let shown = bear(scenario, &reconciler, &processes, load).await?;
            let millis = |what, of| quantile(&shown.metrics, what, of).map(|seconds| seconds * 1000.0);
            println!(
                "{nodes:>6} {jobs:>6} {:>12} {:>10} {:>10} {:>10.2} {:>10.2} {:>10.2} {:>8.1}",
                shown.assignments,
                shown.intervals,
                value(&shown.metrics, "pd_reconciler_plan_seconds_count").unwrap_or_default(),
                millis("plan", 0.5)?,
                millis("plan", 0.99)?,
                millis("snapshot", 0.99)?,
                shown.wall.as_secs_f64(),
            );
            scenario.cluster().kill_reconciler(&reconciler)?;
        }
    }
    Ok(())
}

/// From `first` to `last` in powers of ten.
fn steps(last: u64, first: u64) -> Vec<u64> {
    let powers = std::iter::successors(Some(first), |step| step.checked_mul(10));
    powers.take_while(|step| *step < last).chain([last]).collect()
}

/// Starts `count` more nodes, in as many processes as they need.
async fn start_nodes(
    scenario: &mut Scenario,
    processes: &mut Vec<Hollow>,
    count: usize,
    options: &Options,
) -> Result<()> {
    let mut flags: Vec<String> = NODE_FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.extend(["--hollow-spin".to_owned(), format!("{}ms", options.spin_ms)]);
    for first in (0..count).step_by(PROCESS_NODES_MAX) {
        let name = format!("hollow-{}", processes.len());
        let count = PROCESS_NODES_MAX.min(count - first);
        processes.push(scenario.cluster().start_hollow(&name, count, &flags).await?);
    }
    Ok(())
}

/// Applies the jobs, waits until all are Complete, checks every result.
async fn bear(scenario: &mut Scenario, reconciler: &str, nodes: &[Hollow], load: Load<'_>) -> Result<Shown> {
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    let busy_before = busy_seconds(nodes).await?;
    let started = Instant::now();
    let parameters = PostParams::default();
    let creating = stream::iter(0..load.jobs).map(|number| {
        let (jobs, parameters) = (jobs.clone(), &parameters);
        async move { jobs.create(parameters, &job(&load, number)?).await.context("creating a job") }
    });
    creating.buffer_unordered(CREATES_AT_ONCE).try_collect::<Vec<Job>>().await?;
    until_complete(&jobs, &load, started).await?;
    let wall = started.elapsed();
    let busy = busy_seconds(nodes).await? - busy_before;
    let metrics = scenario.cluster().reconciler_page(reconciler, "/metrics").await?.text;
    for number in 0..load.jobs {
        check_result(scenario, &load, number)?;
    }
    let (assignments, intervals) = count_intervals(scenario, load.prefix).await?;
    Ok(Shown { wall, busy, metrics, assignments, intervals })
}

fn job(load: &Load<'_>, number: u64) -> Result<Job> {
    let params = json!({"count": share(load, number), "outputBytes": load.output_bytes});
    let job: Value = json!({
        "apiVersion": "processdistro.dev/v1",
        "kind": "Job",
        "metadata": {"name": format!("{}-{number}", load.prefix)},
        // Jobs of the same size are the same work.
        "spec": {"task": {"name": "noop", "params": params}, "cache": false},
    });
    serde_json::from_value(job).context("a job of the benchmark")
}

/// Subtasks of one of the jobs, so that all together have as many as asked for.
fn share(load: &Load<'_>, number: u64) -> u64 {
    (load.subtasks / load.jobs + u64::from(number < load.subtasks % load.jobs)).max(1)
}

async fn until_complete(jobs: &Api<Job>, load: &Load<'_>, started: Instant) -> Result<()> {
    let mut told = Instant::now();
    loop {
        let listed = jobs.list(&ListParams::default()).await.context("listing the jobs")?.items;
        let ours: Vec<&Job> = listed.iter().filter(|job| is_ours(job, load.prefix)).collect();
        if let Some(failed) = ours.iter().find(|job| has(job, conditions::FAILED)) {
            anyhow::bail!("job {:?} failed: {:?}", failed.metadata.name, failed.status);
        }
        let complete = ours.iter().filter(|job| has(job, conditions::COMPLETE)).count() as u64;
        if complete == load.jobs {
            return Ok(());
        }
        let done: u64 = ours.iter().filter_map(|job| job.status.as_ref()).map(|status| status.subtasks.succeeded).sum();
        let (elapsed, all) = (started.elapsed(), load.subtasks);
        ensure!(elapsed < load.limit, "after {elapsed:?} {complete} jobs are complete, {done} of {all} subtasks");
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("{:>5.0} s: {complete} of {} jobs, {done} of {all} subtasks", elapsed.as_secs_f64(), load.jobs);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_ours(job: &Job, prefix: &str) -> bool {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| rest.parse::<u64>().is_ok())
}

/// The merged summary of one job, which counts every output byte once.
fn check_result(scenario: &Scenario, load: &Load<'_>, number: u64) -> Result<()> {
    let name = format!("{}-{number}", load.prefix);
    let count = share(load, number);
    let expected = format!("{{\"subtasks\":{count},\"bytes\":{}}}\n", count * load.output_bytes);
    let result = scenario.pdctl(&["results", &format!("job/{name}"), "-o", "-"])?;
    ensure!(result == expected, "the result of {name} is {result}, not {expected}");
    Ok(())
}

/// Slot-seconds that the nodes have spent so far.
async fn busy_seconds(nodes: &[Hollow]) -> Result<f64> {
    let mut all = 0.0;
    for hollow in nodes {
        let page = scrape::get(hollow.metrics_port, "/metrics").await?;
        all += value(&page.text, "pd_kubelet_busy_seconds_total").context("the nodes tell no busy time")?;
    }
    Ok(all)
}

/// Assignments of the load's jobs, and the runs of indexes in them.
async fn count_intervals(scenario: &Scenario, prefix: &str) -> Result<(usize, usize)> {
    const PAGE: u32 = 2000;
    let api: Api<Assignment> = Api::default_namespaced(scenario.client());
    let (mut assignments, mut intervals) = (0, 0);
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let listed = api.list(&parameters).await.context("listing the assignments")?;
        for assignment in &listed.items {
            let name = &assignment.spec.job.name;
            if !name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-')) {
                continue;
            }
            let segments = assignment.status.iter().flat_map(|status| &status.segments);
            assignments += 1;
            intervals += assignment.spec.granted().ranges().count();
            intervals += segments.map(|segment| segment.indexes.ranges().count()).sum::<usize>();
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok((assignments, intervals)),
        }
    }
}

/// The least bound in seconds under which that part of the observations lie.
fn quantile(metrics: &str, what: &str, quantile: f64) -> Result<f64> {
    let name = format!("pd_reconciler_{what}_seconds");
    quantile_at_most(metrics, &name, quantile).with_context(|| format!("the reconciler has no {name} yet"))
}

fn print_shown(nodes: usize, shown: &Shown) {
    let wall = shown.wall.as_secs_f64();
    let row = |what: &str, figure: String| println!("{what:<44} {figure:>14}");
    row("wall time, apply to the last Complete, s", format!("{wall:.1}"));
    row("utilisation of the hollow slots", format!("{:.3}", shown.busy / (wall * nodes as f64)));
    row("assignments", shown.assignments.to_string());
    row("intervals in grants and segments", shown.intervals.to_string());
    for (what, name) in [
        ("plan", "plan"),
        ("plan, processor time", "plan_cpu"),
        ("snapshot", "snapshot"),
        ("whole round, writes included", "round"),
    ] {
        for of in [0.5, 0.99] {
            let bound = quantile(&shown.metrics, name, of).map_or("-".to_owned(), |s| format!("≤ {:.3}", s * 1000.0));
            row(&format!("{what}, p{:.0}, ms", of * 100.0), bound);
        }
    }
    for (what, name) in [
        ("plans", "pd_reconciler_plan_seconds_count"),
        ("seconds spent planning", "pd_reconciler_plan_seconds_sum"),
        ("seconds spent making snapshots", "pd_reconciler_snapshot_seconds_sum"),
        ("seconds spent in rounds", "pd_reconciler_round_seconds_sum"),
    ] {
        row(what, format!("{:.1}", value(&shown.metrics, name).unwrap_or_default()));
    }
    row("writes of the reconciler", format!("{:.0}", scrape::sum(&shown.metrics, "pd_reconciler_writes_total")));
}

/// Prints what each process takes; answers the most of the API server's and the reconciler's peaks.
fn print_memory(scenario: &mut Scenario, reconciler: &str, hollow: &[Hollow]) -> Result<u64> {
    let cluster = scenario.cluster();
    let apiserver = cluster.state().apiserver.context("the API server is not running")?;
    println!("{:<44} {:>14} {:>14}", "memory, MB", "now", "peak");
    let print = |what: &str, (now, peak): (u64, u64)| {
        println!("{what:<44} {:>14.0} {:>14.0}", now as f64 / 1e6, peak as f64 / 1e6);
    };
    let mut most = 0;
    for (what, process) in [("API server", apiserver), ("reconciler", cluster.reconciler(reconciler)?)] {
        let bytes = process.resident_bytes()?;
        print(what, bytes);
        most = most.max(bytes.1);
    }
    let mut all = (0, 0);
    for nodes in hollow {
        let (now, peak) = nodes.process.resident_bytes()?;
        all = (all.0 + now, all.1 + peak);
    }
    print("all hollow nodes", all);
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_share_all_subtasks() {
        let load = Load { prefix: "p", jobs: 7, subtasks: 100, output_bytes: 0, limit: Duration::ZERO };
        assert_eq!((0..7).map(|number| share(&load, number)).sum::<u64>(), 100);
    }

    #[test]
    fn a_table_ends_with_what_was_asked_for() {
        assert_eq!(steps(1000, 10), [10, 100, 1000]);
        assert_eq!(steps(250, 1), [1, 10, 100, 250]);
        assert_eq!(steps(5, 10), [5]);
    }
}
