//! The lanes as arrays, for native builds and engines without simd128.

use std::array::from_fn;
use std::ops::{Add, BitAnd, BitOr, BitXor, Mul, Sub};

/// Two lanes of `f64`.
#[derive(Clone, Copy, Debug)]
pub struct F64x2([f64; 2]);

/// Two lanes, each all ones or all zeros.
#[derive(Clone, Copy, Debug)]
pub struct Mask64x2([u64; 2]);

/// Two lanes of `u64`, to count with.
#[derive(Clone, Copy, Debug)]
pub struct U64x2([u64; 2]);

/// Four lanes of `u32`; sums wrap.
#[derive(Clone, Copy, Debug)]
pub struct U32x4([u32; 4]);

impl F64x2 {
    /// The lanes `a` and `b`.
    #[inline(always)]
    pub fn new(a: f64, b: f64) -> Self {
        Self([a, b])
    }

    /// `a` in both lanes.
    #[inline(always)]
    pub fn splat(a: f64) -> Self {
        Self([a, a])
    }

    /// Lane by lane the larger one; `self` where `other` is NaN.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(from_fn(|lane| if self.0[lane] < other.0[lane] { other.0[lane] } else { self.0[lane] }))
    }

    /// Lane by lane `self <= other`; false for NaN.
    #[inline(always)]
    pub fn le(self, other: Self) -> Mask64x2 {
        Mask64x2::new(self.0[0] <= other.0[0], self.0[1] <= other.0[1])
    }

    /// The lanes.
    #[inline(always)]
    pub fn to_array(self) -> [f64; 2] {
        self.0
    }
}

impl Mask64x2 {
    /// The lanes `a` and `b`.
    #[inline(always)]
    pub fn new(a: bool, b: bool) -> Self {
        Self([a, b].map(|lane| u64::from(lane).wrapping_neg()))
    }

    /// True if both lanes are.
    #[inline(always)]
    pub fn all(self) -> bool {
        self.0[0] & self.0[1] != 0
    }

    /// True if a lane is.
    #[inline(always)]
    pub fn any(self) -> bool {
        (self.0[0] | self.0[1]) != 0
    }
}

impl U64x2 {
    /// Zero in both lanes.
    #[inline(always)]
    pub fn zero() -> Self {
        Self([0; 2])
    }

    /// Adds one in the lanes that `mask` names.
    #[inline(always)]
    pub fn count(self, mask: Mask64x2) -> Self {
        Self(from_fn(|lane| self.0[lane].wrapping_sub(mask.0[lane])))
    }

    /// The lanes.
    #[inline(always)]
    pub fn to_array(self) -> [u64; 2] {
        self.0
    }
}

impl U32x4 {
    /// These lanes.
    #[inline(always)]
    pub fn new(lanes: [u32; 4]) -> Self {
        Self(lanes)
    }

    /// `a` in all lanes.
    #[inline(always)]
    pub fn splat(a: u32) -> Self {
        Self([a; 4])
    }

    /// Each lane rotated right by `BITS`, which is 1 to 31.
    #[inline(always)]
    pub fn rotate_right<const BITS: u32>(self) -> Self {
        Self(self.0.map(|lane| lane.rotate_right(BITS)))
    }

    /// Each lane shifted right by `BITS`.
    #[inline(always)]
    pub fn shift_right<const BITS: u32>(self) -> Self {
        Self(self.0.map(|lane| lane >> BITS))
    }

    /// Four words in network order.
    #[inline(always)]
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self(from_fn(|lane| u32::from_be_bytes(from_fn(|byte| bytes[4 * lane + byte]))))
    }

    /// The lanes in network order.
    #[inline(always)]
    pub fn to_be_bytes(self) -> [u8; 16] {
        from_fn(|byte| self.0[byte / 4].to_be_bytes()[byte % 4])
    }

    /// Rows become columns: lane `r` of vector `c` is lane `c` of `rows[r]`.
    #[inline(always)]
    pub fn transpose(rows: [Self; 4]) -> [Self; 4] {
        from_fn(|column| Self(rows.map(|row| row.0[column])))
    }

    /// The lanes.
    #[inline(always)]
    pub fn to_array(self) -> [u32; 4] {
        self.0
    }
}

impl Add for F64x2 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] + other.0[lane]))
    }
}

impl Sub for F64x2 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] - other.0[lane]))
    }
}

impl Mul for F64x2 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] * other.0[lane]))
    }
}

impl BitAnd for Mask64x2 {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] & other.0[lane]))
    }
}

impl BitOr for Mask64x2 {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] | other.0[lane]))
    }
}

impl Add for U32x4 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }
}

impl BitAnd for U32x4 {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] & other.0[lane]))
    }
}

impl BitXor for U32x4 {
    type Output = Self;

    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] ^ other.0[lane]))
    }
}
