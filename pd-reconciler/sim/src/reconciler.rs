//! One simulated reconciler: its caches, and the plan that it is carrying out. Written after `pd-reconciler`'s
//! observe, execute and controller; what to do is decided by the real `plan`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use pd_plan::{History, JobFacts, Memory, NodeFacts, NodeMemory, Plan, Silence, Snapshot};
use schemas::{Assignment, Job, validation};

use crate::{
    events::Micros,
    kubelet::Kubelet,
    network::Line,
    server::{Gone, NodeObject, Object, Request},
    world::{is_over, time_of},
};

/// One reconciler.
#[derive(Debug)]
pub(crate) struct Reconciler {
    pub(crate) line: Line,
    pub(crate) is_alive: bool,
    /// Since when it listens to leases without a gap.
    pub(crate) listening_since: Option<Micros>,
    pub(crate) is_synced: bool,
    /// The plan could come out differently than the last time.
    pub(crate) is_stale: bool,
    /// A plan is due already.
    pub(crate) is_due: bool,
    /// Tells the wake-up that counts from earlier ones.
    pub(crate) wakes: u64,
    /// When to plan again although nothing has changed, even if every node is heard of.
    pub(crate) wake_at: Option<Micros>,
    /// How silent the nodes were when the last plan was made.
    pub(crate) silence: Silence,
    /// When that may be otherwise.
    pub(crate) silent_at: Option<Micros>,
    pub(crate) rounds: u64,
    pub(crate) round: Option<Round>,
    pub(crate) failures: u32,
    pub(crate) jobs: BTreeMap<String, Arc<Job>>,
    /// By job UID, then by name.
    pub(crate) assignments: BTreeMap<String, BTreeMap<String, Arc<Assignment>>>,
    pub(crate) nodes: BTreeMap<String, Arc<NodeObject>>,
    pub(crate) seen: BTreeMap<String, Timestamp>,
    memories: BTreeMap<String, Memory>,
    node_memories: BTreeMap<String, NodeMemory>,
    history: History,
    /// Jobs that are over and of which nothing is left to do.
    pub(crate) aside: BTreeSet<String>,
    /// UIDs of what is deleted: the answer to an earlier write must not bring it back.
    gone: BTreeSet<String>,
}

/// A plan that is being carried out.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) number: u64,
    /// What waits until everything that takes work away is written.
    pub(crate) second: Vec<Request>,
    /// UIDs of the jobs and nodes that the writes under way are about.
    pub(crate) subjects: Vec<String>,
    pub(crate) open: usize,
    /// Of what a write failed: nothing else of it is written.
    pub(crate) spoilt: BTreeSet<String>,
    pub(crate) has_written: bool,
    pub(crate) conflicts: u32,
    pub(crate) failures: u32,
}

