//! What becomes of a Job when something fails, when enough has succeeded, and when its manifest changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use crate::assignment::FailureOutcome;

/// When a job has succeeded before all its indexes have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuccessPolicy {
    /// That many succeeded indexes are enough. For a task that searches (its plan names a goal) that many
    /// found targets are enough, and absent means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub succeeded_count: Option<u64>,
}

/// What the kinds of failure lead to. Without a rule that matches, a failed attempt is retried within the limits,
/// but for an error that the task called permanent. Losing a node is no failure and matches no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailurePolicy {
    /// The first rule that matches an outcome holds.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub rules: Vec<FailureRule>,
}

/// What some kinds of failure lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureRule {
    /// What happens.
    pub action: FailureAction,
    /// To which outcomes.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub outcomes: Vec<RuleOutcome>,
}

/// What a failed attempt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureAction {
    /// Another attempt, within the limits.
    Retry,
    /// The index has failed; no further attempt.
    FailIndex,
    /// The job fails at once.
    FailJob,
}

/// How an attempt failed, as a rule names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RuleOutcome {
    /// The guest trapped or panicked.
    Trap,
    /// It asked for more memory than its limit.
    OutOfMemory,
    /// It ran beyond its time limit.
    Timeout,
    /// The task answered an error, retryable or permanent.
    TaskError,
    /// Its output broke the contract.
    InvalidOutput,
}

impl RuleOutcome {
    /// The name under which rules know an outcome; none for what is the machine's fault and not the task's.
    pub const fn of(outcome: FailureOutcome) -> Option<Self> {
        match outcome {
            FailureOutcome::Trap => Some(Self::Trap),
            FailureOutcome::OutOfMemory => Some(Self::OutOfMemory),
            FailureOutcome::Timeout => Some(Self::Timeout),
            FailureOutcome::TaskErrorRetryable | FailureOutcome::TaskErrorPermanent => Some(Self::TaskError),
            FailureOutcome::InvalidOutput => Some(Self::InvalidOutput),
            FailureOutcome::ExecutorLost | FailureOutcome::SetupFailed => None,
        }
    }
}

/// What a changed task, params or inputs mean for a job that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    /// The change is refused.
    #[default]
    Reject,
    /// The job starts over: what runs is stopped, and what was computed does not count any more.
    Rerun,
}

/// Backup copies of what is stuck: an idle node runs it as well, and the first output counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Speculation {
    /// Whether copies are made.
    #[serde(default = "defaults::speculation")]
    pub enabled: bool,
}

impl Default for Speculation {
    fn default() -> Self {
        Self { enabled: defaults::speculation() }
    }
}
