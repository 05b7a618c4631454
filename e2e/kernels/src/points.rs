//! Points of the Mandelbrot set, written by hand for the processor: two vectors in flight, and points that are surely
//! inside skipped.

/// The counts of four points in a row, as the task `mandelbrot` defines them.
pub fn counts(xs: [f64; 4], y: f64, max: u32) -> [u32; 4] {
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
