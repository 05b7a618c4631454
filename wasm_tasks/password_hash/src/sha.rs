//! SHA-256 and SHA-512 of many short messages.
//!
//! In: a salt and candidates. Out: a digest for each, in order. SHA-256 is the machine's work where it offers that; else it
//! runs four messages at a time, one a lane, where four neighbours have the same number of blocks (short candidates all
//! do); the rest, and SHA-512, goes through `sha2`.

use sha2::{Digest, Sha256, Sha512};
use task_sdk::kernels::{self, Messages};
use task_sdk::simd::U32x4;

use crate::Algorithm;

/// Candidates handed to the machine at once: it may refuse more than 64 MiB.
const OFFER_BYTES_MAX: usize = 16 << 20;

/// Blocks of a message that the lanes take; 247 bytes of salt and candidate.
const BLOCKS_MAX: usize = 4;
const BLOCK: usize = 64;
type Padded = [u8; BLOCKS_MAX * BLOCK];

const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
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

/// Digests of `salt` and each candidate; `each` gets the candidate's place and the digest. Anything but SHA-512 is SHA-256.
pub(crate) fn digests(algorithm: Algorithm, salt: &str, candidates: Messages<'_>, mut each: impl FnMut(usize, &[u8])) {
    let salt = salt.as_bytes();
    if algorithm == Algorithm::Sha512 {
        return sha512_all(salt, &candidates.iter().collect::<Vec<_>>(), each);
    }
    let is_small = salt.len() + candidates.bytes.len() + 4 * candidates.len() <= OFFER_BYTES_MAX;
    match is_small.then(|| kernels::sha256(salt, candidates)).flatten() {
        Some(digests) => digests.as_chunks::<32>().0.iter().enumerate().for_each(|(at, digest)| each(at, digest)),
        None => sha256_all(salt, &candidates.iter().collect::<Vec<_>>(), each),
    }
}

/// SHA-256 of `salt` and each candidate; `each` gets the candidate's place and the digest.
pub fn sha256_all(salt: &[u8], candidates: &[&[u8]], mut each: impl FnMut(usize, &[u8])) {
    let (fours, rest) = candidates.as_chunks::<4>();
    for (number, four) in fours.iter().enumerate() {
        let blocks = four.map(|candidate| blocks_of(salt.len() + candidate.len()));
        if blocks[0] <= BLOCKS_MAX && blocks.iter().all(|count| *count == blocks[0]) {
            let messages = four.map(|candidate| pad(salt, candidate, blocks[0]));
            let digests = four_digests(&messages, blocks[0]);
            digests.iter().enumerate().for_each(|(lane, digest)| each(4 * number + lane, digest));
        } else {
            four.iter()
                .enumerate()
                .for_each(|(lane, candidate)| each(4 * number + lane, &one::<Sha256>(salt, candidate)));
        }
    }
    let done = candidates.len() - rest.len();
    rest.iter().enumerate().for_each(|(at, candidate)| each(done + at, &one::<Sha256>(salt, candidate)));
}

/// SHA-512 of `salt` and each candidate; `each` gets the candidate's place and the digest.
pub fn sha512_all(salt: &[u8], candidates: &[&[u8]], mut each: impl FnMut(usize, &[u8])) {
    candidates.iter().enumerate().for_each(|(at, candidate)| each(at, &one::<Sha512>(salt, candidate)));
}

fn one<D: Digest>(salt: &[u8], candidate: &[u8]) -> impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<D> {
    D::new().chain_update(salt).chain_update(candidate).finalize()
}

/// Blocks of a message with its padding: a one bit and 64 bits of length.
fn blocks_of(length: usize) -> usize {
    (length + 9).div_ceil(BLOCK)
}

fn pad(salt: &[u8], candidate: &[u8], blocks: usize) -> Padded {
    let mut message = [0; BLOCKS_MAX * BLOCK];
    let length = salt.len() + candidate.len();
    message[..salt.len()].copy_from_slice(salt);
    message[salt.len()..length].copy_from_slice(candidate);
    message[length] = 0x80;
    message[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&(8 * length as u64).to_be_bytes());
    message
}

fn four_digests(messages: &[Padded; 4], blocks: usize) -> [[u8; 32]; 4] {
    let mut state = START.map(U32x4::splat);
    for block in 0..blocks {
        compress(&mut state, messages, block);
    }
    let mut digests = [[0; 32]; 4];
    for (word, lanes) in state.iter().enumerate() {
        for (digest, lane) in digests.iter_mut().zip(lanes.to_array()) {
            digest[4 * word..4 * word + 4].copy_from_slice(&lane.to_be_bytes());
        }
    }
    digests
}

