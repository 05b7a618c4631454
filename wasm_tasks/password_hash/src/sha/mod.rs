//! SHA-256 and SHA-512 of many short messages.
//!
//! In: a salt and candidates. Out: a digest for each, in order. SHA-256 is the machine's work where it offers that; else it
//! runs four messages at a time where four neighbours have the same number of blocks (short candidates all do). Messages that
//! are longer than a [`Message`] go through `sha2`.

/// Calls a function of a constant with each of 0 to 15.
macro_rules! sixteen_times {
    ($function:ident $arguments:tt) => {
        sixteen_times!($function $arguments: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($function:ident $arguments:tt: $($at:literal)*) => { $(sixteen_times!(@ $function $at $arguments);)* };
    (@ $function:ident $at:literal ($($argument:expr),*)) => { $function::<$at>($($argument),*) };
}

mod message;
mod sha256;
mod sha512;

use sha2::{Digest, Sha256, Sha512};
use task_sdk::kernels::{self, Messages};

use crate::Algorithm;
use message::Message;

/// Candidates handed to the machine at once: it may refuse more than 64 MiB.
const OFFER_BYTES_MAX: usize = 16 << 20;
/// Messages side by side.
const LANES: usize = 4;

/// Digests of `salt` and each candidate; `each` gets the candidate's place and the digest. Anything but SHA-512 is SHA-256.
pub(crate) fn digests(algorithm: Algorithm, salt: &str, candidates: Messages<'_>, mut each: impl FnMut(usize, &[u8])) {
    let salt = salt.as_bytes();
    if algorithm == Algorithm::Sha512 {
        return sha512_all(salt, candidates, each);
    }
    let is_small = salt.len() + candidates.bytes.len() + 4 * candidates.len() <= OFFER_BYTES_MAX;
    match is_small.then(|| kernels::sha256(salt, candidates)).flatten() {
        Some(digests) => digests.as_chunks::<32>().0.iter().enumerate().for_each(|(at, digest)| each(at, digest)),
        None => sha256_all(salt, candidates, each),
    }
}

/// SHA-256 of `salt` and each candidate; `each` gets the candidate's place and the digest.
fn sha256_all(salt: &[u8], candidates: Messages<'_>, mut each: impl FnMut(usize, &[u8])) {
    let mut messages = Message::new(salt).map(|empty| std::array::from_fn(|_| empty.clone()));
    for first in (0..candidates.len()).step_by(LANES) {
        let blocks = messages.as_mut().and_then(|messages| set(messages, candidates, first));
        if let (Some(messages), Some(blocks)) = (&messages, blocks) {
            let digests = sha256::digests(blocks, |number| messages.each_ref().map(|message| message.block(number)));
            digests.iter().enumerate().for_each(|(lane, digest)| each(first + lane, digest));
        } else {
            let there = (first..candidates.len()).take(LANES);
            there.for_each(|at| each(at, &one::<Sha256>(salt, candidates.get(at))));
        }
    }
}

/// Sets messages that follow each other. Answers in how many blocks each; none: that differs, or one is not there or too long.
fn set(messages: &mut [Message<64>; LANES], candidates: Messages<'_>, first: usize) -> Option<usize> {
    let mut blocks = None;
    for (message, at) in messages.iter_mut().zip(first..) {
        let (text, length) = (at < candidates.len()).then(|| candidates.with_rest(at))?;
        let own = message.set(text, length)?;
        if *blocks.get_or_insert(own) != own {
            return None;
        }
    }
    blocks
}

/// SHA-512 of `salt` and each candidate; `each` gets the candidate's place and the digest.
fn sha512_all(salt: &[u8], candidates: Messages<'_>, mut each: impl FnMut(usize, &[u8])) {
    let mut message = Message::<128>::new(salt);
    for at in 0..candidates.len() {
        let (text, length) = candidates.with_rest(at);
        let blocks = message.as_mut().and_then(|message| message.set(text, length));
        match (&message, blocks) {
            (Some(message), Some(blocks)) => each(at, &sha512::digest((0..blocks).map(|number| message.block(number)))),
            _ => each(at, &one::<Sha512>(salt, candidates.get(at))),
        }
    }
}

fn one<D: Digest>(salt: &[u8], candidate: &[u8]) -> impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<D> {
    D::new().chain_update(salt).chain_update(candidate).finalize()
}

/// Where a to h are in round `AT`: they move on by one place in each round, so they are not moved.
const fn places<const AT: usize>() -> [usize; 8] {
    let mut places = [0; 8];
    let mut variable = 0;
    while variable < 8 {
        places[variable] = (variable + 16 - AT) % 8;
        variable += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256, Sha512};
    use task_sdk::kernels::Messages;

    use super::{sha256_all, sha512_all};

    type Digests = fn(&[u8], Messages<'_>, &mut dyn FnMut(usize, &[u8]));

    /// The digests of candidates that stand side by side, three bytes between them.
    fn all(salt: &[u8], candidates: &[&[u8]], digests: Digests) -> Vec<Vec<u8>> {
        let bytes = candidates.join(&b"\0\xff\0"[..]);
        let mut end = 0;
        let ends: Vec<u32> = candidates
            .iter()
            .map(|candidate| {
                let own = end + candidate.len() as u32;
                end = own + 3;
                own
            })
            .collect();
        let mut all = Vec::new();
        digests(salt, Messages { bytes: &bytes, ends: &ends, gap: 3 }, &mut |at, digest| {
            assert_eq!(at, all.len());
            all.push(digest.to_vec());
        });
        all
    }

    fn all_256(salt: &[u8], candidates: &[&[u8]]) -> Vec<Vec<u8>> {
        all(salt, candidates, |salt, messages, each| sha256_all(salt, messages, each))
    }

    fn all_512(salt: &[u8], candidates: &[&[u8]]) -> Vec<Vec<u8>> {
        all(salt, candidates, |salt, messages, each| sha512_all(salt, messages, each))
    }

    #[test]
    fn digests_equal_sha2_at_every_length() {
        let text: Vec<u8> = (0..1200_u32).map(|at| (at * 7 % 251) as u8).collect();
        for salt in [&b""[..], b"pepper", &text[..100], &text[..510], &text[..900]] {
            // Four neighbours of equal length, then four of different lengths, through all block borders; the last one ends
            // the text.
            let lengths =
                (0..600).flat_map(|length| [length; 4]).chain((0..300).flat_map(|at| [at, at + 1, at + 40, at + 200]));
            let candidates: Vec<&[u8]> = lengths.enumerate().map(|(at, length)| &text[at % 97..][..length]).collect();
            for candidates in [&candidates[..], &candidates[..7], &candidates[..0]] {
                let expected =
                    |candidate: &&[u8]| Sha256::new().chain_update(salt).chain_update(candidate).finalize().to_vec();
                assert!(all_256(salt, candidates) == candidates.iter().map(expected).collect::<Vec<_>>());
                let expected =
                    |candidate: &&[u8]| Sha512::new().chain_update(salt).chain_update(candidate).finalize().to_vec();
                assert!(all_512(salt, candidates) == candidates.iter().map(expected).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn known_vectors() {
        for digest in all_256(b"", &[&b"abc"[..]; 4]) {
            assert_eq!(hex::encode(digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        }
        let [digest] = &all_512(b"a", &[b"bc"])[..] else { panic!("one message, one digest") };
        assert_eq!(
            hex::encode(digest),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
    }
}
