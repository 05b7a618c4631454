//! The product of two matrices, with the bits of the plain triple loop.
//!
//! In: A and B row by row, and the sums so far. Out: the sums, each in ascending order of k, a product rounded before it is
//! added. So the outcome is that of a guest's own kernel on every machine: what differs is how many sums grow at a time.
//! Multiply and add take as many instructions again as fused ones would; with vectors twice as wide (AVX-512) that is
//! as fast as fused AVX2, with AVX2 it is half.
//!
//! Shape (Goto and van de Geijn 2008): `ROWS` × N sums stay in registers; a panel of B, N columns wide, stays close while
//! the strips of a block of A pass by.

use std::ops::{Add, Mul};

/// Rows of C that grow together.
const ROWS: usize = 4;
/// Steps of k between loads and stores of C: a strip of A is then 8 KiB of f64 and a panel of B 64 KiB at most, of which
/// a step needs four lines in as many cycles as the second cache takes to give them.
const DEPTH: usize = 256;
/// Rows of A that are packed together: 512 KiB of f64.
const BLOCK_ROWS: usize = 256;
/// Columns of B that are packed together: 2 MiB of f64, each of its panels read once for each block of rows.
const BLOCK_COLUMNS: usize = 1024;

/// What matrices are made of.
pub(crate) trait Element: Copy + Default + Add<Output = Self> + Mul<Output = Self> {
    /// The same number; for one that is none, the one that stands for all of them. Which one arithmetic leaves differs
    /// from machine to machine.
    fn canonical(self) -> Self;
}

impl Element for f32 {
    fn canonical(self) -> Self {
        if self.is_nan() { Self::NAN } else { self }
    }
}

impl Element for f64 {
    fn canonical(self) -> Self {
        if self.is_nan() { Self::NAN } else { self }
    }
}

/// Sizes of a product: A is rows × depth, B is depth × columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
}

/// One row of a packed panel of B.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Across<T, const N: usize>([T; N]);

/// Adds A · B to `c`, as fast as this processor can. False if `stop` said so before it was done.
pub(crate) fn add_product_f64(shape: Shape, a: &[f64], b: &[f64], c: &mut [f64], stop: &dyn Fn() -> bool) -> bool {
    variants::choose::<f64, 32, 8, 4>(shape, a, b, c, stop)
}

/// The same in single precision.
pub(crate) fn add_product_f32(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32], stop: &dyn Fn() -> bool) -> bool {
    variants::choose::<f32, 64, 16, 8>(shape, a, b, c, stop)
}

/// One source, compiled for each kind of vector; N is what its registers hold beside a vector of B.
#[cfg(target_arch = "x86_64")]
mod variants {
    use super::{Element, Shape, add_product};

    #[expect(unsafe_code, reason = "may only be called where the processor has the vectors, which is looked up")]
    pub(super) fn choose<T: Element, const WIDE: usize, const MIDDLE: usize, const NARROW: usize>(
        shape: Shape,
        a: &[T],
        b: &[T],
        c: &mut [T],
        stop: &dyn Fn() -> bool,
    ) -> bool {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: this processor has AVX-512 F.
            return unsafe { avx512::<T, WIDE>(shape, a, b, c, stop) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has AVX2.
            return unsafe { avx2::<T, MIDDLE>(shape, a, b, c, stop) };
        }
        add_product::<T, NARROW>(shape, a, b, c, stop)
    }

    /// The sums by every form that this processor can run.
    #[cfg(test)]
    #[expect(unsafe_code, reason = "as above")]
    pub(super) fn every<T: Element, const WIDE: usize, const MIDDLE: usize, const NARROW: usize>(
        shape: Shape,
        a: &[T],
        b: &[T],
        c: &[T],
    ) -> Vec<(&'static str, Vec<T>)> {
        let mut forms = vec![("plain", c.to_vec())];
        assert!(add_product::<T, NARROW>(shape, a, b, &mut forms[0].1, &|| false));
        if is_x86_feature_detected!("avx2") {
            forms.push(("AVX2", c.to_vec()));
            // SAFETY: this processor has AVX2.
            assert!(unsafe { avx2::<T, MIDDLE>(shape, a, b, &mut forms[1].1, &|| false) });
        }
        if is_x86_feature_detected!("avx512f") {
            forms.push(("AVX-512", c.to_vec()));
            // SAFETY: this processor has AVX-512 F.
            assert!(unsafe { avx512::<T, WIDE>(shape, a, b, &mut forms[2].1, &|| false) });
        }
        forms
    }

