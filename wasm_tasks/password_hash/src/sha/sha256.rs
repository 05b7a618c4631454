//! SHA-256 of four messages at a time, one in each lane, after FIPS 180-4, 6.2.2.
//!
//! In: blocks, four at a time. Out: four digests. All rounds are written out, so that the state and the sixteen words of the
//! schedule are local variables, none is moved to another, and each word is computed where it is needed: in a loop over
//! sixteen rounds Cranelift computes all the words before the first of them, and spills them.

use task_sdk::simd::U32x4;

const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
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
/// The digests of four messages of `blocks` blocks each; `block` answers each one's block of a number.
pub(super) fn digests<'b>(blocks: usize, block: impl Fn(usize) -> [&'b [u8; 64]; 4]) -> [[u8; 32]; 4] {
    let mut state = START.map(U32x4::splat);
    (0..blocks).for_each(|number| compress(&mut state, block(number)));
    let [a, b, c, d, e, f, g, h] = state;
    let mut digests = [[0; 32]; 4];
    for (digest, (start, end)) in
        digests.iter_mut().zip(U32x4::transpose([a, b, c, d]).into_iter().zip(U32x4::transpose([e, f, g, h])))
    {
        digest[..16].copy_from_slice(&start.to_be_bytes());
        digest[16..].copy_from_slice(&end.to_be_bytes());
    }
    digests
}

fn compress(state: &mut [U32x4; 8], blocks: [&[u8; 64]; 4]) {
    let mut words = first_words(blocks);
    let mut rolling = *state;
    sixteen_times!(round(&mut rolling, &words, 0));
    sixteen_times!(extended_round(&mut rolling, &mut words, 16));
    sixteen_times!(extended_round(&mut rolling, &mut words, 32));
    sixteen_times!(extended_round(&mut rolling, &mut words, 48));
    for (word, add) in state.iter_mut().zip(rolling) {
        *word = *word + add;
    }
}

/// Word by word, those of each block in its own lane.
fn first_words(blocks: [&[u8; 64]; 4]) -> [U32x4; 16] {
    let four = |at: usize| U32x4::transpose(blocks.map(|block| U32x4::from_be_bytes(block.as_chunks::<16>().0[at])));
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = [four(0), four(1), four(2), four(3)];
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// A round whose word takes the place of the one sixteen before.
#[inline(always)]
#[allow(clippy::inline_always, reason = "only then the words are local variables")]
fn extended_round<const AT: usize>(state: &mut [U32x4; 8], words: &mut [U32x4; 16], first: usize) {
    let (near, far) = (words[(AT + 1) % 16], words[(AT + 14) % 16]);
    let zero = near.rotate_right::<7>() ^ near.rotate_right::<18>() ^ near.shift_right::<3>();
    let one = far.rotate_right::<17>() ^ far.rotate_right::<19>() ^ far.shift_right::<10>();
    words[AT] = words[AT] + zero + words[(AT + 9) % 16] + one;
    round::<AT>(state, words, first);
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "only then the words are local variables")]
fn round<const AT: usize>(state: &mut [U32x4; 8], words: &[U32x4; 16], first: usize) {
    let places = super::places::<AT>();
    let [a, b, c, d, e, f, g, h] = places.map(|place| state[place]);
    let sum_one = e.rotate_right::<6>() ^ e.rotate_right::<11>() ^ e.rotate_right::<25>();
    let choice = g ^ (e & (f ^ g));
    let first = h + U32x4::splat(ROUND[first + AT]) + words[AT] + choice + sum_one;
    let sum_zero = a.rotate_right::<2>() ^ a.rotate_right::<13>() ^ a.rotate_right::<22>();
    let majority = (a & b) ^ (c & (a ^ b));
    state[places[3]] = d + first;
    state[places[7]] = first + sum_zero + majority;
}
