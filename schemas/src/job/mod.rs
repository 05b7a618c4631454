//! Job: the user's work. The user writes the spec, the reconciler the status.

mod placement;
mod policy;
mod retry;
mod sandbox;
mod status;
mod task;
mod verification;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use placement::{Placement, Resources, Toleration, TolerationOperator};
pub use policy::{FailureAction, FailurePolicy, FailureRule, RuleOutcome, Speculation, SuccessPolicy, UpdatePolicy};
pub use retry::{Forgiven, Retried, Retry};
pub use sandbox::{Isolation, Sandbox};
pub use status::{CacheUse, EfficiencyLoss, JobResult, JobStatus, Layout, SubtaskCounts, Waiting, conditions, waiting};
pub(crate) use task::canonical;
pub use task::{InputFrom, JobTask};
pub use verification::{Quorum, Sample, UntrustedNode, Verification, VerificationStatus};

use crate::{ByteSize, Duration};

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
    printcolumn(name = "Cached", type_ = "integer", json_path = ".status.cached.count", priority = 1),
    printcolumn(name = "Queue", type_ = "string", json_path = ".spec.queue", priority = 1),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = 1),
    printcolumn(name = "Efficiency", type_ = "string", json_path = ".status.efficiency", priority = 1),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result.artifact", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// Which task to run, on what.
    pub task: JobTask,
    /// Jobs of the same namespace that must be Complete before this one begins. When one of them fails, this
    /// one does too. Those of `task.inputsFrom` need not be named again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// The Queue that it is counted to; `default` need not exist.
    #[serde(default = "defaults::queue")]
    pub queue: String,
    /// Jobs of a higher priority are given slots first, whatever their queue.
    #[serde(default)]
    pub priority: i32,
    /// True: nothing of it runs; what is done is kept. Its clock starts anew when it is resumed.
    #[serde(default)]
    pub suspend: bool,
    /// True: it fails now, and what runs is interrupted. A cancelled job does not come back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// Asks that failed indexes are tried again, of a job that runs or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What a changed task, params or inputs mean for a job that is there already.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// How long it is kept after its end; absent: until somebody deletes it. A job whose result another one
    /// waits for is kept for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Duration>,
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
    /// What the kinds of failure lead to, where it is not a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
    /// When a part of the work is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_policy: Option<SuccessPolicy>,
    /// Whether nodes compute indexes again, to compare; absent: each output is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Which nodes may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Limits of one subtask's sandbox.
    #[serde(default)]
    pub resources: Resources,
    /// What a subtask runs in.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Whether outputs that an earlier job of the namespace computed of the same component, params, inputs and
    /// sandbox are taken over, and this job's are kept for later ones.
    #[serde(default = "defaults::cache")]
    pub cache: bool,
    /// Whether an idle node may be given what another one has not started.
    #[serde(default = "defaults::work_stealing")]
    pub work_stealing: bool,
    /// Backup copies of what is stuck.
    #[serde(default)]
    pub speculation: Speculation,
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

    /// The queue of those who name none.
    pub fn queue() -> String {
        crate::queue::DEFAULT.to_owned()
    }

    /// What was computed is not computed again.
    pub const fn cache() -> bool {
        true
    }

    /// Idle nodes take from busy ones.
    pub const fn work_stealing() -> bool {
        true
    }

    /// What is stuck is copied.
    pub const fn speculation() -> bool {
        true
    }

    /// The node's own kernels are offered: they give the bits that the task's own would.
    pub const fn host_kernels() -> bool {
        true
    }

    /// 64 MiB.
    pub const fn memory() -> ByteSize {
        ByteSize(64 << 20)
    }
}
