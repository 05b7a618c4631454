//! SHA-256 of many short messages, as fast as the processor can.
//!
//! In: a salt, bytes, and where the messages are in them. Out: their digests. Messages of one block (short ones all are) are
//! padded in place and compressed without a hasher's buffer and bookkeeping between: sixteen at a time where the processor
//! has vectors for it, else by `sha2`'s choice of instructions.

#[cfg(target_arch = "x86_64")]
mod wide;

/// Where there are no such vectors one message follows the other.
#[cfg(not(target_arch = "x86_64"))]
mod wide {
    pub(super) const LANES: usize = 16;
    pub(super) type Digests = fn(&[[u8; 64]; LANES]) -> [[u8; 32]; LANES];

    pub(super) fn find() -> Option<Digests> {
        None
    }
}

use std::ops::Range;

use sha2::{Digest, Sha256, block_api::compress256};

const BLOCK_BYTES: usize = 64;
/// A message that leaves room in its block for a one bit and 64 bits of length.
const SHORT_BYTES_MAX: usize = BLOCK_BYTES - 9;
pub(super) const DIGEST_BYTES: usize = 32;
/// The state that FIPS 180-4, 5.3.3, begins with.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Messages between two looks whether to go on: well below a millisecond's work when they are short.
const LOOK_EVERY: usize = 1024;

/// Where the messages are, or the first one that is nowhere.
pub(super) fn spans(bytes: usize, ends: &[u32], gap: u32) -> Result<Vec<Range<usize>>, String> {
    let mut start = 0_usize;
    let span = |(number, end): (usize, &u32)| {
        let end = *end as usize;
        if end < start || end > bytes {
            return Err(format!("message {number} is to be {start}..{end} of {bytes} bytes"));
        }
        let span = start..end;
        start = end + gap as usize;
        Ok(span)
    };
    ends.iter().enumerate().map(span).collect()
}

/// The digests of the messages, each with `salt` before it; none if `stop` said so before they were done.
pub(super) fn digests(salt: &[u8], bytes: &[u8], spans: &[Range<usize>], stop: &dyn Fn() -> bool) -> Option<Vec<u8>> {
    let mut digests = vec![0; spans.len() * DIGEST_BYTES];
    let (outs, _) = digests.as_chunks_mut::<DIGEST_BYTES>();
    let side_by_side = wide::find();
    for (spans, outs) in spans.chunks(LOOK_EVERY).zip(outs.chunks_mut(LOOK_EVERY)) {
        if stop() {
            return None;
        }
        let (groups, rest) = spans.as_chunks::<{ wide::LANES }>();
        let (group_outs, rest_outs) = outs.as_chunks_mut::<{ wide::LANES }>();
        for (group, outs) in groups.iter().zip(group_outs) {
            let messages = group.each_ref().map(|span| &bytes[span.clone()]);
            let are_short = messages.iter().all(|message| salt.len() + message.len() <= SHORT_BYTES_MAX);
            *outs = match side_by_side {
                Some(digests) if are_short => digests(&messages.map(|message| block(salt, message))),
                _ => messages.map(|message| digest(salt, message)),
            };
        }
        for (span, out) in rest.iter().zip(rest_outs) {
            *out = digest(salt, &bytes[span.clone()]);
        }
    }
    Some(digests)
}

fn digest(salt: &[u8], message: &[u8]) -> [u8; DIGEST_BYTES] {
    if salt.len() + message.len() > SHORT_BYTES_MAX {
        return Sha256::new().chain_update(salt).chain_update(message).finalize().into();
    }
    let mut state = START;
    compress256(&mut state, &[block(salt, message)]);
    let mut out = [0; DIGEST_BYTES];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

/// A short message with its padding.
fn block(salt: &[u8], message: &[u8]) -> [u8; BLOCK_BYTES] {
    let length = salt.len() + message.len();
    let mut block = [0; BLOCK_BYTES];
    block[..salt.len()].copy_from_slice(salt);
    block[salt.len()..length].copy_from_slice(message);
    block[length] = 0x80;
    block[BLOCK_BYTES - 8..].copy_from_slice(&(8 * length as u64).to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_equal_sha2_at_every_length_with_and_without_salt() {
        let text: Vec<u8> = (0..50_000_u32).map(|at| (at * 7 % 251) as u8).collect();
        for salt in [&b""[..], b"pepper", &text[..100]] {
            for gap in [0, 1, 3] {
                // The last ones stand beside others of their kind.
                let lengths = (0..200).chain([55; 20]).chain([56, 64]).chain((0..40).map(|at| at % 17));
                let mut ends = Vec::new();
                let mut at = 0;
                for length in lengths {
                    ends.push(at + length);
                    at += length + gap;
                }
                let spans = spans(text.len(), &ends, gap).expect("they are there");
                let all = digests(salt, &text, &spans, &|| false).expect("nobody stops it");
                for (span, digest) in spans.iter().zip(all.chunks(DIGEST_BYTES)) {
                    let expected = Sha256::new().chain_update(salt).chain_update(&text[span.clone()]).finalize();
                    assert_eq!(digest, &expected[..], "{span:?}");
                }
            }
        }
    }

    #[test]
    fn messages_that_are_nowhere_are_told() {
        assert_eq!(spans(10, &[], 7), Ok(vec![]));
        assert_eq!(spans(10, &[3, 10], 1), Ok(vec![0..3, 4..10]));
        assert_eq!(spans(0, &[0], 9).map(|spans| spans.len()), Ok(1));
        for (ends, gap, said) in [
            (&[11][..], 0, "message 0 is to be 0..11 of 10 bytes"),
            (&[5, 4], 0, "message 1 is to be 5..4"),
            (&[5, 5], 1, "message 1 is to be 6..5"),
            (&[10, u32::MAX], u32::MAX, "message 1 is to be"),
        ] {
            let told = spans(10, ends, gap).expect_err(said);
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn whoever_says_stop_is_heard() {
        let spans = vec![0..0; 10_000];
        let looks = std::cell::Cell::new(0);
        let stop = || looks.replace(looks.get() + 1) == 2;
        assert_eq!(digests(b"", b"", &spans, &stop), None);
        assert_eq!(looks.get(), 3);
    }
}
