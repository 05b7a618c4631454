//! Snapshot: all that the plan knows. Observed by the shell, never fetched on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use schemas::{Assignment, CachedResult, Digest, IndexSet, Job};

use crate::{efficiency::Losses, eta::Pace, rates::History};

/// The cluster at one moment, as the reconciler has seen it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Since when leases are watched without a gap; none while they are not: then nobody's silence counts.
    pub watching_since: Option<Timestamp>,
    /// The nodes, in any order.
    pub nodes: Vec<NodeFacts>,
    /// The jobs that are not known to be over, in any order.
    pub jobs: Vec<JobFacts>,
    /// What the last plan knew of earlier jobs' rates; empty after a restart.
    pub history: History,
    /// The queues, in any order. One that is not here and is not called `default` does not exist.
    pub queues: Vec<QueueFacts>,
    /// Jobs that are over and that a job of `jobs` depends on, in any order.
    pub finished: Vec<Arc<Job>>,
    /// By node UID: what the last plan wanted remembered; empty after a restart.
    pub node_memories: BTreeMap<String, NodeMemory>,
    /// Drawn by the shell: decides which indexes of a job are sampled, and no node knows it.
    pub sample_seed: u64,
    /// What jobs that have ended left for others. Shared by the snapshots that follow each other.
    pub cache: Arc<CacheFacts>,
}

/// Namespace and name of a CachedResult.
pub type CacheKey = (String, String);

/// All CachedResults, with what is asked of all of them together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheFacts {
    entries: BTreeMap<CacheKey, Arc<CachedResult>>,
    /// Those that name artifacts which are gone.
    broken: BTreeSet<CacheKey>,
    bytes: u64,
    oldest: Option<Timestamp>,
}

impl CacheFacts {
    /// Of all CachedResults, `broken` ones among them.
    pub fn new(entries: BTreeMap<CacheKey, Arc<CachedResult>>, broken: BTreeSet<CacheKey>) -> Self {
        let bytes = entries.values().map(|entry| entry.spec.bytes).fold(0, u64::saturating_add);
        let oldest = entries.values().map(|entry| entry.spec.last_used).min();
        Self { entries, broken, bytes, oldest }
    }

    /// All of them.
    pub fn entries(&self) -> &BTreeMap<CacheKey, Arc<CachedResult>> {
        &self.entries
    }

    /// Those that name artifacts which are gone.
    pub fn broken(&self) -> &BTreeSet<CacheKey> {
        &self.broken
    }

    /// The one of that name, if its artifacts are there as far as we know.
    pub(crate) fn whole(&self, key: &CacheKey) -> Option<&Arc<CachedResult>> {
        self.entries.get(key).filter(|_| !self.broken.contains(key))
    }

    pub(crate) fn is_broken(&self, entry: &CachedResult) -> bool {
        let meta = &entry.metadata;
        let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        self.broken.contains(&key)
    }

    pub(crate) fn has_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Bytes that all of them name.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the one was used that was not used for longest.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    /// Its name.
    pub name: String,
    /// Its share against the others.
    pub weight: u32,
    /// Most slots in use at once.
    pub slots: Option<u32>,
    /// Most jobs that have begun and not ended.
    pub jobs: Option<u32>,
}

impl QueueFacts {
    /// The queue that need not exist.
    pub(crate) fn implied() -> Self {
        Self { name: schemas::queue::DEFAULT.to_owned(), weight: 1, slots: None, jobs: None }
    }
}

/// What the plan wants remembered of a node until the next plan. Losing it delays an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeMemory {
    /// Why it has nothing to do; none: it has.
    pub idle: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// False when it is cordoned.
    pub schedulable: bool,
    /// What keeps away the jobs that do not tolerate it.
    pub taints: Vec<Taint>,
    /// True when what it has not started should go elsewhere.
    pub draining: bool,
    /// When we first saw the node.
    pub seen: Timestamp,
    /// When we last saw its lease renewed, by our own clock; none since we started.
    pub heard: Option<Timestamp>,
    /// Why it is idle, as its annotation says.
    pub idle_reason: Option<String>,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; empty for none.
    pub value: String,
    /// What it does to a job that does not tolerate it.
    pub effect: Effect,
}

/// What a taint does to a job that does not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing new of it is given to the node.
    NoSchedule,
    /// The node is the last choice.
    PreferNoSchedule,
    /// What the node has of it goes elsewhere, at once.
    NoExecute,
}

impl Effect {
    /// As Kubernetes spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// The Ready condition of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// True: the kubelet takes work.
    True,
    /// False: the kubelet said that it does not.
    False,
    /// Unknown: we said that it is lost.
    Unknown,
    /// The kubelet has not said anything yet.
    #[default]
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

/// What the plan wants remembered of a job until the next plan. Losing it costs at most one retry delay, and
/// the attribution of what was lost before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Failed attempts that wait for their retry, in the order they were first seen.
    pub failed: Vec<Cohort>,
    /// Attempt of a failed merge and when its failure was first seen.
    pub merge_failed: Option<(u32, Timestamp)>,
    /// Number of failed plan calls and when the last failure was first seen.
    pub plan_failed: Option<(u32, Timestamp)>,
    /// When a status write was last ordered.
    pub status_ordered: Option<Timestamp>,
    /// By node UID: how far it was when it last came on.
    pub progress: BTreeMap<String, Progress>,
    /// Where slot-seconds went.
    pub losses: Losses,
    /// What its indexes have cost.
    pub pace: Pace,
    /// What comparisons of outputs have shown, for segments that are still there. The shell adds the answers.
    pub compared: Vec<Compared>,
}

/// What a comparison of two segments has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// One segment.
    pub left: Digest,
    /// The other.
    pub right: Digest,
    /// Indexes at which both have the same output.
    pub same: IndexSet,
    /// Indexes at which they have not.
    pub differ: IndexSet,
}

/// How far a node was when it last came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Attempts that had ended there.
    pub ended: u64,
    /// When we first saw that, with something left to do.
    pub since: Timestamp,
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
