//! The params of `noop`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Indexes;

/// The params of `noop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(description = "Params of the task `noop`.")]
pub struct Params {
    /// Number of subtasks.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub count: u64,
    /// How long each subtask computes, in microseconds; approximate, because a task has no clock.
    #[serde(alias = "spin_micros")]
    pub spin_micros: u64,
    /// Makes the times heavy-tailed: half of the subtasks spin for spinMicros, a quarter twice as long, an eighth four
    /// times, and so on up to this many doublings. Which ones are long depends on their indexes only.
    #[serde(alias = "spin_doublings")]
    #[schemars(range(max = 20))]
    pub spin_doublings: u32,
    /// Size of each subtask's output in bytes.
    #[serde(alias = "output_bytes")]
    #[schemars(range(max = 67_108_864))]
    pub output_bytes: u64,
    /// The subtasks that fail, at each attempt: text such as "3,7-9", or a list of numbers.
    #[serde(alias = "fail_indexes")]
    pub fail_indexes: Indexes,
    /// How they fail.
    #[serde(alias = "fail_kind")]
    pub fail_kind: FailKind,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            count: 100,
            spin_micros: 0,
            spin_doublings: 0,
            output_bytes: 0,
            fail_indexes: Indexes::default(),
            fail_kind: FailKind::Retryable,
        }
    }
}

/// How a subtask fails that is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailKind {
    /// It says that trying again may help.
    Retryable,
    /// It says that trying again cannot help.
    Permanent,
    /// It panics, which ends in a trap.
    Panic,
}
