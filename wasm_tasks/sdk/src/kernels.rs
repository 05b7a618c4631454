//! Work that the machine does at its own speed: the contract's interface `kernels`.
//!
//! In: matrices and messages. Out: sums and digests, or nothing where the job or the node does not offer it; then the task
//! uses code of its own, which must give the same bits. A task that calls none of these does not import the interface.
//!
//! In native builds nothing is offered, except within [`testing::with_kernels`](crate::testing::with_kernels).

use std::ops::Range;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::kernels as host;
#[cfg(target_arch = "wasm32")]
use guest as host;

/// Sizes of a product: A is rows × depth, B is depth × columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of A and of the product.
    pub rows: u32,
    /// Columns of B and of the product.
    pub columns: u32,
    /// Columns of A, rows of B.
    pub depth: u32,
}

/// True when the others answer.
pub fn offered() -> bool {
    host::offered()
}

/// C + A · B, all row by row; no C is one of zeros. Each sum grows in ascending order of k, every product is rounded before
/// it is added, and a NaN is `f64::NAN`. None where it is not offered.
///
/// A matrix that has not the size that `shape` says ends the task.
pub fn gemm_f64(shape: Shape, a: &[f64], b: &[f64], c: &[f64]) -> Option<Vec<f64>> {
    offered().then(|| host::gemm_f64(shape, a, b, c))
}

/// The same in single precision.
pub fn gemm_f32(shape: Shape, a: &[f32], b: &[f32], c: &[f32]) -> Option<Vec<f32>> {
    offered().then(|| host::gemm_f32(shape, a, b, c))
}

/// SHA-256 of `salt` and each message, 32 bytes each, in order. None where it is not offered.
pub fn sha256(salt: &[u8], messages: Messages<'_>) -> Option<Vec<u8>> {
    offered().then(|| host::sha256(salt, messages))
}

/// Many messages in one run of bytes, such as the lines of a text.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'b> {
    /// The messages, with what lies between them.
    pub bytes: &'b [u8],
    /// Where each one ends in `bytes`; ascending.
    pub ends: &'b [u32],
    /// How many bytes lie between two of them: 1 for lines.
    pub gap: u32,
}

impl<'b> Messages<'b> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Message number `at`.
    pub fn get(&self, at: usize) -> &'b [u8] {
        &self.bytes[self.span(at)]
    }

    /// Message number `at` with all that lies behind it, and the message's own length.
    pub fn with_rest(&self, at: usize) -> (&'b [u8], usize) {
        let span = self.span(at);
        (&self.bytes[span.start..], span.len())
    }

    /// All of them, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'b [u8]> {
        (0..self.len()).map(move |at| self.get(at))
    }

    fn span(&self, at: usize) -> Range<usize> {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize + self.gap as usize);
        start..self.ends[at] as usize
    }
}

#[cfg(target_arch = "wasm32")]
mod guest {
    use super::{Messages, Shape};
    use crate::bindings::processdistro::task::kernels;

    pub(super) fn offered() -> bool {
        kernels::offered()
    }

    pub(super) fn gemm_f64(shape: Shape, a: &[f64], b: &[f64], c: &[f64]) -> Vec<f64> {
        kernels::gemm_f64(shape.rows, shape.columns, shape.depth, a, b, c)
    }

    pub(super) fn gemm_f32(shape: Shape, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
        kernels::gemm_f32(shape.rows, shape.columns, shape.depth, a, b, c)
    }

    pub(super) fn sha256(salt: &[u8], messages: Messages<'_>) -> Vec<u8> {
        kernels::sha256(salt, messages.bytes, messages.ends, messages.gap)
    }
}
