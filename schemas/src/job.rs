//! Job: the user's work. The user writes the spec, the reconciler the status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ByteSize, Condition, Digest, Duration, IndexSet};

/// What a Job asks for.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "Job",
    namespaced,
    status = "JobStatus",
    derive = "PartialEq",
    shortname = "pdj",
    category = "all",
    category = "processdistro",
    doc = "A Job runs a Task over its indexes on the machines of the cluster and keeps the merged result.",
    scale(spec_replicas_path = ".spec.parallelism", status_replicas_path = ".status.subtasks.running"),
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.subtasks.succeeded"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.subtasks.total"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.subtasks.failed", priority = 1),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.subtasks.running", priority = 1),
    printcolumn(name = "Efficiency", type_ = "string", json_path = ".status.efficiency", priority = 1),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result.artifact", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// Which task to run, on what.
    pub task: JobTask,
    /// Most subtasks running at once; absent: every free slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub parallelism: Option<u32>,
    /// Wall-clock limit of the whole job, from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Wall-clock limit of one attempt at one index.
    #[serde(default = "defaults::subtask_timeout")]
    pub subtask_timeout: Duration,
    /// Retries allowed over all indexes together; absent: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_limit: Option<u64>,
    /// Retries allowed for one index; losing a node never counts.
    #[serde(default = "defaults::backoff_limit_per_index")]
    pub backoff_limit_per_index: u32,
    /// Failed indexes beyond which the job fails early; absent: it runs to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed_indexes: Option<u64>,
    /// Delay before the first retry of an index; doubled for each further one.
    #[serde(default = "defaults::retry_delay")]
    pub retry_delay: Duration,
    /// When a part of the work is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_policy: Option<SuccessPolicy>,
    /// Which nodes may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Limits of one subtask's sandbox.
    #[serde(default)]
    pub resources: Resources,
}

/// The task of a Job: exactly one of `name` and `module`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTask {
    /// A Task object in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A component in the artifact store, by digest. When `name` is given, admission fills this in from
    /// the Task, so that a job keeps to the component it was admitted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Digest>,
    /// Parameters, checked against the task's own schema.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub params: Map<String, Value>,
    /// Input name to artifact digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Digest>,
}

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

/// Which nodes may run a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
}

/// Limits of one subtask's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Linear memory of one subtask.
    #[serde(default = "defaults::memory")]
    pub memory: ByteSize,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory: defaults::memory() }
    }
}

/// What a Job has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for a table: `Planning`, `Waiting`, `Running`, `Merging`, `Complete` or `Failed`. The
    /// conditions say it in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `Planned`, `SuccessCriteriaMet`, `FailureTarget`, `Complete`, `Failed`, in batch/v1's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
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
    /// When the plan call was first handed to a node.
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

/// Condition types of a Job.
pub mod conditions {
    /// The plan call has answered: the number of subtasks is known.
    pub const PLANNED: &str = "Planned";
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

/// Defaults of a Job's spec, filled in at admission.
pub mod defaults {
    use super::{ByteSize, Duration};

    /// Five minutes, the mission's `task_timeout`.
    pub const fn subtask_timeout() -> Duration {
        Duration::from_millis(300_000)
    }

    /// Three retries.
    pub const fn backoff_limit_per_index() -> u32 {
        3
    }

    /// Tasks are short: a tenth of a second, doubled each time.
    pub const fn retry_delay() -> Duration {
        Duration::from_millis(100)
    }

    /// 64 MiB.
    pub const fn memory() -> ByteSize {
        ByteSize(64 << 20)
    }
}
