//! Snapshot: all that the plan knows. Observed by the shell, never fetched on the way.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use schemas::{Assignment, IndexSet, Job};

/// The cluster at one moment, as the reconciler has seen it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Since when leases are watched without a gap; none while they are not: then nobody's silence counts.
    pub watching_since: Option<Timestamp>,
    /// The nodes, in any order.
    pub nodes: Vec<NodeFacts>,
    /// The jobs that are not known to be over, in any order.
    pub jobs: Vec<JobFacts>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// UID of the Node object: a node that joined anew is another one.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many subtasks it runs at once.
    pub slots: u32,
    /// Its Ready condition.
    pub ready: Readiness,
    /// False when it is cordoned or carries a taint that keeps work away.
    pub schedulable: bool,
    /// True when what it has not started should go elsewhere.
    pub draining: bool,
    /// When we first saw the node.
    pub seen: Timestamp,
    /// When we last saw its lease renewed, by our own clock; none since we started.
    pub heard: Option<Timestamp>,
}

/// The Ready condition of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// True: the kubelet takes work.
    True,
    /// False: the kubelet said that it does not.
    False,
    /// Unknown: we said that it is lost.
    Unknown,
    /// The kubelet has not said anything yet.
    Absent,
}

/// One job with its assignments.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// The job.
    pub job: Arc<Job>,
    /// The assignments whose spec names this job's UID, in any order.
    pub assignments: Vec<Arc<Assignment>>,
    /// What the last plan wanted remembered of it; empty after a restart.
    pub memory: Memory,
}

/// What the plan wants remembered of a job until the next plan. Losing it costs at most one retry delay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Failed attempts that wait for their retry, in the order they were first seen.
    pub failed: Vec<Cohort>,
    /// Attempt of a failed merge and when its failure was first seen.
    pub merge_failed: Option<(u32, Timestamp)>,
    /// When a status write was last ordered.
    pub status_ordered: Option<Timestamp>,
}

/// Indexes whose failure was first seen at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cohort {
    /// The attempt that failed.
    pub attempt: u32,
    /// When that was first seen.
    pub seen: Timestamp,
    /// The indexes.
    pub indexes: IndexSet,
}
