//! Whether a tile is the one that `run` answers, by Freivalds' test ("Probabilistic machines can use less running time",
//! 1977): for a random vector r of signs, `C · r` is compared with `A · (B · r)`, which takes products of a matrix and a
//! vector only. [`ROUNDS`] vectors are taken side by side.
//!
//! # What is bound to be seen
//! Floating-point sums have errors, so the two are compared row by row within a bound `T`, which an honest tile keeps always:
//! it is derived below and holds for the worst case. Let δ be the largest error of an element of a row, beyond what rounding
//! brings. Where it is the row's only one, both sides differ by it whatever the signs are, so a tile with δ > 2 T is refused
//! always. Where there are others, flipping the sign of the largest moves the difference by 2 δ, so of each two vectors
//! that differ in that sign alone at most one gives less than δ: δ > 2 T is missed by a vector with a chance of no more than
//! 1/2, and by all of them with 2⁻¹⁶. Who made the tile did not know the signs.
//!
//! What is attested is thus a tile right within `2 T`, not each of its bits: `T` is some `(2 k + n) · 2⁻⁵³` of the row's sum of
//! absolute products, which for matrices of a thousand rows is 10⁻⁹ of an element of C; for f32 it is what n elements are
//! rounded by. Whether −0 is 0 is not looked at.
//!
//! # The bound
//! With u = 2⁻⁵³, γ(m) = m u / (1 − m u), k products in each sum, n columns, i a row, S = Σⱼ Σₖ |aᵢₖ| |bₖⱼ|, and all sums as
//! IEEE 754 says, in whatever order (Higham, "Accuracy and Stability of Numerical Algorithms", § 3.1 and 3.5):
//!
//! - the tile: each element is off by at most γ(k) Σₖ |aᵢₖ| |bₖⱼ|, all of the row by γ(k) S; where the result is f32, each is
//!   then rounded once more, by 2⁻²⁴ of itself or 2⁻¹⁵⁰;
//! - `C · r`: products with ±1 are exact, so the sum is off by at most γ(n) Σⱼ |cᵢⱼ|;
//! - `B · r`: likewise by γ(n) Σⱼ |bₖⱼ|; and `A · (B · r)` by γ(k) (1 + γ(n)) S + γ(n) S.
//!
//! Together `T = (2 γ(k) + γ(k) γ(n) + γ(n)) S + (γ(n) + 2⁻²⁴) Σⱼ |cᵢⱼ|`, without 2⁻²⁴ for f64. S and the sum of |cᵢⱼ| are
//! computed, too short by a factor of 1 − γ(k + n) at most; that, the product of two γ and what separates γ(m) from m u are
//! less than the sixteenth by which all is made larger, while k + n < 2⁴⁶. What underflows, in any of these products, is off by
//! no more than 2⁻¹⁰⁷⁴ each: k (n + 1) of them are added. An element that a liar makes large adds 2⁻²⁴ of that to the bound and
//! all of it to the difference.

use std::ops::Range;

use task_sdk::{Failure, Host, Tile};

use crate::generate::mix;
use crate::source::Source;
use crate::{Dtype, Problem, Product, depth_step};

/// Vectors: a wrong tile is missed by all of them with a chance of 2⁻¹⁶ at most. Four panels of the kernel.
pub(crate) const ROUNDS: usize = 16;
/// A tile is computed where its product takes less than so many times what the test takes: the factors are read in any case.
const WORTH: u64 = 2;
/// Half a unit in the last place of 1.
const U: f64 = f64::EPSILON / 2.0;
/// The same of f32.
const U32: f64 = f32::EPSILON as f64 / 2.0;
/// What the terms of second order are less than: see above.
const MARGIN: f64 = 1.0 + 1.0 / 16.0;

/// True when `output` is the tile of `index` within the errors of its sums.
pub(crate) fn verify(index: u64, output: &[u8], seed: u64, host: &dyn Host) -> Result<bool, Failure> {
    let problem = Problem::from_state(&host.state().read_all()?)?;
    let tile = problem.grid().tile(index)?;
    let cells = tile.width * tile.height;
    if WORTH * ROUNDS as u64 * (tile.width + tile.height) > cells {
        return Ok(false);
    }
    let dtype = problem.result_dtype();
    if output.len() as u64 != cells * dtype.size() {
        return Ok(false);
    }
    let mut product = vec![0.0; cells as usize];
    dtype.decode(output, product.iter_mut());
    let test = Test::of(&problem, tile, seed, host)?;
    Ok(test.passes(&product, dtype))
}

