//! The product of two blocks.
//!
//! In: elements of A and B, row by row. Out: sums, each in ascending order of k: lanes run over columns, blocks over k are
//! added in order, and nothing is fused, so the outcome is that of the plain triple loop, bit by bit, and that of the
//! machine's own kernel (`kernels` in the contract).
//!
//! Shape: 6 rows × 4 columns of C stay in registers (12 of 16), B comes in panels of 4 columns and A in panels of 6 rows
//! that are splatted already when they are packed.

use task_sdk::simd::F64x2;

/// Rows of C that are computed together.
const ROWS: usize = 6;
/// Vectors of columns of C that are computed together.
const VECTORS: usize = 2;
const COLUMNS: usize = 2 * VECTORS;
/// Steps of k between loads and stores of C: a panel of B is then 8 KiB and one of A 24 KiB, which the nearest cache holds.
const DEPTH: usize = 256;

type ARow = [F64x2; ROWS];
type BRow = [F64x2; VECTORS];
type Sums = [[F64x2; VECTORS]; ROWS];

/// A block of C while its sums grow.
pub struct Product {
    rows: usize,
    columns: usize,
    /// Patches of 6 × 4 sums: all patches of the first 6 rows, then those of the next.
    sums: Vec<Sums>,
}

impl Product {
    /// A block of zeros.
    pub fn new(rows: usize, columns: usize) -> Self {
        let zeros = [[F64x2::splat(0.0); VECTORS]; ROWS];
        Self { rows, columns, sums: vec![zeros; rows.div_ceil(ROWS) * columns.div_ceil(COLUMNS)] }
    }

    /// Adds the products of `a` (rows × depth) and `b` (depth × columns), both row by row.
    pub fn add(&mut self, a: &[f64], b: &[f64], depth: usize) {
        for start in (0..depth).step_by(DEPTH) {
            let steps = DEPTH.min(depth - start);
            let b_panels = pack_b(&b[start * self.columns..(start + steps) * self.columns], self.columns, steps);
            let across = self.columns.div_ceil(COLUMNS);
            let mut a_panel = Vec::with_capacity(steps);
            for (number, patches) in self.sums.chunks_mut(across).enumerate() {
                pack_a(&mut a_panel, a, depth, number * ROWS..self.rows.min((number + 1) * ROWS), start..start + steps);
                for (patch, b_panel) in patches.iter_mut().zip(b_panels.chunks_exact(steps)) {
                    *patch = multiply(*patch, &a_panel, b_panel);
                }
            }
        }
    }

    /// The sums, row by row; what is not a number is `f64::NAN`.
    pub fn into_rows(self) -> Vec<f64> {
        let mut rows = vec![0.0; self.rows * self.columns];
        let across = self.columns.div_ceil(COLUMNS);
        for (row, out) in rows.chunks_exact_mut(self.columns.max(1)).enumerate() {
            for (column, out) in out.iter_mut().enumerate() {
                let patch = &self.sums[row / ROWS * across + column / COLUMNS];
                let sum = patch[row % ROWS][column % COLUMNS / 2].to_array()[column % 2];
                *out = if sum.is_nan() { f64::NAN } else { sum };
            }
        }
        rows
    }
}

/// One patch of C, `steps` further in k.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the sums must stay in registers")]
fn multiply(mut sums: Sums, a: &[ARow], b: &[BRow]) -> Sums {
    let step = |sums: &mut Sums, a: &ARow, b: &BRow| {
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                sums[row][vector] = sums[row][vector] + a[row] * b[vector];
            }
        }
    };
    let (a_fours, a_rest) = a.as_chunks::<4>();
    let (b_fours, b_rest) = b.as_chunks::<4>();
    for (a, b) in a_fours.iter().zip(b_fours) {
        step(&mut sums, &a[0], &b[0]);
        step(&mut sums, &a[1], &b[1]);
        step(&mut sums, &a[2], &b[2]);
        step(&mut sums, &a[3], &b[3]);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        step(&mut sums, a, b);
    }
    sums
}

/// Panels of 4 columns, one after another; zeros beyond the last column.
fn pack_b(b: &[f64], columns: usize, steps: usize) -> Vec<BRow> {
    let mut panels = Vec::with_capacity(columns.div_ceil(COLUMNS) * steps);
    for left in (0..columns).step_by(COLUMNS) {
        for row in b.chunks_exact(columns) {
            let at = |offset: usize| row.get(left + offset).copied().unwrap_or(0.0);
            panels.push([F64x2::new(at(0), at(1)), F64x2::new(at(2), at(3))]);
        }
    }
    panels
}

/// One panel of 6 rows, splatted; zeros beyond the last row.
fn pack_a(panel: &mut Vec<ARow>, a: &[f64], depth: usize, rows: std::ops::Range<usize>, steps: std::ops::Range<usize>) {
    panel.clear();
    let row =
        |offset: usize| (rows.start + offset < rows.end).then(|| &a[(rows.start + offset) * depth..][steps.clone()]);
    let rows: [Option<&[f64]>; ROWS] = std::array::from_fn(row);
    panel.extend((0..steps.len()).map(|k| rows.map(|row| F64x2::splat(row.map_or(0.0, |row| row[k])))));
}
