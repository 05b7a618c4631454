//! What the sandbox costs: ratios taken in one run, each beside what it is measured against.
//!
//! Through the system means: a job on one node of one slot, over the time in which that slot was busy. Native means the
//! best library on one core of the same machine. Rounds alternate, so that both sides see the same machine.

mod bounds;
mod native;

use std::{
    process::Command,
    time::{Duration, Instant},
};

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
/// The image: 2048 × 1024 pixels.
const WIDTH: u32 = 2048;
const HEIGHT: u32 = 1024;
const ITERATIONS: u32 = 500;
/// Lines of 16 letters for the SHA functions, and lines for bcrypt at this cost.
const WORDS: usize = 1_000_000;
const BCRYPT_WORDS: usize = 120;
const BCRYPT_COST: u32 = 8;
/// Rows and columns of the matrices, and of the tile that a subtask computes.
const MATRIX: usize = 1024;
const MATRIX_TILE: usize = 512;

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Measured rounds of each pair.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How often each limit is met.
    #[arg(long, default_value_t = 30)]
    limits: u32,
}

/// One line of the table: what is measured over what it is measured against, a ratio a round.
struct Line {
    what: &'static str,
    over: &'static str,
    goal: Option<f64>,
    ratios: Vec<f64>,
    /// Of the last round, in units a second.
    figures: (f64, f64, &'static str),
}

pub(super) async fn run(options: Options) -> Result<()> {
    let bench = Bench { scenario: Scenario::start(1, 1).await?, rounds: options.rounds };
    bench.prepare().await?;
    let mut lines = vec![bench.noop().await?, bench.spin().await?, bench.batch().await?];
    lines.extend(bench.kernels().await?);
    lines.push(bench.epochs()?);
    print(&mut lines);
    bounds::measure(&bench.scenario, options.limits)
}

fn print(lines: &mut [Line]) {
    println!(
        "{:<26} {:<26} {:>7} {:>7} {:>7} {:>6}  last round",
        "through the system", "over", "min", "median", "max", "goal"
    );
    for line in lines {
        let (minimum, median, maximum) = spread(&mut line.ratios);
        let goal = line.goal.map(|goal| format!("{goal:.2}")).unwrap_or_default();
        let (ours, theirs, unit) = line.figures;
        println!(
            "{:<26} {:<26} {minimum:>7.3} {median:>7.3} {maximum:>7.3} {goal:>6}  {ours:.1} / {theirs:.1} {unit}",
            line.what, line.over
        );
    }
}

struct Bench {
    scenario: Scenario,
    rounds: u32,
}

impl Bench {
    /// Writes the inputs, and runs every task once so that nothing is compiled while it is measured.
    async fn prepare(&self) -> Result<()> {
        self.scenario.write("words.txt", words(WORDS))?;
        self.scenario.write("few-words.txt", words(BCRYPT_WORDS))?;
        self.job("warm-noop", "noop", json!({"count": 1000}), None, "Subtask").await?;
        self.job("warm-batch", "noop", json!({"count": 1000}), None, "Batch").await?;
        self.job("warm-image", "mandelbrot", json!({"width": 64, "height": 64}), None, "Subtask").await?;
        self.job("warm-matrix", "matrix-mul", json!({"size": 64}), None, "Subtask").await?;
        let few = Some("few-words.txt");
        self.job("warm-hash", "password-hash", json!({"algorithm": "sha256"}), few, "Subtask").await?;
        Ok(())
    }

    async fn noop(&self) -> Result<Line> {
        let what = ("no-op subtasks", "bare wasmtime loop", Some(0.8), "subtasks/s");
        self.against_loop(what, json!({"count": NOOPS}), NOOPS, "Subtask", &[]).await
    }

    async fn batch(&self) -> Result<Line> {
        let what = ("no-op subtasks, Batch", "bare loop, one instance", None, "subtasks/s");
        self.against_loop(what, json!({"count": 4 * NOOPS}), 4 * NOOPS, "Batch", &["--reuse"]).await
    }

