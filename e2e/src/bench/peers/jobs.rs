//! The jobs of the comparison, each as ProcessDistro is told and as the native kernels are.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::scenario::text;

/// The image: a part of the boundary where nearly every point takes hundreds of steps, and no shortcut holds.
const IMAGE: (u32, u32, u32) = (2560, 1920, 10_000);
/// Candidates: lines of 8 digits.
const CANDIDATES: usize = 16_000_000;
const CANDIDATE_BYTES: usize = 9;
const CANDIDATES_A_BATCH: u64 = 50_000;
/// The heavy-tailed job: half of the subtasks spin this long, one of 256 takes 256 times as long.
const HEAVY_SUBTASKS: u64 = 2000;
const HEAVY_MICROS: u64 = 500;
const HEAVY_DOUBLINGS: u32 = 8;

/// Which job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    /// Subtasks that compute nothing.
    Trivial,
    /// Tiles of an image.
    Mandelbrot,
    /// An audit of a list of candidates.
    Sha256,
    /// Subtasks whose times differ by a factor of 256.
    Heavy,
}

impl Kind {
    /// As tables name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Trivial => "trivial",
            Self::Mandelbrot => "Mandelbrot",
            Self::Sha256 => "SHA-256 audit",
            Self::Heavy => "heavy-tailed",
        }
    }
}

/// One job.
pub(super) struct Job {
    pub kind: Kind,
    /// Subtasks.
    pub count: u64,
    /// Name and params of the task.
    pub task: &'static str,
    pub params: Value,
    /// Files that the task reads.
    pub inputs: Vec<(&'static str, String)>,
    /// What the native kernels are told; none for the trivial job, for which others do nothing at all.
    pub description: Option<String>,
}

impl Job {
    /// `count` subtasks that compute nothing.
    pub(super) fn trivial(count: u64) -> Self {
        let params = json!({"count": count});
        Self { kind: Kind::Trivial, count, task: "noop", params, inputs: Vec::new(), description: None }
    }

    /// A job that computes; its inputs are written to `folder`.
    pub(super) fn computing(kind: Kind, folder: &Path) -> Result<Self> {
        match kind {
            Kind::Trivial => Ok(Self::trivial(1)),
            Kind::Mandelbrot => Ok(mandelbrot()),
            Kind::Sha256 => sha256(folder),
            Kind::Heavy => Ok(heavy()),
        }
    }
}

fn mandelbrot() -> Job {
    let (width, height, iterations) = IMAGE;
    let tile = 128;
    let params = json!({
        "width": width, "height": height, "maxIterations": iterations, "tileSize": tile, "output": "counts",
        "centerX": -0.743_643_887, "centerY": 0.131_825_904, "scale": 0.000_01,
    });
    let count = u64::from(width.div_ceil(tile)) * u64::from(height.div_ceil(tile));
    let description = Some(json!({"mandelbrot": params}).to_string());
    Job { kind: Kind::Mandelbrot, count, task: "mandelbrot", params, inputs: Vec::new(), description }
}

fn sha256(folder: &Path) -> Result<Job> {
    let (candidates, targets) = (folder.join("candidates.txt"), folder.join("targets.txt"));
    // Two are found, in the first batch and near the end; two are not.
    let wanted = [7, CANDIDATES - 11, CANDIDATES, CANDIDATES + 1];
    let digests = wanted.map(|number| hex(&Sha256::digest(format!("{number:08}"))));
    if fs::metadata(&candidates).map_or(0, |found| found.len()) != (CANDIDATES * CANDIDATE_BYTES) as u64 {
        let lines: String = (0..CANDIDATES).map(|number| format!("{number:08}\n")).collect();
        fs::write(&candidates, lines).with_context(|| format!("writing {}", candidates.display()))?;
    }
    fs::write(&targets, digests.join("\n")).with_context(|| format!("writing {}", targets.display()))?;
    let description = json!({"sha256": {
        "candidates": text(&candidates)?, "lineBytes": CANDIDATE_BYTES, "batchSize": CANDIDATES_A_BATCH,
        "targets": digests,
    }});
    Ok(Job {
        kind: Kind::Sha256,
        count: (CANDIDATES as u64).div_ceil(CANDIDATES_A_BATCH),
        task: "password-hash",
        params: json!({"algorithm": "sha256", "mode": "audit", "batchSize": CANDIDATES_A_BATCH}),
        inputs: vec![("candidates", text(&candidates)?), ("targets", text(&targets)?)],
        description: Some(description.to_string()),
    })
}

fn heavy() -> Job {
    let params = json!({"count": HEAVY_SUBTASKS, "spinMicros": HEAVY_MICROS, "spinDoublings": HEAVY_DOUBLINGS});
    let description = Some(json!({"noop": params}).to_string());
    Job { kind: Kind::Heavy, count: HEAVY_SUBTASKS, task: "noop", params, inputs: Vec::new(), description }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the heavy-tailed job's whole time, what its longest subtask takes.
pub(super) fn longest_share() -> f64 {
    let params = noop::Params {
        count: HEAVY_SUBTASKS,
        spin_micros: HEAVY_MICROS,
        spin_doublings: HEAVY_DOUBLINGS,
        ..noop::Params::default()
    };
    let steps = (0..HEAVY_SUBTASKS).map(|index| noop::spin_steps(&params, index) as f64);
    steps.clone().fold(0.0, f64::max) / steps.sum::<f64>()
}
