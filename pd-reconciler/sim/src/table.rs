//! The table of `--scenarios paper`, as Markdown.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Result, bail, ensure};
use pd_sim::{
    MILLI, Shape, Trace,
    crowd::{Crowd, Shown},
    paper::{self, Baseline, Sample, Trouble},
};

/// What ours has to keep: median and 95th percentile of makespan over the lower bound.
const GOALS: (f64, f64) = (1.03, 1.08);

/// What an estimate may be off, as a share of the makespan.
const ESTIMATE_GOAL: f64 = 0.2;

/// Many jobs on many nodes.
const CROWDS: [Crowd; 3] = [
    Crowd { nodes: 200, jobs: 50, indexes: 400, cost: 300 * MILLI, apart: 2 * MILLI },
    Crowd { nodes: 200, jobs: 50, indexes: 400, cost: 300 * MILLI, apart: 20 * MILLI },
    Crowd { nodes: 1000, jobs: 100, indexes: 1000, cost: 300 * MILLI, apart: 2 * MILLI },
];

/// Prints what becomes of many jobs on many nodes.
pub(crate) fn print_crowds(seed: u64) {
    println!(
        "| nodes | jobs | ms apart | indexes each | of, ms | makespan ÷ need | pairs half-way | at the end | writes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for crowd in CROWDS {
        let Crowd { nodes, jobs, indexes, cost, apart } = crowd;
        let Shown { over, pairs: (halfway, end), writes } = crowd.run(seed);
        let (apart, cost) = (apart / MILLI, cost / MILLI);
        println!("| {nodes} | {jobs} | {apart} | {indexes} | {cost} | {over:.3} | {halfway} | {end} | {writes} |");
    }
}

/// Prints how good the estimated completion times were, where nothing goes wrong.
pub(crate) fn print_estimates(first: u64, seeds: u64, only: &str, threads: usize) -> Result<()> {
    ensure!(seeds > 0, "--seeds must be at least 1");
    println!("estimated completion time, off by … of the makespan, over {seeds} random clusters, nothing wrong\n");
    println!(
        "| costs | after a tenth: median | 95th | within 20 % | worst from then on: median | 95th | within 20 % |"
    );
    println!("|---|---|---|---|---|---|---|");
    for shape in Shape::ALL.into_iter().filter(|shape| shape.name().contains(only)) {
        let samples = samples(first, seeds, shape, Trouble::Nothing, threads)?;
        let told = |of: fn(&Sample) -> f64| {
            let (median, late) = percentiles(samples.iter().map(of));
            let within = samples.iter().filter(|sample| of(sample) <= ESTIMATE_GOAL).count() * 100 / samples.len();
            format!("{median:.3} | {late:.3} | {within} %")
        };
        println!("| {} | {} | {} |", shape.name(), told(|sample| sample.estimate.0), told(|sample| sample.estimate.1));
    }
    Ok(())
}

/// Prints the rows whose name contains `only`, each over `seeds` clusters.
pub(crate) fn print(first: u64, seeds: u64, only: &str, threads: usize) -> Result<()> {
    ensure!(seeds > 0, "--seeds must be at least 1");
    let names: Vec<&str> = Baseline::ALL.iter().map(|baseline| baseline.name()).collect();
    println!("makespan ÷ lower bound, median / 95th percentile over {seeds} random clusters of 2 to 64 nodes\n");
    println!("| trouble | costs | ours | worst seed | writes | {} |", names.join(" | "));
    println!("|---|---|---|---|---|{}", "---|".repeat(names.len()));
    let started = Instant::now();
    let mut all = Vec::new();
    for (trouble, shape) in rows(only) {
        let samples = samples(first, seeds, shape, trouble, threads)?;
        print_row(trouble.name(), shape.name(), &samples);
        all.extend(samples);
    }
    if all.is_empty() {
        bail!("no row's name contains `{only}`");
    }
    print_row("all", "all", &all);
    let (median, late) = ours(&all);
    let (plans, seconds): (u64, f64) = (all.iter().map(|sample| sample.plans).sum(), started.elapsed().as_secs_f64());
    println!(
        "\n{plans} plans, {:.3} ms of a thread each, all around them included",
        1e3 * seconds * threads as f64 / plans as f64
    );
    println!("{:.0} s; goals for ours: {:.2} / {:.2}", started.elapsed().as_secs_f64(), GOALS.0, GOALS.1);
    if median > GOALS.0 || late > GOALS.1 {
        println!("missed: {median:.3} / {late:.3}");
    }
    Ok(())
}

/// Prints everything that happens in the cluster of `seed`, in the rows whose name contains `only`.
pub(crate) fn trace(seed: u64, only: &str) {
    for (trouble, shape) in rows(only) {
        println!("{} {}", trouble.name(), shape.name());
        let sample = paper::sample(seed, shape, trouble, Trace::printed());
        println!("{:.3} times the lower bound of {:.3} s", sample.ours, sample.bound);
    }
}

/// The rows whose name contains `only`.
fn rows(only: &str) -> impl Iterator<Item = (Trouble, Shape)> {
    let all = Trouble::ALL.into_iter().flat_map(|trouble| Shape::ALL.map(|shape| (trouble, shape)));
    all.filter(move |(trouble, shape)| format!("{} {}", trouble.name(), shape.name()).contains(only))
}

/// In the order of seeds, whatever thread made them.
fn samples(first: u64, seeds: u64, shape: Shape, trouble: Trouble, threads: usize) -> Result<Vec<Sample>> {
    let (next, found) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let sample = paper::sample(seed, shape, trouble, Trace::default());
                    let Ok(mut found) = found.lock() else { return };
                    found.push(sample);
                }
            });
        }
    });
    let Ok(mut found) = found.into_inner() else { bail!("a simulation panicked; its message stands above") };
    found.sort_by_key(|sample| sample.seed);
    Ok(found)
}

fn ours(samples: &[Sample]) -> (f64, f64) {
    percentiles(samples.iter().map(|sample| sample.ours))
}

fn print_row(trouble: &str, shape: &str, samples: &[Sample]) {
    let told = |(median, late): (f64, f64)| format!("{median:.2} / {late:.2}");
    let baselines =
        (0..Baseline::ALL.len()).map(|at| told(percentiles(samples.iter().map(|sample| sample.baselines[at]))));
    let baselines: Vec<String> = baselines.collect();
    let worst = samples.iter().max_by(|a, b| a.ours.total_cmp(&b.ours));
    let worst = worst.map_or_else(String::new, |w| format!("{} ({} nodes): {:.2}", w.seed, w.nodes, w.ours));
    let (writes, _) = percentiles(samples.iter().map(|sample| sample.writes as f64));
    let (median, late) = ours(samples);
    println!("| {trouble} | {shape} | **{median:.3} / {late:.3}** | {worst} | {writes} | {} |", baselines.join(" | "));
}

/// Median and 95th percentile (nearest rank).
fn percentiles(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
    (values[rank(0.5)], values[rank(0.95)])
}
