//! What a Job has come to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Retried, VerificationStatus};
use crate::{Condition, Digest, IndexSet, cached_result::Outputs};

/// What a Job has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for a table: `Planning`, `Waiting`, `Suspended`, `Running`, `Merging`, `Complete` or `Failed`.
    /// The conditions say it in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `Planned`, `Suspended`, `SuccessCriteriaMet`, `FailureTarget`, `Complete`, `Failed`, in batch/v1's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Why nothing of it runs although something is to be done; absent while something runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Stands for the component, params and inputs that all of this status is about. When the spec has others
    /// (`updatePolicy: Rerun`), the job starts over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<Digest>,
    /// Inputs that are results of other jobs (`task.inputsFrom`), as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Digest>,
    /// Names the work: the CachedResult with these digits holds what jobs with the same work have computed.
    /// Absent with `spec.cache: false`, and while an input is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<Digest>,
    /// What was taken over from an earlier job; absent: nothing. Its indexes are among the succeeded ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<CacheUse>,
    /// What has come of comparing outputs, with `spec.verification`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
    /// How many subtasks stand where.
    #[serde(default)]
    pub subtasks: SubtaskCounts,
    /// Indexes whose output was accepted.
    #[serde(default)]
    pub completed_indexes: IndexSet,
    /// Indexes that are out of retries.
    #[serde(default)]
    pub failed_indexes: IndexSet,
    /// Targets found, for a task that searches.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub found: IndexSet,
    /// Retries spent over all indexes.
    #[serde(default)]
    pub retries: u64,
    /// What has come of `spec.retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<Retried>,
    /// What the task's plan call answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Subtasks a second over the running phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<f64>,
    /// When all will be done at the present rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub estimated_completion_time: Option<Timestamp>,
    /// Lower bound of the makespan over the makespan, as a percentage: `97%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<String>,
    /// Where the rest went, in the same unit: with `efficiency` it adds up to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency_loss: Option<EfficiencyLoss>,
    /// When the plan call was first handed to a node; set anew when a suspended job is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub start_time: Option<Timestamp>,
    /// When the job became Complete or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub completion_time: Option<Timestamp>,
    /// The merged result of a Complete job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,
}

/// What a job took over from an earlier one instead of computing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheUse {
    /// The job that computed it, or the last of several.
    pub job: String,
    /// Number of indexes.
    pub count: u64,
    /// Where the outputs are. Named here they stay, whatever becomes of that job and of the CachedResult.
    pub outputs: Outputs,
}

/// Why nothing of a job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// One CamelCase word of `job::waiting`.
    pub reason: String,
    /// One sentence for a person, with numbers.
    pub message: String,
}

/// Reasons for which a Job waits.
pub mod waiting {
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// A job that it depends on is not Complete, or not there.
    pub const DEPENDENCY: &str = "WaitingForDependency";
    /// No Queue has the name in `spec.queue`.
    pub const QUEUE_NOT_FOUND: &str = "QueueNotFound";
    /// Its queue runs as many jobs, or uses as many slots, as its quota allows.
    pub const QUOTA: &str = "QuotaExhausted";
    /// No node may run it.
    pub const NO_NODE: &str = "NoNode";
    /// Jobs of a higher priority or of other queues use the slots.
    pub const NO_SLOT: &str = "NoSlot";
    /// All that is left failed and waits for its retry.
    pub const BACK_OFF: &str = "BackOff";
}

/// Slot-seconds of the running phase that no accepted output came of, in percent of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EfficiencyLoss {
    /// Slots waited although indexes were pending: back-off, no room within `parallelism`, other jobs.
    pub queueing: f64,
    /// Slots waited for components, inputs, grants and reports on their way; what is not measured apart.
    pub transfer: f64,
    /// Slots waited for a node to say what of its recalled indexes it had started.
    pub stealing: f64,
    /// Slots had nothing left to take, near the end.
    pub tail: f64,
    /// Nodes were silent or lost, and attempts came to nothing.
    pub lost_nodes: f64,
}

/// Condition types of a Job.
pub mod conditions {
    /// The plan call has answered: the number of subtasks is known.
    pub const PLANNED: &str = "Planned";
    /// `spec.suspend` is set: nothing of it runs. False once it was resumed.
    pub const SUSPENDED: &str = "Suspended";
    /// Enough has succeeded; what still runs is being stopped, the merge is to come.
    pub const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
    /// The job will fail; what still runs is being stopped.
    pub const FAILURE_TARGET: &str = "FailureTarget";
    /// Terminal: the result is there.
    pub const COMPLETE: &str = "Complete";
    /// Terminal: there will be no result.
    pub const FAILED: &str = "Failed";
}

/// How many subtasks stand where. The five add up: total = succeeded + failed + running + pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubtaskCounts {
    /// All indexes; 0 until the job is planned.
    pub total: u64,
    /// Indexes whose output was accepted.
    pub succeeded: u64,
    /// Indexes that are out of retries.
    pub failed: u64,
    /// Indexes given to a node and not yet reported.
    pub running: u64,
    /// Indexes not given to a node yet, or waiting for a retry.
    pub pending: u64,
}

/// What the plan call answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Number of indexes.
    pub subtasks: u64,
    /// Media type of the result.
    pub media_type: String,
    /// Number of targets of a task that searches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<u64>,
    /// State that the plan hands to every run, as an artifact; absent when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Digest>,
}

/// Where the result of a Complete job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobResult {
    /// Its artifact.
    pub artifact: Digest,
    /// Bytes.
    pub size: u64,
    /// Media type, as the task's plan said.
    pub media_type: String,
}
