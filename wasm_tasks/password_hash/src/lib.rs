//! The task `password-hash`: hashes a list of candidate passwords, or audits a list of hashes against it.
//!
//! Input `candidates` has one candidate a line. A candidate is any bytes but newline: a carriage return belongs to it, and
//! an empty line is the empty password. The last newline is optional. A subtask takes `batchSize` candidates.
//!
//! # Mode `hash`
//! The result has one line per candidate, in their order: lower-case hex for `sha256` and `sha512`, modular crypt format
//! (`$2b$…`) for `bcrypt`.
//!
//! # Mode `audit`
//! Input `targets` has one hash a line in those same forms (hex in either case, bcrypt also as `$2a$` and `$2y$`); blank
//! lines and repetitions are skipped, and what is left is numbered from 0. The result has a line `target<TAB>candidate` for
//! each target that was found, in the targets' order, with the first candidate that matches; nothing for the others. Each
//! find is reported to the host, so that a job with a success policy ends when all are found. Targets of bcrypt carry
//! their own cost and salt; `cost` plays no part there.
//!
//! # Salt
//! For SHA, `salt` is text that is put before each candidate. For bcrypt it is a salt of 16 bytes, as 32 hex digits or as
//! the 22 characters of modular crypt format, for all candidates; without it each candidate gets its own, the first 16
//! bytes of SHA-256 over `"processdistro password-hash"`, `seed` and the candidate's number (both u64, little-endian).
//! That makes a job's result reproducible; it is no substitute for random salts where the hashes are to be stored.
//!
//! # Verifying
//! A find is proved by one hash, but nothing short of all hashes shows that none was left out. So `verify` attests an output
//! of mode audit that has a line for every target, since there nothing is left to leave out; and none of any other. That is
//! the batch with the find in a job that has one target. In mode hash an output is verified by nothing less than computing it.
//!
//! # Limits of bcrypt
//! bcrypt hashes the candidate and a terminating NUL, and of these at most 72 bytes: what lies beyond does not count. A
//! NUL within a candidate is hashed like any other byte, as today's libraries do (Python's bcrypt 4 and later, Go's
//! x/crypto, Rust's bcrypt); C's `crypt` would stop at it.

mod audit;
mod bcrypt;
mod candidates;
mod params;
mod sha;
mod targets;

pub use crate::bcrypt::Bcrypt;
pub use params::{Algorithm, Mode, Params};

use candidates::{Batch, Plan};
use task_sdk::{Failure, Host, InputSpec, Layout, Task, Verify};

/// The task. See the crate's page.
pub struct PasswordHash;

impl Task for PasswordHash {
    type Params = Params;
    const NAME: &'static str = "password-hash";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Hashes candidate passwords, or finds those that match given hashes.";
    const INPUTS: &'static [InputSpec] = &[
        InputSpec { name: "candidates", description: "Candidate passwords, one a line.", required: true },
        InputSpec { name: "targets", description: "In mode audit: the hashes to match, one a line.", required: false },
    ];

    fn plan(params: &Params, host: &dyn Host) -> Result<Layout, Failure> {
        params.check()?;
        let plan = Plan::scan(&host.required_input("candidates")?, params.batch_size())?;
        let layout = Layout { state: plan.to_state(), ..Layout::new(plan.batches(), "text/plain") };
        match (params.mode, host.input("targets")) {
            (Mode::Hash, None) => Ok(layout),
            (Mode::Hash, Some(_)) => Err(Failure::permanent("input `targets` is for mode audit; this is mode hash")),
            (Mode::Audit, _) => {
                let targets = targets::read(params.algorithm, &host.required_input("targets")?)?;
                let state = [&layout.state, targets.to_state()].concat();
                Ok(Layout { goal: Some(targets.len()), state, ..layout })
            }
        }
    }

    fn run(params: &Params, index: u64, host: &dyn Host) -> Result<Vec<u8>, Failure> {
        let batch = Batch::read(index, &host.state(), &host.required_input("candidates")?)?;
        match params.mode {
            Mode::Hash => hash(params, &batch, host),
            Mode::Audit => audit::run(params, &batch, host),
        }
    }

    fn merge(params: &Params, subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
        match params.mode {
            Mode::Hash => concatenate(subtasks, host),
            Mode::Audit => audit::merge(params, subtasks, host),
        }
    }
}

impl Verify for PasswordHash {
    fn verify(params: &Params, index: u64, output: &[u8], _seed: u64, host: &dyn Host) -> Result<bool, Failure> {
        match params.mode {
            Mode::Hash => Ok(false),
            Mode::Audit => audit::verify(params, index, output, host),
        }
    }
}

task_sdk::export_task!(PasswordHash);
task_sdk::export_verify!(PasswordHash);

fn hash(params: &Params, batch: &Batch, host: &dyn Host) -> Result<Vec<u8>, Failure> {
    if params.algorithm != Algorithm::Bcrypt {
        let line_bytes = if params.algorithm == Algorithm::Sha512 { 129 } else { 65 };
        let mut lines = Vec::with_capacity(batch.messages().len() * line_bytes);
        sha::digests(params.algorithm, &params.salt, batch.messages(), |_, digest| push_hex(&mut lines, digest));
        return Ok(lines);
    }
    let (shared, derived) = (params.bcrypt_salt()?, |number| bcrypt::derived_salt(params.seed, batch.first + number));
    let salted = (0..).zip(batch.candidates()).map(|(number, text)| (shared.unwrap_or_else(|| derived(number)), text));
    let salted: Vec<_> = salted.collect();
    let mut lines = Vec::new();
    Bcrypt::hash_all(params.cost, &salted, |at, hash| {
        lines.extend_from_slice(hash.to_string().as_bytes());
        lines.push(b'\n');
        host.progress(at as u64 + 1, salted.len() as u64);
    });
    Ok(lines)
}

/// Appends a digest as a line of hex.
fn push_hex(lines: &mut Vec<u8>, digest: &[u8]) {
    // As long as the longest: SHA-512.
    let mut line = [b'\n'; 2 * 64 + 1];
    for (pair, byte) in line.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = HEX[usize::from(*byte)];
    }
    lines.extend_from_slice(&line[..=2 * digest.len()]);
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

fn concatenate(subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
    let mut result = host.result();
    for index in 0..subtasks {
        for chunk in host.required_part(index)?.chunks() {
            result.write(&chunk?);
        }
        if index % 1024 == 0 {
            host.progress(index, subtasks);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
