//! What the sandbox costs: ratios taken in one run, each beside what it is measured against.
//!
//! Through the system means: a job on one node of one slot, over the time in which that slot was busy. Native means the
//! best library on one core of the same machine. Rounds alternate, so that both sides see the same machine.

mod bounds;
mod kernels;
mod native;

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{run_job, spread};
use crate::{Scenario, binaries::Binaries};

/// For one job; far above anything worth reporting.
const JOB_TIME: Duration = Duration::from_mins(10);
/// Subtasks of the trivial job; of those that take a millisecond a fiftieth.
const NOOPS: u64 = 200_000;
const SPINS: u64 = NOOPS / 50;
/// What one of the latter spins, in microseconds as the task counts them.
const SPIN_MICROS: u64 = 1_000;

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Measured rounds of each pair.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only the lines whose first column contains this, whatever the case; no limits then.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How often each limit is met.
    #[arg(long, default_value_t = 30)]
    limits: u32,
}

/// One line of the table: what is measured over what it is measured against, a ratio a round.
struct Line {
    what: String,
    over: &'static str,
    goal: Option<f64>,
    ratios: Vec<f64>,
    /// Of the last round, in units a second.
    figures: (f64, f64, &'static str),
}

pub(super) async fn run(options: Options) -> Result<()> {
    let only = options.only.map(|only| only.to_lowercase());
    let bench = Bench { scenario: Scenario::start(1, 1).await?, rounds: options.rounds, only };
    bench.prepare().await?;
    let mut lines = bench.subtasks().await?;
    lines.extend(kernels::measure(&bench).await?);
    lines.extend(bench.epochs()?);
    print(&mut lines);
    if bench.only.is_some() { Ok(()) } else { bounds::measure(&bench.scenario, options.limits) }
}

fn print(lines: &mut [Line]) {
    println!(
        "{:<34} {:<26} {:>7} {:>7} {:>7} {:>6}  last round",
        "through the system", "over", "min", "median", "max", "goal"
    );
    for line in lines {
        let (minimum, median, maximum) = spread(&mut line.ratios);
        let goal = line.goal.map(|goal| format!("{goal:.2}")).unwrap_or_default();
        let (ours, theirs, unit) = line.figures;
        println!(
            "{:<34} {:<26} {minimum:>7.3} {median:>7.3} {maximum:>7.3} {goal:>6}  {ours:.1} / {theirs:.1} {unit}",
            line.what, line.over
        );
    }
}

struct Bench {
    scenario: Scenario,
    rounds: u32,
    only: Option<String>,
}

impl Bench {
    /// True if this line is to be measured.
    fn wants(&self, what: &str) -> bool {
        self.only.as_ref().is_none_or(|only| what.to_lowercase().contains(only))
    }

    /// Runs the trivial task once, so that nothing is compiled while it is measured.
    async fn prepare(&self) -> Result<()> {
        for isolation in ["Subtask", "Batch"] {
            let name = format!("warm-{}", isolation.to_lowercase());
            let sandbox = json!({"isolation": isolation});
            self.job(&name, "noop", json!({"count": 1000}), json!({}), sandbox).await?;
        }
        Ok(())
    }

    /// Subtasks that do nothing, or spin for a millisecond.
    async fn subtasks(&self) -> Result<Vec<Line>> {
        let spin = json!({"count": SPINS, "spinMicros": SPIN_MICROS});
        let (fresh, reused) = ("bare wasmtime loop", "bare loop, one instance");
        let mut lines = Vec::new();
        for (what, goal, params, count, isolation, flags) in [
            ("no-op subtasks", Some(0.8), json!({"count": NOOPS}), NOOPS, "Subtask", &[][..]),
            ("1 ms subtasks", Some(0.97), spin, SPINS, "Subtask", &[]),
            ("no-op subtasks, Batch", None, json!({"count": 4 * NOOPS}), 4 * NOOPS, "Batch", &["--reuse"]),
        ] {
            if self.wants(what) {
                let over = if flags.is_empty() { fresh } else { reused };
                lines.push(self.against_loop((what, over, goal), params, count, isolation, flags).await?);
            }
        }
        Ok(lines)
    }

    async fn against_loop(
        &self,
        (what, over, goal): (&'static str, &'static str, Option<f64>),
        params: Value,
        count: u64,
        isolation: &str,
        flags: &[&str],
    ) -> Result<Line> {
        let mut line =
            Line { what: what.to_owned(), over, goal, ratios: Vec::new(), figures: (0.0, 0.0, "subtasks/s") };
        for round in 0..self.rounds {
            let bare = bare_loop("noop", &params, count / 2, flags)?;
            let name = format!("{}-{round}", what.replace([' ', ','], "").to_lowercase());
            let busy = self.job(&name, "noop", params.clone(), json!({}), json!({"isolation": isolation})).await?;
            let ours = count as f64 / busy.as_secs_f64();
            line.ratios.push(ours / bare);
            line.figures = (ours, bare, "subtasks/s");
        }
        Ok(line)
    }

    /// What a check in every loop would cost: the price of time limits inside the process, which we do not pay.
    fn epochs(&self) -> Result<Option<Line>> {
        let params = json!({"width": 512, "height": 512, "maxIterations": 500, "tileSize": 128, "output": "counts"});
        let mut line = Line {
            what: "mandelbrot with epochs".to_owned(),
            over: "without, bare loop",
            goal: None,
            ratios: Vec::new(),
            figures: (0.0, 0.0, "tiles/s"),
        };
        if !self.wants(&line.what) {
            return Ok(None);
        }
        for _ in 0..self.rounds {
            let without = bare_loop("mandelbrot", &params, 64, &[])?;
            let with = bare_loop("mandelbrot", &params, 64, &["--epochs"])?;
            line.ratios.push(with / without);
            line.figures = (with, without, "tiles/s");
        }
        Ok(Some(line))
    }

    /// Runs a job to its end and answers how long the slot was busy with it, merge and plan included.
    async fn job(&self, name: &str, task: &str, params: Value, inputs: Value, sandbox: Value) -> Result<Duration> {
        let job = json!({
            "apiVersion": "processdistro.dev/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "task": {"name": task, "params": params, "inputs": inputs},
                "sandbox": sandbox,
                "resources": {"memory": "256Mi"},
                "cache": false,
            },
        });
        run_job(&self.scenario.client(), name, &job, JOB_TIME).await?;
        let assignments = self.scenario.assignments(name).await?;
        let busy: f64 =
            assignments.iter().filter_map(|one| one.status.as_ref()).map(|status| status.busy_seconds).sum();
        ensure!(busy > 0.0, "job {name} kept no slot busy");
        Ok(Duration::from_secs_f64(busy))
    }
}

/// Runs of a built-in task in the same engine without anything around it, a second.
fn bare_loop(task: &str, params: &Value, count: u64, flags: &[&str]) -> Result<f64> {
    let binaries = Binaries::locate()?;
    let mut command = Command::new(binaries.program("pd-executor"));
    command.arg("bench").arg("--component").arg(binaries.task(task));
    command.args(["--params", &params.to_string(), "--count", &count.to_string()]).args(flags);
    let output = command.output()?;
    ensure!(output.status.success(), "pd-executor bench: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let figure = printed.split_whitespace().find_map(|word| word.strip_prefix("runs_per_second="));
    Ok(figure.with_context(|| format!("no figure in `{printed}`"))?.parse()?)
}
