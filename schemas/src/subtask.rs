//! Subtask: the view of one index. Computed from Job and Assignments on each read, never stored.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::assignment::{FailureOutcome, Progress};

/// Which index this is a view of. Named `<job>-<index>`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "Subtask",
    namespaced,
    status = "SubtaskStatus",
    derive = "PartialEq",
    shortname = "pds",
    doc = "A Subtask is the read-only view of one index of a Job.",
    selectable = ".status.phase",
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.job"),
    printcolumn(name = "Index", type_ = "integer", json_path = ".spec.index"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct SubtaskSpec {
    /// The job's name.
    pub job: String,
    /// The index.
    pub index: u64,
}

/// Where the index stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubtaskStatus {
    /// `Pending`, `Assigned`, `Running`, `Succeeded` or `Failed`.
    pub phase: Phase,
    /// The node that has it or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The newest attempt; 0 before the first.
    pub attempt: u32,
    /// When the running attempt started, by its node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
    /// What the running guest said of its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// How the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<FailureOutcome>,
    /// Its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where an index stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not given to a node, or waiting for a retry.
    #[default]
    Pending,
    /// Given to a node, not started as far as it has said.
    Assigned,
    /// Running on its node.
    Running,
    /// Its output was accepted.
    Succeeded,
    /// Out of retries.
    Failed,
}