/// What a tile is compared with.
struct Test {
    columns: usize,
    depth: u64,
    /// Of each column its signs, one a round.
    signs: Vec<f64>,
    /// `A · (B · r)`, row by row.
    sums: Vec<f64>,
    /// Of each row the sum of absolute products.
    sizes: Vec<f64>,
}

impl Test {
    fn of(problem: &Problem, tile: Tile, seed: u64, host: &dyn Host) -> Result<Self, Failure> {
        let (a, b) = (Source::left(problem, host)?, Source::right(problem, host)?);
        let (rows, columns) = (tile.top..tile.top + tile.height, tile.left..tile.left + tile.width);
        let signs = signs(seed, tile.width as usize * ROUNDS);
        let mut sums = Product::new(tile.height as usize, ROUNDS);
        let mut sizes = vec![0.0; tile.height as usize];
        let step = depth_step(tile.height.max(tile.width));
        for start in (0..problem.inner()).step_by(step as usize) {
            let part: Range<u64> = start..problem.inner().min(start + step);
            let depth = (part.end - part.start) as usize;
            let b_block = b.block(part.clone(), columns.clone())?;
            let mut turned = Product::new(depth, ROUNDS);
            turned.add(&b_block, &signs, tile.width as usize);
            let b_sizes: Vec<f64> = b_block.chunks_exact(tile.width as usize).map(size).collect();
            let a_block = a.block(rows.clone(), part.clone())?;
            sums.add(&a_block, &turned.into_rows(), depth);
            for (size, a) in sizes.iter_mut().zip(a_block.chunks_exact(depth)) {
                *size += a.iter().zip(&b_sizes).map(|(a, b)| a.abs() * b).sum::<f64>();
            }
            host.progress(part.end, problem.inner());
        }
        let (columns, depth) = (tile.width as usize, problem.inner());
        Ok(Self { columns, depth, signs, sums: sums.into_rows(), sizes })
    }

    /// Whatever is not a number, or not finite, is within no bound.
    fn passes(&self, product: &[f64], dtype: Dtype) -> bool {
        let mut turned = Product::new(self.sizes.len(), ROUNDS);
        turned.add(product, &self.signs, self.columns);
        let turned = turned.into_rows();
        let rows = product.chunks_exact(self.columns).zip(&self.sizes);
        let pairs = turned.chunks_exact(ROUNDS).zip(self.sums.chunks_exact(ROUNDS));
        rows.zip(pairs).all(|((row, size_of_products), (turned, sums))| {
            let bound = self.bound(*size_of_products, size(row), dtype);
            bound.is_finite() && turned.iter().zip(sums).all(|(turned, sum)| (turned - sum).abs() <= bound)
        })
    }

    /// `T`, as above.
    fn bound(&self, size_of_products: f64, size_of_row: f64, dtype: Dtype) -> f64 {
        let (k, n) = (self.depth as f64, self.columns as f64);
        let (rounding, smallest) = match dtype {
            Dtype::F32 => (U32, n * f64::from(f32::from_bits(1))),
            Dtype::F64 => (0.0, 0.0),
        };
        let underflow = k * (n + 1.0) * f64::from_bits(1) + smallest;
        MARGIN * ((2.0 * k + n) * U * size_of_products + (n * U + rounding) * size_of_row) + underflow
    }
}

/// The sum of absolute values. Eight at a time, since each addition waits for the one before.
fn size(elements: &[f64]) -> f64 {
    let (eights, rest) = elements.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, element) in sums.iter_mut().zip(eight) {
            *sum += element.abs();
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|element| element.abs()).sum::<f64>()
}

/// Random signs: the bits of a splitmix64 generator.
fn signs(seed: u64, count: usize) -> Vec<f64> {
    let start = mix(seed);
    let bit = |at: usize| mix(start.wrapping_add(at as u64 / 64)) >> (at % 64) & 1;
    (0..count).map(|at| if bit(at) == 1 { 1.0 } else { -1.0 }).collect()
}

#[cfg(test)]
mod tests;
