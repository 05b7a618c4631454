//! The kernels of the built-in tasks through the whole system, each over the best native library on one core.
//!
//! What a task can have the node compute for it is measured twice: so, and by its own code.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Bench, Line, native};

/// The image: 2048 × 1024 pixels.
const WIDTH: u32 = 2048;
const HEIGHT: u32 = 1024;
const ITERATIONS: u32 = 500;
/// Candidates of 16 letters to look for among as many targets, none of which is there.
const CANDIDATES: usize = 4_000_000;
const TARGETS: usize = 100;
/// Candidates whose digests are all wanted, a line of hex each.
const HASHED: usize = 1_000_000;
const BATCH: u32 = 8192;
const BCRYPT_WORDS: usize = 120;
const BCRYPT_COST: u32 = 8;
/// Rows and columns of the matrices, and of the tile that a subtask computes.
const MATRIX: usize = 2048;
const MATRIX_TILE: usize = 1024;

/// One kernel: a job, and the same work natively.
struct Kernel<'k> {
    what: &'static str,
    over: &'static str,
    task: &'static str,
    params: Value,
    inputs: Value,
    /// How much there is to do, in a unit.
    work: (f64, &'static str),
    native: &'k dyn Fn() -> Result<Duration>,
    /// Ratios to reach: with the node's kernel where the task asks for one, and by its own code.
    offered: Option<Option<f64>>,
    own: Option<f64>,
}

/// A line for each kernel, or two.
pub(super) async fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let (candidates, hashed, few) = (words(CANDIDATES), words(HASHED), words(BCRYPT_WORDS));
    let targets = native::digests_of_nobody(TARGETS);
    let digest = Uploads::make(bench, &candidates, &hashed, &few, &targets)?;
    let audit = |algorithm: &str| json!({"mode": "audit", "algorithm": algorithm, "batchSize": BATCH});
    let hash = |algorithm: &str| json!({"algorithm": algorithm, "batchSize": BATCH});
    let sought = |targets: &str| json!({"candidates": digest.candidates, "targets": targets});
    let flops = 2.0 * (MATRIX as f64).powi(3) / 1e9;
    let (many, lines) = ((CANDIDATES as f64 / 1e6, "MH/s"), (HASHED as f64 / 1e6, "MH/s"));
    let kernels = [
        Kernel {
            what: "mandelbrot",
            over: "native, SSE2 by hand",
            task: "mandelbrot",
            params: json!({"width": WIDTH, "height": HEIGHT, "maxIterations": ITERATIONS, "tileSize": 256, "output": "counts"}),
            inputs: json!({}),
            work: (f64::from(WIDTH) * f64::from(HEIGHT) / 1e6, "Mpx/s"),
            native: &|| Ok(native::mandelbrot(WIDTH, HEIGHT, ITERATIONS)),
            offered: None,
            own: Some(1.0),
        },
        Kernel {
            what: "SHA-512, audit",
            over: "sha2",
            task: "password-hash",
            params: audit("sha512"),
            inputs: sought(&digest.targets512),
            work: many,
            native: &|| Ok(native::audit_sha512(&candidates, &targets.1)),
            offered: None,
            own: Some(0.9),
        },
        Kernel {
            what: "SHA-256, audit",
            over: "sha2",
            task: "password-hash",
            params: audit("sha256"),
            inputs: sought(&digest.targets256),
            work: many,
            native: &|| Ok(native::audit_sha256(&candidates, &targets.0)),
            offered: Some(Some(0.9)),
            own: Some(0.55),
        },
        Kernel {
            what: "SHA-256, lines of hex",
            over: "sha2",
            task: "password-hash",
            params: hash("sha256"),
            inputs: json!({"candidates": digest.hashed}),
            work: lines,
            native: &|| Ok(native::sha256(&hashed)),
            offered: Some(None),
            own: None,
        },
        Kernel {
            what: "bcrypt",
            over: "bcrypt",
            task: "password-hash",
            params: json!({"algorithm": "bcrypt", "cost": BCRYPT_COST}),
            inputs: json!({"candidates": digest.few}),
            work: (BCRYPT_WORDS as f64, "H/s"),
            native: &|| native::bcrypt(&few, BCRYPT_COST),
            offered: None,
            own: Some(0.85),
        },
        Kernel {
            what: "GEMM f64",
            over: "gemm",
            task: "matrix-mul",
            params: json!({"size": MATRIX, "tileSize": MATRIX_TILE}),
            inputs: json!({}),
            work: (flops, "GF/s"),
            native: &|| Ok(native::gemm(MATRIX)),
            offered: Some(Some(0.8)),
            own: Some(0.25),
        },
    ];
    let mut measured = Vec::new();
    for kernel in &kernels {
        measured.extend(bench.kernel(kernel).await?);
    }
    Ok(measured)
}

