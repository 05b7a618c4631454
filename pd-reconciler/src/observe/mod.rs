//! Observe: from news to the snapshot that the plan reads. No request is made here.

mod shelf;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use pd_plan::{JobFacts, Memory, NodeFacts, Plan, Readiness, Snapshot};
use schemas::{Assignment, Job, condition, job::conditions, well_known};

use self::shelf::Shelf;
pub(crate) use self::watch::{Observed, start};

/// Taint by which `pdctl drain` asks for what a node has not started.
const TAINT_DRAIN: &str = "processdistro.dev/drain";

/// Everything observed so far.
#[derive(Default)]
pub(crate) struct View {
    jobs: Shelf<Job>,
    assignments: Shelf<Assignment>,
    nodes: Shelf<Node>,
    leases: Leases,
    /// When each node, by UID, was first seen.
    seen: BTreeMap<String, Timestamp>,
    memories: BTreeMap<String, Memory>,
    /// UIDs of jobs that are over and for which nothing is left to do.
    settled: BTreeSet<String>,
}

/// Which leases were renewed when, by our clock.
#[derive(Default)]
struct Leases {
    /// By node name: the last renewTime, and when we saw it change; none before it first did.
    renewals: BTreeMap<String, (String, Option<Timestamp>)>,
    listed_at: Option<Timestamp>,
    since: Option<Timestamp>,
}

/// An object that we wrote, as the API server answered it.
pub(crate) enum Written {
    Job(Box<Job>),
    Assignment(Box<Assignment>),
    Node(Box<Node>),
}

impl View {
    /// True once everything was listed once: before that absence means nothing.
    pub(crate) fn is_synced(&self) -> bool {
        self.jobs.is_synced() && self.assignments.is_synced() && self.nodes.is_synced()
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get("", name)
    }

    /// Takes news in; true when the plan could come out differently.
    pub(crate) fn take(&mut self, observed: Observed, now: Timestamp, lost_after: Duration) -> bool {
        let was_synced = self.is_synced();
        let is_news = match observed {
            Observed::Job(event) => {
                let changed = self.jobs.take(*event);
                self.unsettle(changed.iter().filter_map(|job| job.metadata.uid.as_deref()))
            }
            Observed::Assignment(event) => {
                let changed = self.assignments.take(*event);
                self.unsettle(changed.iter().map(|assignment| assignment.spec.job.uid.as_str()))
            }
            Observed::Node(event) => {
                let changed = self.nodes.take(*event);
                self.meet(&changed, now);
                !changed.is_empty()
            }
            Observed::Leases(at, leases) => self.leases.listed(at, leases, lost_after, &self.nodes),
            Observed::NoLeases => {
                self.leases.broken();
                false
            }
        };
        is_news || was_synced != self.is_synced()
    }

    /// Takes the answer to a write of ours in, before the watch brings it.
    pub(crate) fn wrote(&mut self, written: Written) {
        match written {
            Written::Job(job) => {
                let changed = self.jobs.put(*job);
                self.unsettle(changed.iter().filter_map(|job| job.metadata.uid.as_deref()));
            }
            Written::Assignment(assignment) => {
                let changed = self.assignments.put(*assignment);
                self.unsettle(changed.iter().map(|assignment| assignment.spec.job.uid.as_str()));
            }
            Written::Node(node) => drop(self.nodes.put(*node)),
        }
    }

