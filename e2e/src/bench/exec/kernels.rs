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
    native: Box<dyn Fn() -> Result<Duration> + 'k>,
    code: Code,
}

/// What computes it, with the ratios to reach.
#[derive(Clone, Copy)]
enum Code {
    /// The task.
    Own(Option<f64>),
    /// The node for the task, and the task by itself.
    Either { offered: Option<f64>, own: Option<f64> },
}

/// What is hashed.
struct Texts {
    candidates: Vec<u8>,
    hashed: Vec<u8>,
    few: Vec<u8>,
    targets: native::Targets,
}

/// A line for each kernel, or two.
pub(super) async fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let targets = native::digests_of_nobody(TARGETS);
    let texts = Texts { candidates: words(CANDIDATES), hashed: words(HASHED), few: words(BCRYPT_WORDS), targets };
    let uploads = Uploads::make(bench, &texts)?;
    let [mandelbrot, gemm] = numbers();
    let [sha512, sha256, lines, bcrypt] = hashes(&texts, &uploads);
    let mut measured = Vec::new();
    for kernel in [mandelbrot, sha512, sha256, lines, bcrypt, gemm] {
        if bench.wants(kernel.what) {
            measured.extend(bench.kernel(&kernel).await?);
        }
    }
    Ok(measured)
}

/// The kernels over numbers.
fn numbers() -> [Kernel<'static>; 2] {
    let flops = 2.0 * (MATRIX as f64).powi(3) / 1e9;
    [
        Kernel {
            what: "mandelbrot",
            over: "native, SSE2 by hand",
            task: "mandelbrot",
            params: json!({"width": WIDTH, "height": HEIGHT, "maxIterations": ITERATIONS, "tileSize": 256, "output": "counts"}),
            inputs: json!({}),
            work: (f64::from(WIDTH) * f64::from(HEIGHT) / 1e6, "Mpx/s"),
            native: Box::new(|| Ok(native::mandelbrot(WIDTH, HEIGHT, ITERATIONS))),
            code: Code::Own(Some(1.0)),
        },
        Kernel {
            what: "GEMM f64",
            over: "gemm",
            task: "matrix-mul",
            params: json!({"size": MATRIX, "tileSize": MATRIX_TILE}),
            inputs: json!({}),
            work: (flops, "GF/s"),
            native: Box::new(|| Ok(native::gemm(MATRIX))),
            code: Code::Either { offered: Some(0.8), own: Some(0.25) },
        },
    ]
}

/// The kernels over texts.
fn hashes<'k>(texts: &'k Texts, uploads: &Uploads) -> [Kernel<'k>; 4] {
    let Texts { candidates, hashed, few, targets } = texts;
    let audit = |algorithm: &str| json!({"mode": "audit", "algorithm": algorithm, "batchSize": BATCH});
    let sought = |targets: &str| json!({"candidates": uploads.candidates, "targets": targets});
    let (many, lines) = ((CANDIDATES as f64 / 1e6, "MH/s"), (HASHED as f64 / 1e6, "MH/s"));
    let kernel = |what, over, params, inputs, work, native, code| Kernel {
        what,
        over,
        task: "password-hash",
        params,
        inputs,
        work,
        native,
        code,
    };
    [
        kernel(
            "SHA-512, audit",
            "sha2",
            audit("sha512"),
            sought(&uploads.targets512),
            many,
            Box::new(|| Ok(native::audit_sha512(candidates, &targets.1))),
            Code::Own(Some(0.9)),
        ),
        kernel(
            "SHA-256, audit",
            "sha2",
            audit("sha256"),
            sought(&uploads.targets256),
            many,
            Box::new(|| Ok(native::audit_sha256(candidates, &targets.0))),
            Code::Either { offered: Some(0.9), own: Some(0.55) },
        ),
        kernel(
            "SHA-256, lines of hex",
            "sha2",
            json!({"algorithm": "sha256", "batchSize": BATCH}),
            json!({"candidates": uploads.hashed}),
            lines,
            Box::new(|| Ok(native::sha256(hashed))),
            Code::Either { offered: None, own: None },
        ),
        kernel(
            "bcrypt",
            "bcrypt",
            json!({"algorithm": "bcrypt", "cost": BCRYPT_COST}),
            json!({"candidates": uploads.few}),
            (BCRYPT_WORDS as f64, "H/s"),
            Box::new(|| native::bcrypt(few, BCRYPT_COST)),
            Code::Own(Some(0.85)),
        ),
    ]
}

impl Bench {
    /// Rounds alternate between the library and the job, and where the node has a kernel, the job without it.
    async fn kernel(&self, kernel: &Kernel<'_>) -> Result<Vec<Line>> {
        let Kernel { what, over, work: (work, unit), .. } = *kernel;
        let line = |what, goal| Line { what, over, goal, ratios: Vec::new(), figures: (0.0, 0.0, unit) };
        let mut lines: Vec<(bool, Line)> = match kernel.code {
            Code::Own(goal) => vec![(true, line(what.to_owned(), goal))],
            Code::Either { offered, own } => vec![
                (true, line(format!("{what}, host kernel"), offered)),
                (false, line(format!("{what}, without"), own)),
            ],
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
    fn make(bench: &Bench, texts: &Texts) -> Result<Self> {
        let Texts { candidates, hashed, few, targets } = texts;
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