    #[target_feature(enable = "avx512f")]
    fn avx512<T: Element, const N: usize>(s: Shape, a: &[T], b: &[T], c: &mut [T], stop: &dyn Fn() -> bool) -> bool {
        add_product::<T, N>(s, a, b, c, stop)
    }

    #[target_feature(enable = "avx2")]
    fn avx2<T: Element, const N: usize>(s: Shape, a: &[T], b: &[T], c: &mut [T], stop: &dyn Fn() -> bool) -> bool {
        add_product::<T, N>(s, a, b, c, stop)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod variants {
    use super::{Element, Shape, add_product};

    pub(super) fn choose<T: Element, const WIDE: usize, const MIDDLE: usize, const NARROW: usize>(
        shape: Shape,
        a: &[T],
        b: &[T],
        c: &mut [T],
        stop: &dyn Fn() -> bool,
    ) -> bool {
        add_product::<T, MIDDLE>(shape, a, b, c, stop)
    }

    /// The sums by every form that this processor can run.
    #[cfg(test)]
    pub(super) fn every<T: Element, const WIDE: usize, const MIDDLE: usize, const NARROW: usize>(
        shape: Shape,
        a: &[T],
        b: &[T],
        c: &[T],
    ) -> Vec<(&'static str, Vec<T>)> {
        let mut sums = c.to_vec();
        assert!(add_product::<T, MIDDLE>(shape, a, b, &mut sums, &|| false));
        vec![("plain", sums)]
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled anew for each kind of vector")]
fn add_product<T: Element, const N: usize>(
    shape: Shape,
    a: &[T],
    b: &[T],
    c: &mut [T],
    stop: &dyn Fn() -> bool,
) -> bool {
    let (mut strips, mut panels) = (Vec::new(), Vec::new());
    for left in (0..shape.columns).step_by(BLOCK_COLUMNS) {
        let columns = left..shape.columns.min(left + BLOCK_COLUMNS);
        for start in (0..shape.depth).step_by(DEPTH) {
            let steps = DEPTH.min(shape.depth - start);
            pack_b::<T, N>(&mut panels, &b[start * shape.columns..], shape.columns, columns.clone(), steps);
            for top in (0..shape.rows).step_by(BLOCK_ROWS) {
                if stop() {
                    return false;
                }
                let rows = top..shape.rows.min(top + BLOCK_ROWS);
                pack_a(&mut strips, &a[start..], shape.depth, rows, steps);
                for (panel, left) in panels.chunks_exact(steps).zip((left..).step_by(N)) {
                    let width = N.min(shape.columns - left);
                    for (strip, top) in strips.chunks_exact(steps).zip((top..).step_by(ROWS)) {
                        let patch = &mut c[top * shape.columns + left..];
                        grow(patch, shape.columns, width, ROWS.min(shape.rows - top), strip, panel);
                    }
                }
            }
        }
    }
    for sum in c.iter_mut() {
        *sum = sum.canonical();
    }
    true
}

/// One patch of C, as many steps further in k as the strip of A is long.
#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled anew for each kind of vector")]
fn grow<T: Element, const N: usize>(
    patch: &mut [T],
    stride: usize,
    width: usize,
    height: usize,
    a: &[[T; ROWS]],
    b: &[Across<T, N>],
) {
    let mut sums = [[T::default(); N]; ROWS];
    for (sums, row) in sums.iter_mut().zip(patch.chunks(stride)).take(height) {
        sums[..width].copy_from_slice(&row[..width]);
    }
    let sums = multiply(sums, a, b);
    for (sums, row) in sums.iter().zip(patch.chunks_mut(stride)).take(height) {
        row[..width].copy_from_slice(&sums[..width]);
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled anew for each kind of vector")]
#[allow(clippy::needless_range_loop, reason = "a fixed patch of registers reads best by its places")]
fn multiply<T: Element, const N: usize>(
    mut sums: [[T; N]; ROWS],
    a: &[[T; ROWS]],
    b: &[Across<T, N>],
) -> [[T; N]; ROWS] {
    for (a, Across(b)) in a.iter().zip(b) {
        for row in 0..ROWS {
            for column in 0..N {
                sums[row][column] = sums[row][column] + a[row] * b[column];
            }
        }
    }
    sums
}

/// Panels of N columns, one after another; zeros beyond the last column, whose sums nobody looks at.
#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled anew for each kind of vector")]
fn pack_b<T: Element, const N: usize>(
    panels: &mut Vec<Across<T, N>>,
    b: &[T],
    stride: usize,
    columns: std::ops::Range<usize>,
    steps: usize,
) {
    panels.clear();
    for left in columns.clone().step_by(N) {
        let width = N.min(columns.end - left);
        for row in b.chunks(stride).take(steps) {
            let mut across = Across([T::default(); N]);
            across.0[..width].copy_from_slice(&row[left..left + width]);
            panels.push(across);
        }
    }
}

/// Strips of `ROWS` rows, one after another; beyond the last row the strip's first once more.
#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled anew for each kind of vector")]
fn pack_a<T: Element>(strips: &mut Vec<[T; ROWS]>, a: &[T], stride: usize, rows: std::ops::Range<usize>, steps: usize) {
    strips.clear();
    for top in rows.clone().step_by(ROWS) {
        let at = |offset: usize| if top + offset < rows.end { top + offset } else { top };
        let row = |offset: usize| &a[at(offset) * stride..][..steps];
        let four: [&[T]; ROWS] = std::array::from_fn(row);
        strips.extend((0..steps).map(|k| four.map(|row| row[k])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through every edge: of a patch, of a panel, of each block.
    const SHAPES: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (4, 32, 256),
        (5, 33, 257),
        (3, 7, 2),
        (1, 65, 300),
        (13, 1, 9),
        (257, 5, 40),
        (30, 129, 515),
        (2, 1030, 3),
        (8, 64, 0),
        (0, 3, 4),
        (3, 0, 4),
    ];

    fn numbers(count: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    macro_rules! equals_the_plain_loop {
        ($name:ident, $float:ident, $wide:literal, $middle:literal, $narrow:literal) => {
            #[test]
            fn $name() {
                for (rows, columns, depth) in SHAPES {
                    let make = |count, seed| -> Vec<$float> {
                        numbers(count, seed).into_iter().map(|number| number as $float).collect()
                    };
                    let (a, b, c) = (make(rows * depth, 1), make(depth * columns, 2), make(rows * columns, 3));
                    let mut plain = c.clone();
                    for (at, sum) in plain.iter_mut().enumerate() {
                        for k in 0..depth {
                            *sum += a[at / columns * depth + k] * b[k * columns + at % columns];
                        }
                    }
                    let shape = Shape { rows, columns, depth };
                    for (form, sums) in variants::every::<$float, $wide, $middle, $narrow>(shape, &a, &b, &c) {
                        let equal = sums.iter().zip(&plain).all(|(sum, plain)| sum.to_bits() == plain.to_bits());
                        assert!(equal && sums.len() == plain.len(), "{form} {rows} × {columns} × {depth}");
                    }
                }
            }
        };
    }

    equals_the_plain_loop!(every_form_has_the_bits_of_the_plain_loop, f64, 32, 8, 4);
    equals_the_plain_loop!(so_has_single_precision, f32, 64, 16, 8);

    #[test]
    fn every_number_that_is_none_is_the_same() {
        let odd = f64::from_bits(0xfff8_0000_0000_0123);
        let (a, b) = ([odd, f64::INFINITY, 1.0, 1.0], [1.0, 1.0, 1.0, f64::NEG_INFINITY]);
        let mut c = vec![0.0; 4];
        assert!(add_product_f64(Shape { rows: 2, columns: 2, depth: 2 }, &a, &b, &mut c, &|| false));
        assert_eq!(c.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>()[..2], [f64::NAN.to_bits(); 2]);
        assert_eq!((c[2].to_bits(), c[3]), (2.0_f64.to_bits(), f64::NEG_INFINITY));
    }

    #[test]
    fn whoever_says_stop_is_heard() {
        let shape = Shape { rows: 600, columns: 1, depth: 600 };
        let (a, b) = (vec![1.0; 600 * 600], vec![1.0; 600]);
        let looks = std::cell::Cell::new(0);
        let stop = || looks.replace(looks.get() + 1) == 4;
        assert!(!add_product_f64(shape, &a, &b, &mut vec![0.0; 600], &stop));
        assert_eq!(looks.get(), 5);
    }
}