    async fn spin(&self) -> Result<Line> {
        let what = ("1 ms subtasks", "bare wasmtime loop", Some(0.97), "subtasks/s");
        self.against_loop(what, json!({"count": SPINS, "spinMicros": SPIN_MICROS}), SPINS, "Subtask", &[]).await
    }

    async fn against_loop(
        &self,
        (what, over, goal, unit): (&'static str, &'static str, Option<f64>, &'static str),
        params: Value,
        count: u64,
        isolation: &str,
        flags: &[&str],
    ) -> Result<Line> {
        let mut line = Line { what, over, goal, ratios: Vec::new(), figures: (0.0, 0.0, unit) };
        for round in 0..self.rounds {
            let bare = bare_loop("noop", &params, None, count / 2, flags)?;
            let name = format!("{}-{round}", what.replace([' ', ','], "").to_lowercase());
            let busy = self.job(&name, "noop", params.clone(), None, isolation).await?;
            let ours = count as f64 / busy.as_secs_f64();
            line.ratios.push(ours / bare);
            line.figures = (ours, bare, unit);
        }
        Ok(line)
    }

    async fn kernels(&self) -> Result<Vec<Line>> {
        let (many, few) = (words(WORDS), words(BCRYPT_WORDS));
        let pixels = f64::from(WIDTH) * f64::from(HEIGHT) / 1e6;
        let image =
            json!({"width": WIDTH, "height": HEIGHT, "maxIterations": ITERATIONS, "tileSize": 256, "output": "counts"});
        let sha = |algorithm: &str| json!({"algorithm": algorithm, "batchSize": 20_000});
        let flops = 2.0 * (MATRIX as f64).powi(3) / 1e9;
        let words = WORDS as f64 / 1e6;
        let all = Some("words.txt");
        Ok(vec![
            self.kernel(
                ("mandelbrot", "native, SSE2 by hand", Some(1.0)),
                "mandelbrot",
                image,
                None,
                (pixels, "Mpx/s"),
                || Ok(native::mandelbrot(WIDTH, HEIGHT, ITERATIONS)),
            )
            .await?,
            self.kernel(("SHA-512", "sha2", Some(0.9)), "password-hash", sha("sha512"), all, (words, "MH/s"), || {
                Ok(native::sha512(&many))
            })
            .await?,
            self.kernel(("SHA-256", "sha2", Some(0.55)), "password-hash", sha("sha256"), all, (words, "MH/s"), || {
                Ok(native::sha256(&many))
            })
            .await?,
            self.kernel(
                ("bcrypt", "bcrypt", Some(0.85)),
                "password-hash",
                json!({"algorithm": "bcrypt", "cost": BCRYPT_COST}),
                Some("few-words.txt"),
                (BCRYPT_WORDS as f64, "H/s"),
                || native::bcrypt(&few, BCRYPT_COST),
            )
            .await?,
            self.kernel(
                ("GEMM f64", "gemm", Some(0.25)),
                "matrix-mul",
                json!({"size": MATRIX, "tileSize": MATRIX_TILE}),
                None,
                (flops, "GF/s"),
                || Ok(native::gemm(MATRIX)),
            )
            .await?,
        ])
    }

    async fn kernel(
        &self,
        (what, over, goal): (&'static str, &'static str, Option<f64>),
        task: &str,
        params: Value,
        input: Option<&str>,
        (work, unit): (f64, &'static str),
        native: impl Fn() -> Result<Duration>,
    ) -> Result<Line> {
        let mut line = Line { what, over, goal, ratios: Vec::new(), figures: (0.0, 0.0, unit) };
        native()?;
        for round in 0..self.rounds {
            let theirs = native()?;
            let name = format!("{}-{round}", what.replace(' ', "-").to_lowercase());
            let ours = self.job(&name, task, params.clone(), input, "Subtask").await?;
            line.ratios.push(theirs.as_secs_f64() / ours.as_secs_f64());
            line.figures = (work / ours.as_secs_f64(), work / theirs.as_secs_f64(), unit);
        }
        Ok(line)
    }

    /// What a check in every loop would cost: the price of time limits inside the process, which we do not pay.
    fn epochs(&self) -> Result<Line> {
        let params =
            json!({"width": 512, "height": 512, "maxIterations": ITERATIONS, "tileSize": 128, "output": "counts"});
        let mut line = Line {
            what: "mandelbrot with epochs",
            over: "without, bare loop",
            goal: None,
            ratios: Vec::new(),
            figures: (0.0, 0.0, "tiles/s"),
        };
        for _ in 0..self.rounds {
            let without = bare_loop("mandelbrot", &params, None, 64, &[])?;
            let with = bare_loop("mandelbrot", &params, None, 64, &["--epochs"])?;
            line.ratios.push(with / without);
            line.figures = (with, without, "tiles/s");
        }
        Ok(line)
    }

    /// Runs a job to its end and answers how long the slot was busy with it, merge and plan included.
    async fn job(
        &self,
        name: &str,
        task: &str,
        params: Value,
        input: Option<&str>,
        isolation: &str,
    ) -> Result<Duration> {
        let mut job = json!({
            "apiVersion": "processdistro.dev/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"task": {"name": task, "params": params}, "sandbox": {"isolation": isolation},
                "resources": {"memory": "256Mi"}, "cache": false},
        });
        if let Some(input) = input {
            // The file is uploaded by pdctl, which the first job with it does; the digest is all that is needed here.
            job["spec"]["task"]["inputs"] = json!({"candidates": self.upload(input)?});
        }
        run_job(&self.scenario.client(), name, &job, JOB_TIME).await?;
        let assignments = self.scenario.assignments(name).await?;
        let busy: f64 =
            assignments.iter().filter_map(|one| one.status.as_ref()).map(|status| status.busy_seconds).sum();
        ensure!(busy > 0.0, "job {name} kept no slot busy");
        Ok(Duration::from_secs_f64(busy))
    }

    /// The digest of a file of the scenario, which the store has afterwards.
    fn upload(&self, file: &str) -> Result<String> {
        use sha2::Digest as _;
        let bytes = std::fs::read(self.scenario.path(file))?;
        let digest: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("upload-{}", &digest[..12]);
        if self.scenario.pdctl_output(&["get", "job", &name])?.status.success() {
            return Ok(format!("sha256:{digest}"));
        }
        let input = format!("candidates={file}");
        let started = Instant::now();
        self.scenario.pdctl(&[
            "run",
            "password-hash",
            "--name",
            &name,
            "--params",
            r#"{"algorithm":"sha256"}"#,
            "--input",
            &input,
        ])?;
        eprintln!("{file}: {} bytes uploaded, hashed once in {:.1?}", bytes.len(), started.elapsed());
        Ok(format!("sha256:{digest}"))
    }
}

/// Lines of 16 letters and digits.
fn words(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| format!("{:016x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes())
        .collect()
}

/// Runs of a built-in task in the same engine without anything around it, a second.
fn bare_loop(task: &str, params: &Value, input: Option<&str>, count: u64, flags: &[&str]) -> Result<f64> {
    let binaries = Binaries::locate()?;
    let mut command = Command::new(binaries.program("pd-executor"));
    command.arg("bench").arg("--component").arg(binaries.task(task));
    command.args(["--params", &params.to_string(), "--count", &count.to_string()]).args(flags);
    if let Some(input) = input {
        command.args(["--input", input]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "pd-executor bench: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let figure = printed.split_whitespace().find_map(|word| word.strip_prefix("runs_per_second="));
    Ok(figure.with_context(|| format!("no figure in `{printed}`"))?.parse()?)
}
