//! The params of `password-hash`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use task_sdk::Failure;

use crate::bcrypt;

/// Candidates of a subtask unless the params say otherwise: with SHA a millisecond's work, with bcrypt a good part of a
/// second's.
const SHA_BATCH: u32 = 4096;
const BCRYPT_BATCH: u32 = 4;
/// Most candidates of a subtask: their hashes must fit an output of 64 MiB (129 bytes a line with SHA-512).
const BATCH_MAX: u32 = 500_000;
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// The params of `password-hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(description = "Params of the task `password-hash`.")]
pub struct Params {
    /// The hash function.
    pub algorithm: Algorithm,
    /// bcrypt in mode hash: 2 to this power rounds.
    #[schemars(range(min = 4, max = 31))]
    pub cost: u32,
    /// sha256 and sha512: text put before each candidate. bcrypt in mode hash: one salt for all, as 32 hex digits or 22
    /// characters of modular crypt format; if empty, each candidate gets its own.
    pub salt: String,
    /// bcrypt in mode hash without salt: what the candidates' own salts are derived from.
    pub seed: u64,
    /// What to do with the candidates.
    pub mode: Mode,
    /// Candidates of one subtask; 4096 if absent, 4 with bcrypt.
    #[serde(alias = "batch_size")]
    #[schemars(range(min = 1, max = 500_000))]
    pub batch_size: Option<u32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            cost: 10,
            salt: String::new(),
            seed: 0,
            mode: Mode::Hash,
            batch_size: None,
        }
    }
}

/// The hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// SHA-256, in hex.
    Sha256,
    /// SHA-512, in hex.
    Sha512,
    /// bcrypt, in modular crypt format.
    Bcrypt,
}

/// What to do with the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Hash them all.
    Hash,
    /// Find those that match a target.
    Audit,
}

impl Params {
    /// What serde cannot see: ranges, and params that have no meaning together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let batch_size = self.batch_size();
        if batch_size == 0 || batch_size > BATCH_MAX.into() {
            return Err(Failure::permanent(format!("batchSize is {batch_size}; it must be 1 to {BATCH_MAX}")));
        }
        if !COSTS.contains(&self.cost) {
            let (cost, from, to) = (self.cost, COSTS.start(), COSTS.end());
            return Err(Failure::permanent(format!("cost is {cost}; it must be {from} to {to}")));
        }
        if self.algorithm == Algorithm::Bcrypt && self.mode == Mode::Audit && !self.salt.is_empty() {
            return Err(Failure::permanent("bcrypt targets carry their own salts; leave out salt in mode audit"));
        }
        if self.algorithm == Algorithm::Bcrypt {
            self.bcrypt_salt()?;
        }
        Ok(())
    }

    pub(crate) fn batch_size(&self) -> u64 {
        let default = if self.algorithm == Algorithm::Bcrypt { BCRYPT_BATCH } else { SHA_BATCH };
        self.batch_size.unwrap_or(default).into()
    }

    /// The salt that all candidates share, if the params give one.
    pub(crate) fn bcrypt_salt(&self) -> Result<Option<[u8; 16]>, Failure> {
        if self.salt.is_empty() {
            return Ok(None);
        }
        let salt = match self.salt.len() {
            22 => bcrypt::decode(self.salt.as_bytes()),
            32 => hex::decode(&self.salt).ok().and_then(|salt| salt.try_into().ok()),
            _ => None,
        };
        let refused = || {
            let salt = &self.salt;
            Failure::permanent(format!("salt `{salt}` is neither 32 hex digits nor 22 characters of ./A-Za-z0-9"))
        };
        salt.map(Some).ok_or_else(refused)
    }
}
