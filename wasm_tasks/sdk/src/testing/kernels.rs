//! The machine's kernels in native builds: what they compute, in the plainest words, for tests of tasks that call them.

use std::cell::Cell;

use sha2::{Digest as _, Sha256};

use crate::kernels::{Messages, Shape};

thread_local! {
    /// Calls so far, where they are offered.
    static CALLS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `work` on this thread with the kernels offered; how often they were called comes with its answer.
pub fn with_kernels<T>(work: impl FnOnce() -> T) -> (T, u64) {
    CALLS.set(Some(0));
    let answer = work();
    (answer, CALLS.replace(None).unwrap_or(0))
}

pub(crate) fn offered() -> bool {
    CALLS.get().is_some()
}

fn count() {
    CALLS.set(CALLS.get().map(|calls| calls + 1));
}

macro_rules! gemm {
    ($name:ident, $float:ident) => {
        pub(crate) fn $name(shape: Shape, a: &[$float], b: &[$float], c: &[$float]) -> Vec<$float> {
            count();
            let [rows, columns, depth] = [shape.rows, shape.columns, shape.depth].map(|size| size as usize);
            assert_eq!((a.len(), b.len()), (rows * depth, depth * columns), "the matrices have the sizes announced");
            assert!(c.is_empty() || c.len() == rows * columns, "so have the sums");
            let mut sums = if c.is_empty() { vec![0.0; rows * columns] } else { c.to_vec() };
            for (at, sum) in sums.iter_mut().enumerate() {
                for k in 0..depth {
                    *sum += a[at / columns * depth + k] * b[k * columns + at % columns];
                }
                *sum = if sum.is_nan() { $float::NAN } else { *sum };
            }
            sums
        }
    };
}

gemm!(gemm_f64, f64);
gemm!(gemm_f32, f32);

pub(crate) fn sha256(salt: &[u8], messages: Messages<'_>) -> Vec<u8> {
    count();
    messages.iter().flat_map(|message| Sha256::new().chain_update(salt).chain_update(message).finalize()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn nothing_is_offered_but_within() {
        let shape = Shape { rows: 1, columns: 2, depth: 2 };
        let product = || kernels::gemm_f32(shape, &[2.0, 3.0], &[5.0, 7.0, 11.0, 13.0], &[1.0, f32::NAN]);
        assert_eq!((kernels::offered(), product()), (false, None));
        let (sums, calls) = with_kernels(|| product().expect("is offered"));
        assert_eq!((sums[0].to_bits(), sums[1].to_bits(), calls), (44.0_f32.to_bits(), 0x7fc0_0000, 1));
        assert!(!kernels::offered());
    }

    #[test]
    fn lines_are_messages_with_a_gap() {
        let messages = Messages { bytes: b"a\n\nbc\n", ends: &[1, 2, 5], gap: 1 };
        assert_eq!(messages.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
        let (digests, _) = with_kernels(|| kernels::sha256(b"x", messages).expect("is offered"));
        assert_eq!(digests[64..], Sha256::digest(b"xbc")[..]);
    }
}