/// The compression function of FIPS 180-4, 6.2.2, on four messages.
fn compress(state: &mut [U32x4; 8], messages: &[Padded; 4], block: usize) {
    let word = |message: &Padded, at: usize| {
        let at = block * BLOCK + 4 * at;
        u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
    };
    let mut schedule: [U32x4; 16] =
        std::array::from_fn(|at| U32x4::new(std::array::from_fn(|lane| word(&messages[lane], at))));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for sixteen in 0..4 {
        for at in 0..16 {
            if sixteen > 0 {
                schedule[at] = next_word(&schedule, at);
            }
            let choice = (e & f) ^ g.and_not(e);
            let first = h + big_sigma(e, Big::One) + choice + U32x4::splat(ROUND[16 * sixteen + at]) + schedule[at];
            let majority = (a & b) ^ (a & c) ^ (b & c);
            let second = big_sigma(a, Big::Zero) + majority;
            (h, g, f, e, d, c, b, a) = (g, f, e, d + first, c, b, a, first + second);
        }
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = *word + add;
    }
}

/// Word `at` of the next sixteen, in place of the one sixteen before.
#[inline(always)]
#[allow(clippy::inline_always, reason = "part of the round")]
fn next_word(schedule: &[U32x4; 16], at: usize) -> U32x4 {
    let (near, far) = (schedule[(at + 1) % 16], schedule[(at + 14) % 16]);
    let small_zero = near.rotate_right::<7>() ^ near.rotate_right::<18>() ^ near.shift_right::<3>();
    let small_one = far.rotate_right::<17>() ^ far.rotate_right::<19>() ^ far.shift_right::<10>();
    schedule[at] + small_zero + schedule[(at + 9) % 16] + small_one
}

enum Big {
    Zero,
    One,
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "part of the round")]
fn big_sigma(word: U32x4, which: Big) -> U32x4 {
    match which {
        Big::Zero => word.rotate_right::<2>() ^ word.rotate_right::<13>() ^ word.rotate_right::<22>(),
        Big::One => word.rotate_right::<6>() ^ word.rotate_right::<11>() ^ word.rotate_right::<25>(),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256, Sha512};

    use super::{sha256_all, sha512_all};

    #[test]
    fn digests_equal_sha2_at_every_length() {
        let text: Vec<u8> = (0..600_u32).map(|at| (at * 7 % 251) as u8).collect();
        for salt in [&b""[..], b"pepper", &text[..100]] {
            // Four neighbours of equal length, then four of different lengths, through all block borders.
            let lengths =
                (0..300).flat_map(|length| [length; 4]).chain((0..300).flat_map(|at| [at, at + 1, at + 40, at + 200]));
            let candidates: Vec<&[u8]> = lengths.enumerate().map(|(at, length)| &text[at % 97..][..length]).collect();
            for candidates in [&candidates[..], &candidates[..7]] {
                let mut count = 0;
                sha256_all(salt, candidates, |at, digest| {
                    let expected = Sha256::new().chain_update(salt).chain_update(candidates[at]).finalize();
                    assert_eq!((at, digest), (count, &expected[..]));
                    count += 1;
                });
                assert_eq!(count, candidates.len());
            }
        }
    }

    #[test]
    fn known_vectors() {
        let hex_of = |digest: &[u8]| hex::encode(digest);
        sha256_all(b"", &[&b"abc"[..]; 4], |_, digest| {
            assert_eq!(hex_of(digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        });
        sha512_all(b"a", &[b"bc"], |_, digest| {
            assert_eq!(hex_of(digest), hex_of(&Sha512::digest(b"abc")));
            assert!(hex_of(digest).starts_with("ddaf35a193617abacc417349ae204131"));
        });
    }

    /// Not a check but a measurement: `cargo test --release -p password_hash -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn a_million_short_candidates() {
        let candidates: Vec<String> = (0..1_000_000).map(|number| format!("candidate {number:06}")).collect();
        let candidates: Vec<&[u8]> = candidates.iter().map(String::as_bytes).collect();
        let started = std::time::Instant::now();
        sha256_all(b"", &candidates, |_, digest| {
            std::hint::black_box(digest);
        });
        println!("SHA-256, four lanes: {:.1} million a second", 1.0 / started.elapsed().as_secs_f64());
    }
}
