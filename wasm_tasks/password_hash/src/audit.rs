//! Mode `audit`: which candidates match a target.
//!
//! In: a batch and the targets; in `merge` the batches' finds. Out: lines `target<TAB>candidate`, for each target the first
//! candidate that matches it.

use std::collections::{BTreeMap, BTreeSet};

use task_sdk::kernels::Messages;
use task_sdk::{Failure, Host};

use crate::bcrypt::Bcrypt;
use crate::candidates::Batch;
use crate::sha::digests;
use crate::targets::Targets;
use crate::{Algorithm, Params};

/// Finds by the number of the target.
type Finds = BTreeMap<usize, Vec<u8>>;
/// bcrypt targets by cost and salt: hash and number of each.
type BySalt = BTreeMap<(u32, [u8; 16]), Vec<([u8; 23], usize)>>;

pub(crate) fn run(params: &Params, batch: &Batch, host: &dyn Host) -> Result<Vec<u8>, Failure> {
    let targets = Targets::from_state(params, host)?;
    let finds = match params.algorithm {
        Algorithm::Bcrypt => bcrypt_finds(&targets, batch, host)?,
        _ => sha_finds(params, &targets, batch),
    };
    for number in finds.keys() {
        host.found(*number as u64);
    }
    let lines = finds.iter().map(|(number, candidate)| line(&targets, *number, candidate));
    Ok(lines.collect::<Vec<_>>().concat())
}

/// All batches' finds in the order of the targets; batches come in the candidates' order, so the first find of a target is
/// that of its first candidate.
pub(crate) fn merge(params: &Params, subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
    let targets = Targets::from_state(params, host)?;
    let numbers: BTreeMap<Vec<u8>, usize> =
        (0..targets.len() as usize).map(|number| (targets.text(number), number)).collect();
    let mut finds = Finds::new();
    // A part may be missing: a success policy ends the job as soon as all targets are found.
    for (index, part) in (0..subtasks).filter_map(|index| Some((index, host.part(index)?))) {
        let broken = || Failure::permanent(format!("the output of index {index} is not a list of finds"));
        let bytes = part.read_all()?;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").ok_or_else(broken)?;
            let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(broken)?;
            let number = *numbers.get(&line[..tab]).ok_or_else(broken)?;
            finds.entry(number).or_insert_with(|| line[tab + 1..].to_vec());
        }
    }
    let mut result = host.result();
    for (number, candidate) in &finds {
        result.write(&line(&targets, *number, candidate));
    }
    Ok(())
}

fn line(targets: &Targets, number: usize, candidate: &[u8]) -> Vec<u8> {
    [&targets.text(number)[..], b"\t", candidate, b"\n"].concat()
}

fn sha_finds(params: &Params, targets: &Targets, batch: &Batch) -> Finds {
    let wanted = Wanted::new(targets);
    let candidates = batch.messages();
    let mut finds = Finds::new();
    digests(params.algorithm, &params.salt, candidates, |at, digest| {
        if let Some(number) = wanted.number(digest) {
            finds.entry(number).or_insert_with(|| candidates.get(at).to_vec());
        }
    });
    finds
}

/// True when the output has a line for each target, and each is the one that `run` answers: its candidate is the first of
/// the batch that matches. Where a target has no line nobody can tell without all hashes that it has none.
///
/// The candidate that is claimed is hashed. That no earlier one matches needs no hash: two that match one target are alike
/// (for SHA the same), or a collision of the hash function was found.
pub(crate) fn verify(params: &Params, index: u64, output: &[u8], host: &dyn Host) -> Result<bool, Failure> {
    let targets = Targets::from_state(params, host)?;
    let lines: Vec<&[u8]> = output.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() as u64 != targets.len() {
        return Ok(false);
    }
    let mut claims = Vec::new();
    for (number, line) in lines.into_iter().enumerate() {
        let claim = line.strip_prefix(&targets.text(number)[..]).and_then(|rest| rest.strip_prefix(b"\t"));
        let Some(candidate) = claim.and_then(|rest| rest.strip_suffix(b"\n")) else { return Ok(false) };
        claims.push(candidate);
    }
    let batch = Batch::read(index, &host.state(), &host.required_input("candidates")?)?;
    if !are_first(params, &batch, &claims) || !match_targets(params, &targets, &claims)? {
        return Ok(false);
    }
    (0..targets.len()).for_each(|number| host.found(number));
    Ok(true)
}

