//! The lanes as `v128`.

use std::arch::wasm32 as arch;
use std::ops::{Add, BitAnd, BitOr, BitXor, Mul, Sub};

/// Two lanes of `f64`.
#[derive(Clone, Copy, Debug)]
pub struct F64x2(arch::v128);

/// Two lanes, each all ones or all zeros.
#[derive(Clone, Copy, Debug)]
pub struct Mask64x2(arch::v128);

/// Two lanes of `u64`, to count with.
#[derive(Clone, Copy, Debug)]
pub struct U64x2(arch::v128);

/// Four lanes of `u32`; sums wrap.
#[derive(Clone, Copy, Debug)]
pub struct U32x4(arch::v128);

impl F64x2 {
    /// The lanes `a` and `b`.
    #[inline(always)]
    pub fn new(a: f64, b: f64) -> Self {
        Self(arch::f64x2(a, b))
    }

    /// `a` in both lanes.
    #[inline(always)]
    pub fn splat(a: f64) -> Self {
        Self(arch::f64x2_splat(a))
    }

    /// Lane by lane the larger one; `self` where `other` is NaN.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(arch::f64x2_pmax(self.0, other.0))
    }

    /// Lane by lane `self <= other`; false for NaN.
    #[inline(always)]
    pub fn le(self, other: Self) -> Mask64x2 {
        Mask64x2(arch::f64x2_le(self.0, other.0))
    }

    /// The lanes.
    #[inline(always)]
    pub fn to_array(self) -> [f64; 2] {
        [arch::f64x2_extract_lane::<0>(self.0), arch::f64x2_extract_lane::<1>(self.0)]
    }
}

impl Mask64x2 {
    /// The lanes `a` and `b`.
    #[inline(always)]
    pub fn new(a: bool, b: bool) -> Self {
        Self(arch::i64x2(-i64::from(a), -i64::from(b)))
    }

    /// True if both lanes are.
    #[inline(always)]
    pub fn all(self) -> bool {
        arch::i64x2_all_true(self.0)
    }

    /// True if a lane is.
    #[inline(always)]
    pub fn any(self) -> bool {
        arch::v128_any_true(self.0)
    }
}

impl U64x2 {
    /// Zero in both lanes.
    #[inline(always)]
    pub fn zero() -> Self {
        Self(arch::u64x2_splat(0))
    }

    /// Adds one in the lanes that `mask` names.
    #[inline(always)]
    pub fn count(self, mask: Mask64x2) -> Self {
        Self(arch::i64x2_sub(self.0, mask.0))
    }

    /// The lanes.
    #[inline(always)]
    pub fn to_array(self) -> [u64; 2] {
        [arch::u64x2_extract_lane::<0>(self.0), arch::u64x2_extract_lane::<1>(self.0)]
    }
}

impl U32x4 {
    /// These lanes.
    #[inline(always)]
    pub fn new([a, b, c, d]: [u32; 4]) -> Self {
        Self(arch::u32x4(a, b, c, d))
    }

    /// `a` in all lanes.
    #[inline(always)]
    pub fn splat(a: u32) -> Self {
        Self(arch::u32x4_splat(a))
    }

    /// Each lane rotated right by `BITS`, which is 1 to 31.
    #[inline(always)]
    pub fn rotate_right<const BITS: u32>(self) -> Self {
        Self(arch::v128_or(arch::u32x4_shr(self.0, BITS), arch::u32x4_shl(self.0, 32 - BITS)))
    }

    /// Each lane shifted right by `BITS`.
    #[inline(always)]
    pub fn shift_right<const BITS: u32>(self) -> Self {
        Self(arch::u32x4_shr(self.0, BITS))
    }

    /// Four words in network order.
    #[inline(always)]
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let [start, end] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte])));
        Self(swap_bytes(arch::u64x2(start, end)))
    }

    /// The lanes in network order.
    #[inline(always)]
    pub fn to_be_bytes(self) -> [u8; 16] {
        let bytes = swap_bytes(self.0);
        let (start, end) = (arch::u64x2_extract_lane::<0>(bytes), arch::u64x2_extract_lane::<1>(bytes));
        (u128::from(end) << 64 | u128::from(start)).to_le_bytes()
    }

    /// Rows become columns: lane `r` of vector `c` is lane `c` of `rows[r]`.
    #[inline(always)]
    pub fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        let (ab, cd) = (arch::i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0), arch::i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0));
        let (ab_high, cd_high) =
            (arch::i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0), arch::i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0));
        [
            arch::i64x2_shuffle::<0, 2>(ab, cd),
            arch::i64x2_shuffle::<1, 3>(ab, cd),
            arch::i64x2_shuffle::<0, 2>(ab_high, cd_high),
            arch::i64x2_shuffle::<1, 3>(ab_high, cd_high),
        ]
        .map(Self)
    }

    /// The lanes.
    #[inline(always)]
    pub fn to_array(self) -> [u32; 4] {
        [
            arch::u32x4_extract_lane::<0>(self.0),
            arch::u32x4_extract_lane::<1>(self.0),
            arch::u32x4_extract_lane::<2>(self.0),
            arch::u32x4_extract_lane::<3>(self.0),
        ]
    }
}

/// The bytes of each of four words in the other order.
#[inline(always)]
fn swap_bytes(words: arch::v128) -> arch::v128 {
    arch::i8x16_shuffle::<3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12>(words, words)
}

impl Add for F64x2 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(arch::f64x2_add(self.0, other.0))
    }
}

impl Sub for F64x2 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(arch::f64x2_sub(self.0, other.0))
    }
}

impl Mul for F64x2 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(arch::f64x2_mul(self.0, other.0))
    }
}

impl BitAnd for Mask64x2 {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(arch::v128_and(self.0, other.0))
    }
}

impl BitOr for Mask64x2 {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(arch::v128_or(self.0, other.0))
    }
}

impl Add for U32x4 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(arch::u32x4_add(self.0, other.0))
    }
}

impl BitAnd for U32x4 {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(arch::v128_and(self.0, other.0))
    }
}

impl BitXor for U32x4 {
    type Output = Self;

    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(arch::v128_xor(self.0, other.0))
    }
}
