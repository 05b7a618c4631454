//! Lanes: `v128` in a WebAssembly module built with simd128, plain arrays elsewhere.
//!
//! Every operation is exact IEEE or modular arithmetic per lane and nothing is fused, so both forms give equal bits, and a
//! kernel that is tested natively is tested for the sandbox too.

#![allow(clippy::inline_always, reason = "a lane operation is one instruction; a call would cost ten")]

#[cfg_attr(all(target_arch = "wasm32", target_feature = "simd128"), path = "wasm.rs")]
#[cfg_attr(not(all(target_arch = "wasm32", target_feature = "simd128")), path = "portable.rs")]
mod lanes;

pub use lanes::{F64x2, Mask64x2, U32x4, U64x2};

#[cfg(test)]
mod tests {
    use super::{F64x2, Mask64x2, U32x4, U64x2};

    #[test]
    #[allow(clippy::float_cmp, reason = "equal bits are the point")]
    fn lanes_are_independent() {
        let (a, b) = (F64x2::new(1.5, -2.0), F64x2::splat(4.0));
        assert_eq!(((a + b) * a - b).to_array(), [5.5 * 1.5 - 4.0, -8.0]);
        let mask = a.le(F64x2::new(1.0, f64::NAN));
        assert!(!mask.any());
        let mask = a.le(b) & Mask64x2::new(true, false);
        assert!(mask.any());
        assert!(!mask.all() && a.le(b).all());
        assert_eq!(a.max(F64x2::new(f64::NAN, 3.0)).to_array(), [1.5, 3.0]);
        assert_eq!(U64x2::zero().count(mask).count(mask).to_array(), [2, 0]);
        let words = U32x4::new([1, u32::MAX, 0x8000_0000, 7]);
        assert_eq!((words + U32x4::splat(1)).to_array(), [2, 0, 0x8000_0001, 8]);
        assert_eq!(words.rotate_right::<1>().to_array(), [0x8000_0000, u32::MAX, 0x4000_0000, 0x8000_0003]);
        assert_eq!(words.shift_right::<4>().to_array(), [0, 0x0fff_ffff, 0x0800_0000, 0]);
        assert_eq!((words ^ words & U32x4::splat(3)).to_array(), [0, 0xffff_fffc, 0x8000_0000, 4]);
    }

    #[test]
    fn words_come_from_bytes_and_change_places() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8 + 1);
        let words = U32x4::from_be_bytes(bytes);
        assert_eq!(words.to_array(), [0x0102_0304, 0x0506_0708, 0x090a_0b0c, 0x0d0e_0f10]);
        assert_eq!(words.to_be_bytes(), bytes);
        let rows = [0, 10, 20, 30].map(|row| U32x4::new([row, row + 1, row + 2, row + 3]));
        let columns = U32x4::transpose(rows).map(U32x4::to_array);
        assert_eq!(columns, [0, 1, 2, 3].map(|column| [column, column + 10, column + 20, column + 30]));
    }
}
