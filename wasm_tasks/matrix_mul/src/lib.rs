//! The task `matrix-mul`: `C = A · B`, a square tile of C a subtask.
//!
//! A and B come from the inputs `a` and `b`, two-dimensional `.npy` files (format 1 to 3, `<f4` or `<f8`, C or Fortran
//! order), or are generated: `{"size": 512}` makes two square ones, see [`generate`]. The result is a `.npy` file in C
//! order, `<f4` if both are, else `<f8`.
//!
//! Each element of C is the sum of its products in ascending order of k, in f64, without fused operations. So the result
//! does not depend on `tileSize`, on the machine, on which node did what, or on whether the node's own kernel was used. f32
//! elements are widened first (their products are then exact) and the sum is rounded once, at the end. A sum that is not a
//! number is numpy's `nan`.
//!
//! A tile that another node has delivered is verified in less time than it is computed in, see `verify.rs`; one that is smaller
//! than 64 × 64, or has an element that is not finite, is computed.

pub mod generate;
mod kernel;
mod npy;
mod params;
mod problem;
mod source;
mod sums;
mod verify;

pub use kernel::Product;
pub use npy::{Dtype, Header, Order};
pub use params::Params;
pub use problem::Problem;

use task_sdk::{Failure, Host, InputSpec, Layout, Task, Verify};

use crate::source::Source;
use crate::sums::Sums;

/// The task. See the crate's page.
pub struct MatrixMul;

impl Task for MatrixMul {
    type Params = Params;
    const NAME: &'static str = "matrix-mul";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Multiplies two matrices, given as .npy files or generated.";
    const INPUTS: &'static [InputSpec] = &[
        InputSpec { name: "a", description: "Left factor: a 2-D .npy file of f4 or f8.", required: false },
        InputSpec { name: "b", description: "Right factor: a 2-D .npy file of f4 or f8.", required: false },
    ];

    fn plan(params: &Params, host: &dyn Host) -> Result<Layout, Failure> {
        let problem = Problem::of(params, host)?;
        let layout = Layout::new(problem.grid().tiles(), "application/x-npy");
        Ok(Layout { state: problem.to_state()?, ..layout })
    }

    fn run(_params: &Params, index: u64, host: &dyn Host) -> Result<Vec<u8>, Failure> {
        let problem = Problem::from_state(&host.state().read_all()?)?;
        let tile = problem.grid().tile(index)?;
        let (a, b) = (Source::left(&problem, host)?, Source::right(&problem, host)?);
        let (rows, columns) = (tile.top..tile.top + tile.height, tile.left..tile.left + tile.width);
        let mut sums = Sums::new(tile.height as usize, tile.width as usize);
        let step = depth_step(tile.height.max(tile.width));
        for start in (0..problem.inner()).step_by(step as usize) {
            let depth = start..problem.inner().min(start + step);
            let a_block = a.block(rows.clone(), depth.clone())?;
            let b_block = b.block(depth.clone(), columns.clone())?;
            sums.add(&a_block, &b_block, (depth.end - depth.start) as usize);
            host.progress(depth.end, problem.inner());
        }
        Ok(problem.result_dtype().encode(&sums.into_rows()))
    }

    fn merge(_params: &Params, _subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
        let problem = Problem::from_state(&host.state().read_all()?)?;
        let dtype = problem.result_dtype();
        let mut result = host.result();
        result.write(&npy::header_text(dtype, problem.rows(), problem.columns()));
        problem.grid().stitch(host, dtype.size(), |row| {
            result.write(row);
            Ok(())
        })
    }
}

impl Verify for MatrixMul {
    fn verify(_params: &Params, index: u64, output: &[u8], seed: u64, host: &dyn Host) -> Result<bool, Failure> {
        verify::verify(index, output, seed, host)
    }
}

task_sdk::export_task!(MatrixMul);
task_sdk::export_verify!(MatrixMul);

/// How much of k is read at a time: 6 MiB of each factor as f64, so that a subtask's memory has a bound whatever the
/// matrices' sizes are. With the largest tile before and after it has grown that is 28 MiB, which an executor keeps
/// mapped from one instance to the next.
fn depth_step(side: u64) -> u64 {
    const BLOCK_BYTES: u64 = 6 << 20;
    (BLOCK_BYTES / 8 / side.max(1)).max(256)
}

#[cfg(test)]
mod tests;