/// True when each claimed candidate is in the batch, and none that is before it is alike.
fn are_first(params: &Params, batch: &Batch, claims: &[&[u8]]) -> bool {
    if params.algorithm == Algorithm::Bcrypt {
        let candidates = batch.candidates();
        let first = |claim: &[u8]| candidates.iter().find(|candidate| Bcrypt::are_alike(candidate, claim)).copied();
        return claims.iter().all(|claim| first(claim) == Some(*claim));
    }
    let candidates: BTreeSet<&[u8]> = batch.messages().iter().collect();
    claims.iter().all(|claim| candidates.contains(claim))
}

/// True when each claimed candidate has the hash of its target.
fn match_targets(params: &Params, targets: &Targets, claims: &[&[u8]]) -> Result<bool, Failure> {
    if params.algorithm == Algorithm::Bcrypt {
        for (text, claim) in targets.iter().zip(claims) {
            let target = Bcrypt::parse(text).ok_or_else(not_a_hash)?;
            if Bcrypt::hash(target.cost, target.salt, claim).hash != target.hash {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let ends = claims.iter().scan(0, |end, claim| {
        *end += claim.len() as u32;
        Some(*end)
    });
    let (bytes, ends) = (claims.concat(), ends.collect::<Vec<u32>>());
    let mut wanted = targets.iter();
    let mut all = true;
    digests(params.algorithm, &params.salt, Messages { bytes: &bytes, ends: &ends, gap: 0 }, |_, digest| {
        all &= wanted.next() == Some(digest);
    });
    Ok(all)
}

fn not_a_hash() -> Failure {
    Failure::permanent("the plan's state holds no bcrypt hash")
}

/// Digests to look for. Nearly all that are looked up are not there, and for these a look at one bit is enough.
struct Wanted<'t> {
    /// With their numbers, ascending.
    sorted: Vec<(&'t [u8], usize)>,
    /// A bit for each pair of first bytes.
    starts: Vec<u64>,
}

impl<'t> Wanted<'t> {
    fn new(targets: &'t Targets) -> Self {
        let mut sorted: Vec<(&[u8], usize)> = targets.iter().zip(0..).collect();
        sorted.sort_unstable();
        let mut starts = vec![0; (1 << 16) / 64];
        for (target, _) in &sorted {
            let (word, bit) = Self::place(target);
            starts[word] |= bit;
        }
        Self { sorted, starts }
    }

    fn number(&self, digest: &[u8]) -> Option<usize> {
        let (word, bit) = Self::place(digest);
        if self.starts[word] & bit == 0 {
            return None;
        }
        let at = self.sorted.binary_search_by(|(target, _)| (*target).cmp(digest)).ok()?;
        Some(self.sorted[at].1)
    }

    fn place(digest: &[u8]) -> (usize, u64) {
        let start = digest.first_chunk().map_or(0, |first| u16::from_le_bytes(*first));
        (usize::from(start / 64), 1 << (start % 64))
    }
}

/// A candidate is hashed once per salt and cost, however many targets share them.
fn bcrypt_finds(targets: &Targets, batch: &Batch, host: &dyn Host) -> Result<Finds, Failure> {
    let mut by_salt = BySalt::new();
    for (text, number) in targets.iter().zip(0..) {
        let target = Bcrypt::parse(text).ok_or_else(not_a_hash)?;
        by_salt.entry((target.cost, target.salt)).or_default().push((target.hash, number));
    }
    let candidates = batch.candidates();
    let total = (candidates.len() * by_salt.len()) as u64;
    let mut finds = Finds::new();
    let mut done = 0;
    for ((cost, salt), targets) in &by_salt {
        let salted: Vec<_> = candidates.iter().map(|candidate| (*salt, *candidate)).collect();
        Bcrypt::hash_all(*cost, &salted, |at, Bcrypt { hash, .. }| {
            for (_, number) in targets.iter().filter(|(target, _)| *target == hash) {
                finds.entry(*number).or_insert_with(|| candidates[at].to_vec());
            }
            done += 1;
            host.progress(done, total);
        });
    }
    Ok(finds)
}
