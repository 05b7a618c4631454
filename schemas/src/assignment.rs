//! Assignment: what one node should execute of one Job, and what it has done of it.
//!
//! The reconciler writes the spec, the node that it names the status. Both are cumulative: the node's
//! work is always `spec - status`, so any message may be lost, doubled or late.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ByteSize, Digest, Duration, IndexSet,
    job::{Isolation, JobResult, Layout, defaults},
};

/// What one node should execute of one Job.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "Assignment",
    namespaced,
    status = "AssignmentStatus",
    derive = "PartialEq",
    shortname = "pda",
    category = "processdistro",
    doc = "An Assignment is what one node should execute of one Job, and what it has done of it.",
    selectable = ".spec.nodeName",
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.job.name"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.succeeded"),
    printcolumn(name = "Started", type_ = "integer", json_path = ".status.started", priority = 1),
    printcolumn(name = "Rate", type_ = "number", json_path = ".status.rate", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentSpec {
    /// The Job it belongs to; also its owner reference.
    pub job: JobRef,
    /// The node that should execute it.
    pub node_name: String,
    /// UID of that Node object: a node that joined anew under the same name is another one.
    pub node_uid: String,
    /// What to run, with everything resolved.
    pub work: Work,
    /// Run the task's plan call and report its layout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plan: bool,
    /// Which try of the plan call it is on this node, from 0: a failed answer to an earlier one is no answer
    /// to this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub plan_attempt: u32,
    /// What the plan call answered; set before the first grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Indexes to execute, by attempt. An index stays here when it is done; one that is taken away again
    /// was withdrawn: the node drops it, and interrupts it when it runs, unless it stands in `recalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Withdrawn so that another node may have it: what of it has not started is dropped; what has is finished
    /// and named in `status.retained`. Nobody is given any of it before the node has observed this.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub recalled: IndexSet,
    /// Those of the granted indexes that another node has as well: a backup, in case that one is stuck.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub copies: IndexSet,
    /// Those of the granted indexes that another node has delivered or will: this one's outputs are compared with
    /// that one's. They are run like all others, but for those in `check_parts`.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub checks: IndexSet,
    /// Where outputs of some of `checks` lie that another node has delivered: a task that can verify one is shown it, and
    /// what it attests is this node's output as well. What is not named here is run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check_parts: Vec<Part>,
    /// Most slots to use at once; absent: all of the node's. 0: what runs is interrupted, its results are not
    /// wanted any more. The plan and the merge call are not bound by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Run the task's merge call over these parts and report the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeOrder>,
}

/// The Job of an Assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRef {
    /// Its name, in the Assignment's namespace.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What to run, with everything resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The component.
    pub module: Digest,
    /// The job's params.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub params: Map<String, Value>,
    /// Input name to artifact.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Digest>,
    /// Linear memory of one subtask.
    pub memory: ByteSize,
    /// Wall-clock limit of one attempt at one index, and of the plan and the merge call.
    pub subtask_timeout: Duration,
    /// Limit on the processor time of one such call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Duration>,
    /// How long an instance lives.
    #[serde(default, skip_serializing_if = "Isolation::is_subtask")]
    pub isolation: Isolation,
    /// Outputs are compared bit by bit with those of other nodes: NaNs are made canonical, and nothing is used that
    /// computes in another way on another machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bitwise: bool,
    /// True when the task may call the host's kernels; not written then.
    #[serde(default = "defaults::host_kernels", skip_serializing_if = "Clone::clone")]
    pub host_kernels: bool,
}

impl Work {
    /// Whether its params are `params`. They nearly always are, and in the same order, which is seen without looking any of
    /// them up: it is asked for each assignment with each plan.
    pub fn has_params(&self, params: &Map<String, Value>) -> bool {
        self.params.iter().eq(params) || self.params == *params
    }
}

/// Indexes to execute as their `attempt`-th try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// 1 for a first try. An index stands in one grant only, that of its newest attempt.
    pub attempt: u32,
    /// The indexes.
    pub indexes: IndexSet,
}

/// The merge call and what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MergeOrder {
    /// For each segment the indexes to take from it; disjoint.
    pub parts: Vec<Part>,
    /// Grows with each retry of the merge.
    pub attempt: u32,
}

/// Some indexes of one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The segment.
    pub segment: Digest,
    /// Which of its indexes count.
    pub indexes: IndexSet,
}