impl Bench {
    /// Rounds alternate between the library and the job, and where the node has a kernel, the job without it.
    async fn kernel(&self, kernel: &Kernel<'_>) -> Result<Vec<Line>> {
        let Kernel { what, over, work: (work, unit), .. } = *kernel;
        let line = |what, goal| Line { what, over, goal, ratios: Vec::new(), figures: (0.0, 0.0, unit) };
        let mut lines: Vec<(bool, Line)> = match kernel.offered {
            Some(goal) => vec![
                (true, line(format!("{what}, host kernel"), goal)),
                (false, line(format!("{what}, without"), kernel.own)),
            ],
            None => vec![(true, line(what.to_owned(), kernel.own))],
        };
        (kernel.native)()?;
        for round in 0..=self.rounds {
            let theirs = (kernel.native)()?;
            for (offers, line) in &mut lines {
                let name: String = line.what.to_lowercase().split([' ', ',']).filter(|word| !word.is_empty()).collect();
                let sandbox = json!({"hostKernels": offers});
                let (params, inputs) = (kernel.params.clone(), kernel.inputs.clone());
                let ours = self.job(&format!("{name}-{round}"), kernel.task, params, inputs, sandbox).await?;
                // In the first round the component is compiled and the inputs are fetched.
                if round > 0 {
                    line.ratios.push(theirs.as_secs_f64() / ours.as_secs_f64());
                    line.figures = (work / ours.as_secs_f64(), work / theirs.as_secs_f64(), unit);
                }
            }
        }
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }
}

/// Digests of the inputs, as jobs name them.
struct Uploads {
    candidates: String,
    hashed: String,
    few: String,
    targets256: String,
    targets512: String,
}

impl Uploads {
    /// Has the store take all inputs: pdctl uploads the files of the first jobs that read them.
    fn make(bench: &Bench, candidates: &[u8], hashed: &[u8], few: &[u8], targets: &native::Targets) -> Result<Self> {
        let scenario = &bench.scenario;
        let write = |name: &str, bytes: &[u8]| -> Result<String> {
            scenario.write(name, bytes)?;
            Ok(format!("sha256:{}", native::hex(&native::sha256_of(bytes))))
        };
        let uploads = Self {
            candidates: write("candidates.txt", candidates)?,
            hashed: write("hashed.txt", hashed)?,
            few: write("few.txt", few)?,
            targets256: write("targets256.txt", &native::lines_of_hex(&targets.0))?,
            targets512: write("targets512.txt", &native::lines_of_hex(&targets.1))?,
        };
        let run = |name: &str, params: &str, inputs: &[&str]| {
            let mut arguments = vec!["run", "password-hash", "--name", name, "--params", params];
            arguments.extend(inputs.iter().flat_map(|input| ["--input", input]));
            scenario.pdctl(&arguments)
        };
        let audited = ["candidates=candidates.txt", "targets=targets256.txt"];
        run("upload-1", r#"{"mode":"audit","batchSize":8192}"#, &audited)?;
        for (name, input) in [("upload-2", "hashed.txt"), ("upload-3", "few.txt"), ("upload-4", "targets512.txt")] {
            run(name, "{}", &[&format!("candidates={input}")])?;
        }
        Ok(uploads)
    }
}

/// Lines of 16 letters and digits.
fn words(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| format!("{:016x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes())
        .collect()
}