    /// Forgets what is known to be over about these jobs; true when there were any.
    fn unsettle<'a>(&mut self, uids: impl Iterator<Item = &'a str>) -> bool {
        let mut any = false;
        for uid in uids {
            self.settled.remove(uid);
            any = true;
        }
        any
    }

    /// Keeps the moment at which each node was first seen.
    fn meet(&mut self, changed: &[Arc<Node>], now: Timestamp) {
        for uid in changed.iter().filter_map(|node| node.metadata.uid.clone()) {
            self.seen.entry(uid).or_insert(now);
        }
        let nodes: BTreeSet<&str> = self.nodes.values().filter_map(|node| node.metadata.uid.as_deref()).collect();
        self.seen.retain(|uid, _| nodes.contains(uid.as_str()));
    }

    /// What the plan reads.
    pub(crate) fn snapshot(&self, now: Timestamp, lost_after: Duration) -> Snapshot {
        let uid_of = |job: &Job| job.metadata.uid.clone().unwrap_or_default();
        let open = self.jobs.values().filter(|job| !self.settled.contains(&uid_of(job)));
        let mut jobs: BTreeMap<String, JobFacts> = open
            .map(|job| {
                let memory = self.memories.get(&uid_of(job)).cloned().unwrap_or_default();
                (uid_of(job), JobFacts { job: Arc::clone(job), assignments: vec![], memory })
            })
            .collect();
        for assignment in self.assignments.values() {
            if let Some(facts) = jobs.get_mut(&assignment.spec.job.uid) {
                facts.assignments.push(Arc::clone(assignment));
            }
        }
        Snapshot {
            watching_since: self.leases.watching_since(now, lost_after),
            nodes: self.nodes.values().filter_map(|node| self.facts(node, now)).collect(),
            jobs: jobs.into_values().collect(),
        }
    }

    fn facts(&self, node: &Node, now: Timestamp) -> Option<NodeFacts> {
        let meta = &node.metadata;
        let (name, uid) = (meta.name.clone()?, meta.uid.clone()?);
        let spec = node.spec.as_ref();
        let taints = || spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let keeps_away = taints().any(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
        let is_cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        Some(NodeFacts {
            labels: meta.labels.clone().unwrap_or_default(),
            slots: slots(node),
            ready: readiness(node),
            schedulable: !is_cordoned && !keeps_away && meta.deletion_timestamp.is_none(),
            draining: taints().any(|taint| taint.key == TAINT_DRAIN),
            seen: self.seen.get(&uid).copied().unwrap_or(now),
            heard: self.leases.heard(&name),
            name,
            uid,
        })
    }

    /// Keeps what the plan wants remembered, and sets jobs aside that are over.
    pub(crate) fn remember(&mut self, snapshot: &Snapshot, plan: &Plan) {
        self.memories.clone_from(&plan.memories);
        let busy: BTreeSet<&str> = plan.actions.iter().filter_map(pd_plan::Action::uid).collect();
        for facts in &snapshot.jobs {
            let uid = facts.job.metadata.uid.as_deref().unwrap_or_default();
            if is_over(&facts.job) && !busy.contains(uid) {
                self.settled.insert(uid.to_owned());
            }
        }
        if self.settled.len() > self.jobs.values().count() {
            let known: BTreeSet<&str> = self.jobs.values().filter_map(|job| job.metadata.uid.as_deref()).collect();
            self.settled.retain(|uid| known.contains(uid.as_str()));
        }
    }

    /// The state of every job, for metrics.
    pub(crate) fn states(&self) -> BTreeMap<String, i64> {
        let mut states = BTreeMap::new();
        for job in self.jobs.values() {
            let state = job.status.as_ref().and_then(|status| status.state.clone());
            *states.entry(state.unwrap_or_else(|| "New".into())).or_default() += 1;
        }
        states
    }
}

impl Leases {
    /// Takes a listing in; true when a node may be back.
    fn listed(
        &mut self,
        at: Timestamp,
        leases: Vec<(String, String)>,
        lost_after: Duration,
        nodes: &Shelf<Node>,
    ) -> bool {
        if self.watching_since(at, lost_after).is_none() {
            self.since = Some(at);
        }
        self.listed_at = Some(at);
        let mut is_news = false;
        let mut renewals = BTreeMap::new();
        for (name, renewed) in leases {
            let renewal = match self.renewals.remove(&name) {
                None => (renewed, None),
                Some((old, heard)) if old == renewed => (old, heard),
                Some(_) => {
                    is_news |= nodes.get("", &name).is_some_and(|node| readiness(node) != Readiness::True);
                    (renewed, Some(at))
                }
            };
            renewals.insert(name, renewal);
        }
        self.renewals = renewals;
        is_news
    }

    fn broken(&mut self) {
        self.listed_at = None;
        self.since = None;
    }

    /// Since when we listen without a gap that could hide a renewal.
    fn watching_since(&self, now: Timestamp, lost_after: Duration) -> Option<Timestamp> {
        let gap = now.duration_since(self.listed_at?).unsigned_abs();
        if gap > lost_after.mul_f64(0.6) { None } else { self.since }
    }

    fn heard(&self, node: &str) -> Option<Timestamp> {
        self.renewals.get(node)?.1
    }
}

/// True when the job is Complete or Failed.
fn is_over(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| {
        condition::is_true(&status.conditions, conditions::COMPLETE)
            || condition::is_true(&status.conditions, conditions::FAILED)
    })
}

/// How many subtasks the node runs at once.
fn slots(node: &Node) -> u32 {
    let status = node.status.as_ref();
    let quantity = |from: Option<&BTreeMap<String, _>>| -> Option<u32> {
        let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity =
            from?.get(well_known::RESOURCE_SLOTS)?;
        quantity.0.parse().ok()
    };
    let allocatable = quantity(status.and_then(|status| status.allocatable.as_ref()));
    allocatable.or_else(|| quantity(status.and_then(|status| status.capacity.as_ref()))).unwrap_or(0)
}

/// The node's Ready condition.
fn readiness(node: &Node) -> Readiness {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    match conditions.filter(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str()).next() {
        Some("True") => Readiness::True,
        Some("Unknown") => Readiness::Unknown,
        Some(_) => Readiness::False,
        None => Readiness::Absent,
    }
}

#[cfg(test)]
mod tests;