/// What the node has done. A report is refused (409) when its node UID is not the spec's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentStatus {
    /// UID of the reporting node.
    #[serde(default)]
    pub node_uid: String,
    /// Generation of the spec that the node had synced when it reported.
    #[serde(default)]
    pub observed_generation: i64,
    /// Answer to `spec.plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanReport>,
    /// The `spec.planAttempt` that `plan` answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub plan_attempt: u32,
    /// Uploaded outputs. Their indexes are what this node has completed; disjoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// Number of indexes in `segments`.
    #[serde(default)]
    pub succeeded: u64,
    /// Failed attempts, grouped by what happened. At most `FAILURE_GROUPS_MAX` groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Indexes that were recalled after they had started: they will be finished and reported.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub retained: IndexSet,
    /// What runs now; at most one entry a slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<Running>,
    /// Targets found, for a task that searches.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub found: IndexSet,
    /// Answer to `spec.merge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeReport>,
    /// Attempts at indexes that ended here, whatever their outcome.
    #[serde(default)]
    pub started: u64,
    /// Subtasks a second and slot, a weighted average; 0 until the first has ended.
    #[serde(default)]
    pub rate: f64,
    /// Slot-seconds spent executing.
    #[serde(default)]
    pub busy_seconds: f64,
}

/// Answer to the plan call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PlanReport {
    /// It answered.
    Layout(Layout),
    /// It failed.
    Failed(CallFailure),
}

/// Answer to the merge call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MergeReport {
    /// The order's attempt that this answers.
    pub attempt: u32,
    /// The uploaded result, when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,
    /// Why not, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<CallFailure>,
}

/// How a plan or merge call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallFailure {
    /// The kind of failure.
    pub outcome: FailureOutcome,
    /// For a person.
    pub message: String,
    /// What the call logged before it failed; at most `LOG_BYTES_MAX`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
}

/// One uploaded segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// Artifact with the outputs, in the format of `schemas::segment`.
    pub digest: Digest,
    /// Bytes of that artifact.
    pub size: u64,
    /// Indexes whose outputs it holds.
    pub indexes: IndexSet,
    /// Artifact with the logs of those indexes that logged anything, in the same format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Digest>,
}

/// Attempts that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which attempt it was.
    pub attempt: u32,
    /// The kind of failure.
    pub outcome: FailureOutcome,
    /// For a person; the panic text or the task's own error.
    pub message: String,
    /// The indexes it happened to.
    pub indexes: IndexSet,
    /// Artifact with the logs of those that logged anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Digest>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureOutcome {
    /// The guest trapped or panicked.
    Trap,
    /// It asked for more memory than its limit.
    OutOfMemory,
    /// It ran beyond its time limit.
    Timeout,
    /// The task answered `retryable`.
    TaskErrorRetryable,
    /// The task answered `permanent`.
    TaskErrorPermanent,
    /// Its output or report broke the contract (too large, a target beyond the goal).
    InvalidOutput,
    /// The executor process died under it.
    ExecutorLost,
    /// The node could not set the call up: the component or an input could not be fetched or compiled.
    SetupFailed,
}

impl FailureOutcome {
    /// False when another attempt cannot end differently.
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::TaskErrorPermanent)
    }
}

/// One index that runs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The index.
    pub index: u64,
    /// Which attempt it is.
    pub attempt: u32,
    /// When it started, by the node's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// What the guest said of its progress: done and total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a running subtask has come, in the guest's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Done so far.
    pub done: u64,
    /// All there is to do.
    pub total: u64,
}

/// A first try is not written down.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(attempt: &u32) -> bool {
    *attempt == 0
}

impl AssignmentStatus {
    /// Indexes whose output this node has uploaded.
    pub fn completed(&self) -> IndexSet {
        IndexSet::join(self.segments.iter().map(|segment| &segment.indexes))
    }
}

impl AssignmentSpec {
    /// Checks of which the delivered output is at hand.
    pub fn checkable(&self) -> IndexSet {
        &self.checks & &IndexSet::join(self.check_parts.iter().map(|part| &part.indexes))
    }

    /// All indexes that are granted, whatever their attempt.
    pub fn granted(&self) -> IndexSet {
        IndexSet::join(self.grants.iter().map(|grant| &grant.indexes))
    }
}
