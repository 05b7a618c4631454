//! `pd-sim`: random fault scenarios, planted bugs, the comparison with other policies.

mod growth;
mod table;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use pd_sim::{Bug, Trace, scenario};

/// A simulation is planning, and planning is many small sets that live for one plan.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An hour of simulated time, in microseconds.
const HOUR: u64 = 3600 * pd_sim::SECOND;
/// A long run says how far it is that often.
const TOLD_EACH: u64 = 500 * HOUR;

/// Whole clusters in simulated time, around the real plan and the real kubelet sync.
#[derive(Parser)]
#[command(name = "pd-sim", version)]
struct Options {
    /// Simulate random fault scenarios for that many cluster-hours in all.
    #[arg(long, default_value_t = 100.0)]
    hours: f64,
    /// First seed; or, with --scenarios, the first seed of each row.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulate only the scenario of --seed.
    #[arg(long)]
    one: bool,
    /// Print everything that happens in the scenario of --seed; with --scenarios paper, in each cell of it.
    #[arg(long)]
    trace: bool,
    /// Plant a bug and look for it.
    #[arg(long)]
    bug: Option<Bug>,
    /// Instead: makespan over its lower bound, beside other policies.
    #[arg(long)]
    scenarios: Option<Scenarios>,
    /// Clusters for each row of the table.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Rows of the table whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Threads; as many as there are processors unless given.
    #[arg(long)]
    threads: Option<usize>,
}

/// Which table.
#[derive(Clone, Copy, ValueEnum)]
enum Scenarios {
    /// Four cost shapes; nothing wrong, one node throttled to 5 %, the biggest node dies, the biggest joins late.
    Paper,
    /// How far estimated completion times are off in those clusters, where nothing goes wrong.
    Estimate,
    /// Many jobs on many nodes: makespan over what they need, pairs of a job and a node, writes.
    Crowd,
    /// How the time of one plan grows with nodes, jobs and intervals.
    Growth,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let threads = match options.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    if let Some(scenarios) = options.scenarios {
        let print = match scenarios {
            Scenarios::Paper if options.trace => {
                table::trace(options.seed, &options.only);
                return Ok(ExitCode::SUCCESS);
            }
            Scenarios::Paper => table::print,
            Scenarios::Estimate => table::print_estimates,
            Scenarios::Crowd => {
                table::print_crowds(options.seed);
                return Ok(ExitCode::SUCCESS);
            }
            Scenarios::Growth => {
                growth::print()?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        print(options.seed, options.seeds, &options.only, threads)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.one || options.trace {
        return Ok(one(&options));
    }
    hours(&options, threads)
}

/// One scenario, as its seed has it.
fn one(options: &Options) -> ExitCode {
    let trace = if options.trace { Trace::printed() } else { Trace::default() };
    let outcome = scenario::run(options.seed, options.bug, trace);
    println!("seed {}: lived {:.3} s; {:?}", options.seed, outcome.lived as f64 / 1e6, outcome.stats);
    match outcome.violation {
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// What the threads have seen together.
#[derive(Default)]
struct Seen {
    lived: u64,
    clusters: u64,
    stats: pd_sim::Stats,
    /// The violation of the lowest seed.
    failed: Option<(u64, String)>,
}

/// Scenario after scenario until the hours are lived or an invariant is broken.
fn hours(options: &Options, threads: usize) -> Result<ExitCode> {
    let wanted = (options.hours * HOUR as f64) as u64;
    let (next, stop, seen) = (AtomicU64::new(options.seed), AtomicBool::new(false), Mutex::new(Seen::default()));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = scenario::run(seed, options.bug, Trace::default());
                    let Ok(mut seen) = seen.lock() else { return };
                    let before = seen.lived / TOLD_EACH;
                    seen.lived += outcome.lived;
                    seen.clusters += 1;
                    seen.stats += outcome.stats;
                    if seen.lived / TOLD_EACH > before {
                        eprintln!("{} cluster-hours in {} clusters so far", seen.lived / HOUR, seen.clusters);
                    }
                    if let Some(violation) = outcome.violation
                        && seen.failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest)
                    {
                        seen.failed = Some((seed, violation.to_string()));
                    }
                    if seen.lived >= wanted || seen.failed.is_some() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let Ok(seen) = seen.into_inner() else { bail!("a simulation panicked; its message stands above") };
    let (hours, seconds) = (seen.lived as f64 / HOUR as f64, started.elapsed().as_secs_f64());
    let stats = seen.stats;
    println!("{hours:.0} cluster-hours in {} clusters, {seconds:.1} s: {:.0} hours/s", seen.clusters, hours / seconds);
    println!("{stats:?}");
    let Some((seed, violation)) = seen.failed else {
        println!("no invariant was broken; every job ended ({} jobs, {} faults)", stats.jobs, stats.faults);
        return Ok(ExitCode::SUCCESS);
    };
    println!("seed {seed}: {violation}");
    let bug = options.bug.map(|bug| format!(" --bug {bug}")).unwrap_or_default();
    println!("replay with: cargo xtask sim --seed {seed}{bug} --trace");
    Ok(ExitCode::FAILURE)
}
