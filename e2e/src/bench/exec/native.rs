//! The same work without a sandbox: the best native libraries, on one core of this machine.
//!
//! Each function does once what one job of the benchmark does, and answers how long it took.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use sha2::{Digest, Sha256, Sha512};

/// Digests to look for: by SHA-256 and by SHA-512.
pub(super) type Targets = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Digests of what is not among the candidates, ascending.
pub(super) fn digests_of_nobody(count: usize) -> Targets {
    let nobody = |number: usize| format!("nobody {number}");
    let mut targets: Targets =
        (0..count).map(|n| (Sha256::digest(nobody(n)).to_vec(), Sha512::digest(nobody(n)).to_vec())).unzip();
    targets.0.sort_unstable();
    targets.1.sort_unstable();
    targets
}

/// Looks for the targets among the digests of all lines.
pub(super) fn audit_sha256(words: &[u8], targets: &[Vec<u8>]) -> Duration {
    audit::<Sha256>(words, targets)
}

/// The same.
pub(super) fn audit_sha512(words: &[u8], targets: &[Vec<u8>]) -> Duration {
    audit::<Sha512>(words, targets)
}

fn audit<D: Digest>(words: &[u8], targets: &[Vec<u8>]) -> Duration {
    timed(|| {
        // One look tells nearly always that a digest is not sought.
        let mut starts = vec![false; 1 << 16];
        let start = |digest: &[u8]| usize::from(u16::from_le_bytes([digest[0], digest[1]]));
        for target in targets {
            starts[start(target)] = true;
        }
        let is_sought = |word: &&[u8]| {
            let digest = D::digest(word);
            starts[start(&digest)] && targets.binary_search_by(|target| target.as_slice().cmp(&digest)).is_ok()
        };
        lines(words).filter(is_sought).count()
    })
}

/// A digest and its line of hex for each line of `words`, as the task answers them.
pub(super) fn sha256(words: &[u8]) -> Duration {
    timed(|| {
        let mut lines_of_hex = Vec::new();
        lines(words).for_each(|word| push_hex(&mut lines_of_hex, &Sha256::digest(word)));
        lines_of_hex
    })
}

/// SHA-256 of all of it.
pub(super) fn sha256_of(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line of hex for each digest.
pub(super) fn lines_of_hex(digests: &[Vec<u8>]) -> Vec<u8> {
    let mut lines_of_hex = Vec::new();
    for digest in digests {
        push_hex(&mut lines_of_hex, digest);
    }
    lines_of_hex
}

fn push_hex(lines_of_hex: &mut Vec<u8>, digest: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = [b'\n'; 2 * 64 + 1];
    for (pair, byte) in line.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    lines_of_hex.extend_from_slice(&line[..=2 * digest.len()]);
}

/// The lines of a text, each of which ends in a newline, found as fast as they can be.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text).map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
}

/// A bcrypt hash for each line.
pub(super) fn bcrypt(words: &[u8], cost: u32) -> Result<Duration> {
    let start = Instant::now();
    for word in words.split(|byte| *byte == b'\n').filter(|word| !word.is_empty()) {
        black_box(bcrypt::hash_with_salt(word, cost, [7; 16]).map_err(|error| anyhow!("bcrypt: {error}"))?);
    }
    Ok(start.elapsed())
}

/// The product of two square matrices of f64.
#[expect(unsafe_code, reason = "the library takes pointers")]
pub(super) fn gemm(size: usize) -> Duration {
    let a: Vec<f64> = (0..size * size).map(|at| (at % 17) as f64).collect();
    let b: Vec<f64> = (0..size * size).map(|at| (at % 13) as f64).collect();
    let mut c = vec![0.0_f64; size * size];
    timed(|| {
        let row = size as isize;
        // SAFETY: each matrix has size × size elements, a row after the other.
        unsafe {
            gemm::gemm(
                size,
                size,
                size,
                c.as_mut_ptr(),
                1,
                row,
                false,
                a.as_ptr(),
                1,
                row,
                b.as_ptr(),
                1,
                row,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        c[0]
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

/// The counts of an image of the whole set, `width` × `height`, as the task defines them: written by hand, two vectors in
/// flight, and points that are surely inside skipped.
pub(super) fn mandelbrot(width: u32, height: u32, max: u32) -> Duration {
    let step = 3.0 / f64::from(width);
    let (left, top) = (-0.75 - 1.5, step * f64::from(height) / 2.0);
    timed(|| {
        let mut counts = Vec::with_capacity((width * height) as usize);
        for row in 0..height {
            let y = top - (f64::from(row) + 0.5) * step;
            for column in (0..width).step_by(4) {
                let xs = [0, 1, 2, 3].map(|lane| left + (f64::from(column + lane) + 0.5) * step);
                counts.extend(bench_kernels::points::counts(xs, y, max));
            }
        }
        counts
    })
}
