//! The same work without a sandbox: the best native libraries, on one core of this machine.
//!
//! Each function does once what one job of the benchmark does, and answers how long it took.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use sha2::{Digest, Sha256, Sha512};

/// A digest and its line of hex for each line of `words`, as the task answers them.
pub(super) fn sha256(words: &[u8]) -> Duration {
    hashes::<Sha256>(words)
}

/// The same.
pub(super) fn sha512(words: &[u8]) -> Duration {
    hashes::<Sha512>(words)
}

fn hashes<D: Digest>(words: &[u8]) -> Duration {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    timed(|| {
        let mut lines = Vec::new();
        for word in words.split(|byte| *byte == b'\n') {
            let digest = D::digest(word);
            lines.extend(
                digest.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
            );
            lines.push(b'\n');
        }
        lines
    })
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
                counts.extend(four(xs, y, max));
            }
        }
        counts
    })
}

fn four(xs: [f64; 4], y: f64, max: u32) -> [u32; 4] {
    let inside = xs.map(|x| is_inside(x, y));
    let counts = lanes::counts(xs, y, inside, max);
    [0, 1, 2, 3].map(|lane| if inside[lane] { max } else { counts[lane] })
}

fn is_inside(x: f64, y: f64) -> bool {
    let (left, y2) = (x - 0.25, y * y);
    let q = left * left + y2;
    q * (q + left) <= 0.25 * y2 - 1e-6 || (x + 1.0) * (x + 1.0) + y2 <= 0.0625 - 1e-6
}

#[cfg(target_arch = "x86_64")]
mod lanes {
    use std::arch::x86_64::{
        _mm_add_pd, _mm_and_pd, _mm_castpd_si128, _mm_cmple_pd, _mm_cvtsi128_si64, _mm_movemask_pd, _mm_mul_pd,
        _mm_or_pd, _mm_set_pd, _mm_set1_epi64x, _mm_set1_pd, _mm_sub_epi64, _mm_sub_pd, _mm_unpackhi_epi64,
    };

    /// Escape counts; lanes that are not wanted count nothing. SSE2 belongs to every x86-64.
    #[expect(unsafe_code, reason = "vector instructions")]
    pub(super) fn counts(xs: [f64; 4], y: f64, done: [bool; 4], max: u32) -> [u32; 4] {
        // SAFETY: every x86-64 has SSE2.
        unsafe { counts_sse2(xs, y, done, max) }
    }

    #[target_feature(enable = "sse2")]
    #[expect(unsafe_code, reason = "may only be called where SSE2 is")]
    unsafe fn counts_sse2(xs: [f64; 4], y: f64, done: [bool; 4], max: u32) -> [u32; 4] {
        let lane = |is_done: bool| f64::from_bits(if is_done { 0 } else { u64::MAX });
        let mut active_a = _mm_set_pd(lane(done[1]), lane(done[0]));
        let mut active_b = _mm_set_pd(lane(done[3]), lane(done[2]));
        let (x_a, x_b) = (_mm_set_pd(xs[1], xs[0]), _mm_set_pd(xs[3], xs[2]));
        let (y, bound) = (_mm_set1_pd(y), _mm_set1_pd(4.0));
        let zero = _mm_set1_pd(0.0);
        let (mut re_a, mut im_a, mut re_b, mut im_b) = (zero, zero, zero, zero);
        let (mut count_a, mut count_b) = (_mm_set1_epi64x(0), _mm_set1_epi64x(0));
        for _ in 0..max {
            let (re2_a, im2_a) = (_mm_mul_pd(re_a, re_a), _mm_mul_pd(im_a, im_a));
            let (re2_b, im2_b) = (_mm_mul_pd(re_b, re_b), _mm_mul_pd(im_b, im_b));
            active_a = _mm_and_pd(active_a, _mm_cmple_pd(_mm_add_pd(re2_a, im2_a), bound));
            active_b = _mm_and_pd(active_b, _mm_cmple_pd(_mm_add_pd(re2_b, im2_b), bound));
            if _mm_movemask_pd(_mm_or_pd(active_a, active_b)) == 0 {
                break;
            }
            count_a = _mm_sub_epi64(count_a, _mm_castpd_si128(active_a));
            count_b = _mm_sub_epi64(count_b, _mm_castpd_si128(active_b));
            im_a = _mm_add_pd(_mm_mul_pd(_mm_add_pd(re_a, re_a), im_a), y);
            im_b = _mm_add_pd(_mm_mul_pd(_mm_add_pd(re_b, re_b), im_b), y);
            re_a = _mm_add_pd(_mm_sub_pd(re2_a, im2_a), x_a);
            re_b = _mm_add_pd(_mm_sub_pd(re2_b, im2_b), x_b);
        }
        [
            _mm_cvtsi128_si64(count_a) as u32,
            _mm_cvtsi128_si64(_mm_unpackhi_epi64(count_a, count_a)) as u32,
            _mm_cvtsi128_si64(count_b) as u32,
            _mm_cvtsi128_si64(_mm_unpackhi_epi64(count_b, count_b)) as u32,
        ]
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod lanes {
    /// Escape counts, a point after the other: the compiler does what it can.
    pub(super) fn counts(xs: [f64; 4], y: f64, done: [bool; 4], max: u32) -> [u32; 4] {
        [0, 1, 2, 3].map(|lane| {
            let (mut re, mut im, mut n) = (0.0_f64, 0.0_f64, 0);
            while !done[lane] && n < max && re * re + im * im <= 4.0 {
                (re, im) = (re * re - im * im + xs[lane], (re + re) * im + y);
                n += 1;
            }
            n
        })
    }
}
