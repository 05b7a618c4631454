//! Queue: how the jobs of several users share the slots of the cluster.
//!
//! Cluster-scoped, as the nodes are: a queue's weight means something only beside the other queues of the same
//! machines, whatever namespaces their jobs are in.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The queue of the jobs that name none. It need not exist: then it has the default weight and no quota.
pub const DEFAULT: &str = "default";

/// What the jobs of a Queue may use.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "Queue",
    derive = "PartialEq",
    shortname = "pdq",
    category = "processdistro",
    doc = "A Queue gives the jobs that name it a weight against those of other queues, and a quota.",
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight"),
    printcolumn(name = "Slots", type_ = "integer", json_path = ".spec.quota.slots"),
    printcolumn(name = "Jobs", type_ = "integer", json_path = ".spec.quota.jobs"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// Its share of the slots against the queues that want some at the same time and priority: with weights 3
    /// and 1 it gets three slots of four. What a queue does not want goes to the others.
    #[serde(default = "defaults::weight")]
    #[schemars(range(min = 1))]
    pub weight: u32,
    /// What it may never go beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QueueQuota>,
}

/// What the jobs of a queue may use together, even while nobody else wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueQuota {
    /// Slots in use at once; absent: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub slots: Option<u32>,
    /// Jobs that have begun and not ended; absent: no such limit. Further ones wait, by priority and age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub jobs: Option<u32>,
}

/// Defaults of a Queue's spec.
pub mod defaults {
    /// As much as every other queue.
    pub const fn weight() -> u32 {
        1
    }
}
