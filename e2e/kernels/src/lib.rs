//! The work of `pd-bench peers` without ProcessDistro: native code that every other system is given to run.
//!
//! In: a description of a job as JSON, and indexes. Out: the bytes that the job's task answers for them. Python loads it as
//! a shared library ([`ffi`]), xargs starts it as a program. Points are written by hand for the processor, SHA-256 is the
//! `sha2` crate's, which uses the processor's own instructions for it, and spinning is the task's own source.

pub mod ffi;
mod image;
pub mod points;
mod sha256;

use anyhow::{Context, Result, anyhow};
use noop::Noop;
use serde::Deserialize;
use task_sdk::{Failure, Task, testing::MemoryHost};

use image::Image;
use sha256::Audit;

/// A job, as JSON: `{"noop": {…}}`, `{"mandelbrot": {…}}` with the task's own params, or `{"sha256": {…}}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Description {
    Noop(noop::Params),
    Mandelbrot(mandelbrot::Params),
    Sha256(sha256::Description),
}

/// A job that is ready to be run, one index at a time.
pub struct Kernel {
    subtasks: u64,
    work: Work,
    host: MemoryHost,
}

enum Work {
    Noop(noop::Params),
    Mandelbrot(Image),
    Sha256(Audit),
}

impl Kernel {
    /// Prepares the job that `description` describes.
    pub fn open(description: &str) -> Result<Self> {
        let host = MemoryHost::default();
        let (subtasks, work) = match serde_json::from_str(description).context("reading the job's description")? {
            Description::Noop(params) => (Noop::plan(&params, &host).map_err(failed)?.subtasks, Work::Noop(params)),
            Description::Mandelbrot(params) => {
                let image = Image::of(&params).map_err(failed)?;
                (image.tiles(), Work::Mandelbrot(image))
            }
            Description::Sha256(description) => {
                let audit = Audit::open(&description)?;
                (audit.batches(), Work::Sha256(audit))
            }
        };
        Ok(Self { subtasks, work, host })
    }

    /// Number of its indexes.
    pub fn subtasks(&self) -> u64 {
        self.subtasks
    }

    /// Computes one of them.
    pub fn run(&self, index: u64) -> Result<Vec<u8>> {
        match &self.work {
            Work::Noop(params) => Noop::run(params, index, &self.host).map_err(failed),
            Work::Mandelbrot(image) => image.tile(index).map_err(failed),
            Work::Sha256(audit) => audit.run(index),
        }
    }
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow!("{}", failure.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_job_answers_what_its_task_does() {
        let noop = Kernel::open(r#"{"noop": {"count": 3, "outputBytes": 2}}"#).expect("opens");
        assert_eq!((noop.subtasks(), noop.run(2).expect("runs")), (3, vec![2, 0]));
        let image = Kernel::open(
            r#"{"mandelbrot": {"width": 4, "height": 4, "tileSize": 2, "maxIterations": 9, "output": "counts"}}"#,
        );
        let image = image.expect("opens");
        assert_eq!((image.subtasks(), image.run(0).expect("runs").len()), (4, 2 * 2 * 2));
        assert!(image.run(4).is_err());
        assert!(Kernel::open(r#"{"noop": {"count": 0}}"#).is_err());
        assert!(Kernel::open(r#"{"other": {}}"#).is_err());
    }
}
