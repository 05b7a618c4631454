//! Matrices that need no file: every element is computed from the seed and its place, so each tile makes what it needs.
//!
//! Matrix 0 is A and 1 is B. With `G = 0x9E3779B97F4A7C15` and [`mix`] as below, element number `k = i · size + j` of
//! matrix `m` is `2 · ((mix(mix(seed + G·(m + 1)) + G·(k + 1)) >> 11) · 2⁻⁵³) − 1`, all sums modulo 2⁶⁴: the `k`-th number
//! of a splitmix64 generator per matrix, uniform in [−1, 1). In `f32` it is rounded to that.

use std::ops::Range;

/// Sebastiano Vigna's constant for splitmix64: 2⁶⁴ over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of splitmix64 (Steele, Lea, Flood 2014).
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// One generated matrix.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    start: u64,
    size: u64,
}

impl Generator {
    /// Matrix number `matrix` of `size` × `size` elements.
    pub fn new(seed: u64, matrix: u64, size: u64) -> Self {
        Self { start: mix(seed.wrapping_add(GOLDEN.wrapping_mul(matrix + 1))), size }
    }

    /// The elements of row `i` in these columns.
    pub fn row(&self, i: u64, columns: Range<u64>) -> impl ExactSizeIterator<Item = f64> + use<> {
        // A number of 53 bits is the same as a signed one, which processors convert at once.
        const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
        let first = i.wrapping_mul(self.size).wrapping_add(columns.start).wrapping_add(1);
        let start = self.start.wrapping_add(GOLDEN.wrapping_mul(first));
        let count = usize::try_from(columns.end - columns.start).unwrap_or(usize::MAX);
        (0..count).map(move |at| {
            let bits = mix(start.wrapping_add(GOLDEN.wrapping_mul(at as u64)));
            2.0 * ((bits >> 11) as i64 as f64 * UNIT) - 1.0
        })
    }

    /// The element in row `i` and column `j`.
    pub fn element(&self, i: u64, j: u64) -> f64 {
        self.row(i, j..j + 1).next().unwrap_or_default()
    }
}
