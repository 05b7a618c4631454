//! SHA-256 of sixteen short messages at a time, one in each lane of a vector: with AVX-512, which rotates and combines three
//! words in one instruction, several times as fast as the instructions that x86 has for SHA-256 itself.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_srli_epi32, _mm512_ternarylogic_epi32,
};

use super::{BLOCK_BYTES, DIGEST_BYTES, START};

/// Messages in flight.
pub(super) const LANES: usize = 16;
/// Words of a block.
const WORDS: usize = BLOCK_BYTES / 4;
/// The constants of FIPS 180-4, 4.2.2.
#[rustfmt::skip]
const ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];
/// Truth tables of functions of three words, the first the most significant: a bit of the table for each of their bits.
const PARITY: i32 = 0b1001_0110;
const CHOICE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;

/// The digests of blocks that are each all of its message.
pub(super) type Digests = fn(&[[u8; BLOCK_BYTES]; LANES]) -> [[u8; DIGEST_BYTES]; LANES];

/// How this processor does it; none: it has no such vectors.
pub(super) fn find() -> Option<Digests> {
    is_x86_feature_detected!("avx512f").then_some(found as Digests)
}

#[expect(unsafe_code, reason = "may only be called where the processor has the vectors")]
fn found(blocks: &[[u8; BLOCK_BYTES]; LANES]) -> [[u8; DIGEST_BYTES]; LANES] {
    // SAFETY: only `find` gives this function away, and it has looked.
    unsafe { digests(blocks) }
}

#[target_feature(enable = "avx512f")]
fn digests(blocks: &[[u8; BLOCK_BYTES]; LANES]) -> [[u8; DIGEST_BYTES]; LANES] {
    let mut words = [[0; LANES]; WORDS];
    for (lane, block) in blocks.iter().enumerate() {
        for (words, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
            words[lane] = u32::from_be_bytes(*bytes);
        }
    }
    let states = compress(words.map(vector)).map(lanes);
    let mut digests = [[0; DIGEST_BYTES]; LANES];
    for (lane, digest) in digests.iter_mut().enumerate() {
        for (bytes, words) in digest.as_chunks_mut::<4>().0.iter_mut().zip(&states) {
            *bytes = words[lane].to_be_bytes();
        }
    }
    digests
}

/// FIPS 180-4, 6.2.2, from the state that it begins with.
#[inline]
#[target_feature(enable = "avx512f")]
fn compress(mut words: [__m512i; WORDS]) -> [__m512i; 8] {
    let start = START.map(|word| _mm512_set1_epi32(word.cast_signed()));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
    for (sixteen, constants) in ROUND.as_chunks::<WORDS>().0.iter().enumerate() {
        for (at, constant) in constants.iter().enumerate() {
            if sixteen > 0 {
                words[at] = next(&words, at);
            }
            let constant = _mm512_add_epi32(words[at], _mm512_set1_epi32(constant.cast_signed()));
            let sum_one = parity(_mm512_ror_epi32::<6>(e), _mm512_ror_epi32::<11>(e), _mm512_ror_epi32::<25>(e));
            let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
            let first = _mm512_add_epi32(_mm512_add_epi32(h, constant), _mm512_add_epi32(sum_one, choice));
            let sum_zero = parity(_mm512_ror_epi32::<2>(a), _mm512_ror_epi32::<13>(a), _mm512_ror_epi32::<22>(a));
            let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
            let second = _mm512_add_epi32(sum_zero, majority);
            (h, g, f, e) = (g, f, e, _mm512_add_epi32(d, first));
            (d, c, b, a) = (c, b, a, _mm512_add_epi32(first, second));
        }
    }
    let end = [a, b, c, d, e, f, g, h];
    std::array::from_fn(|at| _mm512_add_epi32(start[at], end[at]))
}

/// Word `at` of the next sixteen, in place of the one sixteen before.
#[inline]
#[target_feature(enable = "avx512f")]
fn next(words: &[__m512i; WORDS], at: usize) -> __m512i {
    let (near, far) = (words[(at + 1) % WORDS], words[(at + 14) % WORDS]);
    let zero = parity(_mm512_ror_epi32::<7>(near), _mm512_ror_epi32::<18>(near), _mm512_srli_epi32::<3>(near));
    let one = parity(_mm512_ror_epi32::<17>(far), _mm512_ror_epi32::<19>(far), _mm512_srli_epi32::<10>(far));
    _mm512_add_epi32(_mm512_add_epi32(words[at], zero), _mm512_add_epi32(words[(at + 9) % WORDS], one))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn parity(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<PARITY>(a, b, c)
}

#[expect(unsafe_code, reason = "the same bits by another name")]
fn vector(lanes: [u32; LANES]) -> __m512i {
    // SAFETY: both are 64 bytes of which any bits are good.
    unsafe { std::mem::transmute(lanes) }
}

#[expect(unsafe_code, reason = "the same bits by another name")]
fn lanes(vector: __m512i) -> [u32; LANES] {
    // SAFETY: both are 64 bytes of which any bits are good.
    unsafe { std::mem::transmute(vector) }
}