impl Reconciler {
    pub(crate) fn new(line: Line) -> Self {
        Self {
            line,
            is_alive: false,
            listening_since: None,
            is_synced: false,
            is_stale: false,
            is_due: false,
            wakes: 0,
            wake_at: None,
            silence: Silence::default(),
            silent_at: None,
            rounds: 0,
            round: None,
            failures: 0,
            jobs: BTreeMap::new(),
            assignments: BTreeMap::new(),
            nodes: BTreeMap::new(),
            seen: BTreeMap::new(),
            memories: BTreeMap::new(),
            node_memories: BTreeMap::new(),
            history: History::default(),
            aside: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Takes an object in, unless a newer one is known. True when it was news.
    pub(crate) fn take(&mut self, object: Object, now: Micros) -> bool {
        if self.is_gone(&object) {
            return false;
        }
        let version = object.version();
        let is_newer = |old: Option<Object>| old.is_none_or(|old| old.version() < version);
        match object {
            Object::Job(job) => {
                let uid = job.metadata.uid.clone().unwrap_or_default();
                if !is_newer(self.jobs.get(&uid).cloned().map(Object::Job)) {
                    return false;
                }
                self.aside.remove(&uid);
                self.jobs.insert(uid, job);
            }
            Object::Assignment(assignment) => {
                let name = assignment.metadata.name.clone().unwrap_or_default();
                let group = self.assignments.entry(assignment.spec.job.uid.clone()).or_default();
                if !is_newer(group.get(&name).cloned().map(Object::Assignment)) {
                    return false;
                }
                self.aside.remove(&assignment.spec.job.uid);
                group.insert(name, assignment);
            }
            Object::Node(node) => {
                if !is_newer(self.nodes.get(&node.name).cloned().map(Object::Node)) {
                    return false;
                }
                self.seen.entry(node.uid.clone()).or_insert_with(|| time_of(now));
                self.nodes.insert(node.name.clone(), node);
            }
            Object::Gone(gone) => self.drop_gone(gone),
        }
        true
    }

    fn is_gone(&self, object: &Object) -> bool {
        let uid = match object {
            Object::Job(job) => job.metadata.uid.as_ref(),
            Object::Assignment(assignment) => assignment.metadata.uid.as_ref(),
            Object::Node(_) => None,
            Object::Gone(Gone::Job(uid) | Gone::Assignment { uid, .. }) => Some(uid),
        };
        uid.is_some_and(|uid| self.gone.contains(uid))
    }

    fn drop_gone(&mut self, gone: Gone) {
        match gone {
            Gone::Job(uid) => {
                self.jobs.remove(&uid);
                self.memories.remove(&uid);
                self.aside.remove(&uid);
                self.gone.insert(uid);
            }
            Gone::Assignment { uid, job, .. } => {
                if let Some(group) = self.assignments.get_mut(&job) {
                    group.retain(|_, assignment| assignment.metadata.uid.as_ref() != Some(&uid));
                }
                self.gone.insert(uid);
            }
        }
    }

    /// Drops what a whole list of that revision does not hold.
    pub(crate) fn keep_listed(&mut self, objects: &[Object], version: u64) {
        let listed: BTreeSet<&str> = objects.iter().filter_map(uid_of).collect();
        let is_there = |uid: Option<&str>, at: u64| at > version || uid.is_some_and(|uid| listed.contains(uid));
        self.jobs.retain(|uid, job| is_there(Some(uid), Object::Job(Arc::clone(job)).version()));
        for group in self.assignments.values_mut() {
            let at = |assignment: &Arc<Assignment>| Object::Assignment(Arc::clone(assignment)).version();
            group.retain(|_, assignment| is_there(assignment.metadata.uid.as_deref(), at(assignment)));
        }
    }

    /// What the plan reads.
    pub(crate) fn snapshot(&self, kubelets: &[Kubelet], now: Micros) -> Snapshot {
        let open = self.jobs.iter().filter(|(uid, _)| !self.aside.contains(*uid));
        let jobs = open.map(|(uid, job)| JobFacts {
            job: Arc::clone(job),
            assignments: self.assignments.get(uid).map(|group| group.values().cloned().collect()).unwrap_or_default(),
            memory: self.memories.get(uid).cloned().unwrap_or_default(),
        });
        Snapshot {
            jobs: jobs.collect(),
            finished: self.depended_on(),
            history: self.history.clone(),
            node_memories: self.node_memories.clone(),
            ..self.nodes_heard(kubelets, now)
        }
    }

    /// The jobs that are over and that an open one depends on.
    fn depended_on(&self) -> Vec<Arc<Job>> {
        let open = self.jobs.values().filter(|job| !is_over(job));
        let names: BTreeSet<&str> = open.flat_map(|job| validation::dependencies(&job.spec)).collect();
        let is_named = |job: &&Arc<Job>| job.metadata.name.as_deref().is_some_and(|name| names.contains(name));
        self.jobs.values().filter(|job| is_over(job)).filter(is_named).cloned().collect()
    }

    /// The part of it that changes by itself: what is heard of the nodes.
    pub(crate) fn nodes_heard(&self, kubelets: &[Kubelet], now: Micros) -> Snapshot {
        Snapshot {
            watching_since: self.listening_since.map(time_of),
            nodes: self.nodes.values().map(|node| self.facts(node, kubelets, now)).collect(),
            ..Snapshot::default()
        }
    }

    fn facts(&self, node: &NodeObject, kubelets: &[Kubelet], now: Micros) -> NodeFacts {
        let heard = kubelets[node.number].heard(node.number, now);
        // A renewal is seen as a change, so the first that counts is one since we listen.
        let heard = heard.filter(|heard| self.listening_since.is_some_and(|since| *heard >= since));
        NodeFacts {
            name: node.name.clone(),
            uid: node.uid.clone(),
            labels: node.labels.clone(),
            taints: node.taints.clone(),
            slots: node.slots,
            ready: node.ready,
            idle_reason: node.idle_reason.clone(),
            schedulable: node.schedulable,
            draining: node.draining,
            seen: self.seen.get(&node.uid).copied().unwrap_or_else(|| time_of(now)),
            heard: heard.map(time_of),
        }
    }

    /// Keeps what the plan wants remembered.
    pub(crate) fn remember(&mut self, plan: &mut Plan) {
        self.memories.append(&mut plan.memories);
        self.node_memories = std::mem::take(&mut plan.node_memories);
        self.history = std::mem::take(&mut plan.history);
    }

    /// Sets aside what is over and of which the plan wants nothing.
    pub(crate) fn set_aside(&mut self, busy: &BTreeSet<String>) {
        let over = self.jobs.iter().filter(|(uid, job)| is_over(job) && !busy.contains(*uid));
        let over: Vec<String> = over.map(|(uid, _)| uid.clone()).collect();
        self.aside.extend(over);
    }
}

/// UID of a job or an assignment.
fn uid_of(object: &Object) -> Option<&str> {
    match object {
        Object::Job(job) => job.metadata.uid.as_deref(),
        Object::Assignment(assignment) => assignment.metadata.uid.as_deref(),
        Object::Node(_) | Object::Gone(_) => None,
    }
}
