//! The hashes that an audit looks for.
//!
//! In: input `targets`, read once by `plan`. Out: the distinct targets in their order, kept in the layout's state behind the
//! table of candidates, from which each `run` and `merge` reads them.

use std::collections::BTreeSet;

use task_sdk::{Failure, Host, Reader};

use crate::bcrypt::{Bcrypt, TEXT_BYTES};
use crate::candidates::state_end;
use crate::{Algorithm, Params};

/// Most targets: with SHA-512 they take 32 MB of a subtask's memory.
const TARGETS_MAX: usize = 500_000;

/// Distinct targets in their order. For SHA the digests, for bcrypt the text.
pub(crate) struct Targets {
    /// Bytes of one.
    width: usize,
    bytes: Vec<u8>,
}

impl Targets {
    pub(crate) fn len(&self) -> u64 {
        (self.bytes.len() / self.width) as u64
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.width)
    }

    /// As the result shows them: hex in lower case, or modular crypt format as it was given.
    pub(crate) fn text(&self, number: usize) -> Vec<u8> {
        let target = &self.bytes[number * self.width..(number + 1) * self.width];
        if self.width == TEXT_BYTES { target.to_vec() } else { hex::encode(target).into_bytes() }
    }

    pub(crate) fn to_state(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn from_state(params: &Params, host: &dyn Host) -> Result<Self, Failure> {
        let state = host.state();
        let start = state_end(&state)?;
        let bytes = state.read_at(start, state.size() - start)?;
        Ok(Self { width: width(params.algorithm), bytes })
    }
}

fn width(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Sha256 => 32,
        Algorithm::Sha512 => 64,
        Algorithm::Bcrypt => TEXT_BYTES,
    }
}

/// Reads and checks input `targets`.
pub(crate) fn read(algorithm: Algorithm, input: &Reader<'_>) -> Result<Targets, Failure> {
    let mut targets = Targets { width: width(algorithm), bytes: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut lines = input.lines(0);
    let mut number = 0;
    while let Some(line) = lines.next_line()? {
        number += 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let target = parse(algorithm, line).ok_or_else(|| refused(algorithm, number, line))?;
        if seen.len() == TARGETS_MAX {
            return Err(Failure::permanent(format!("input `targets` has more than {TARGETS_MAX} targets")));
        }
        if !seen.contains(&target) {
            targets.bytes.extend_from_slice(&target);
            seen.insert(target);
        }
    }
    if seen.is_empty() {
        return Err(Failure::permanent("input `targets` is empty; it needs a hash a line"));
    }
    Ok(targets)
}

fn parse(algorithm: Algorithm, line: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Bcrypt => Bcrypt::parse(line).map(|_| line.to_vec()),
        _ => hex::decode(line).ok().filter(|digest| digest.len() == width(algorithm)),
    }
}

fn refused(algorithm: Algorithm, number: u64, line: &[u8]) -> Failure {
    let expected = match algorithm {
        Algorithm::Sha256 => "64 hex digits",
        Algorithm::Sha512 => "128 hex digits",
        Algorithm::Bcrypt => "60 characters that begin with $2a$, $2b$ or $2y$",
    };
    let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
    Failure::permanent(format!("input `targets`, line {number}: `{shown}` is no hash of this algorithm ({expected})"))
}
