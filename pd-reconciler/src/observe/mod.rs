//! Observe: from news to the snapshot that the plan reads. No request is made here.

mod shelf;
mod uptake;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use pd_plan::{
    CacheFacts, Compared, Effect, History, JobFacts, NodeFacts, NodeMemory, Plan, QueueFacts, Readiness, Snapshot,
    Taint, expires_at,
};
use schemas::{Assignment, CachedResult, Job, Queue, condition, job::conditions, validation, well_known};

pub(crate) use self::watch::{Observed, start};
use self::{
    shelf::{Key, Shelf, key},
    uptake::Uptake,
};
use crate::metrics::Census;

/// Taint by which `pdctl drain` asks for what a node has not started.
const TAINT_DRAIN: &str = "processdistro.dev/drain";

/// Everything observed so far, and the parts of the last snapshot: a plan a few times a second over a thousand nodes
/// cannot afford to make them all anew.
#[derive(Default)]
pub(crate) struct View {
    jobs: Shelf<Job>,
    assignments: Shelf<Assignment>,
    nodes: Shelf<Node>,
    queues: Shelf<Queue>,
    cached: Shelf<CachedResult>,
    /// CachedResults of which the API server said that their artifacts are gone.
    broken: BTreeSet<Key>,
    /// What the plan reads of the CachedResults; none when it has to be made anew.
    cache: Option<Arc<CacheFacts>>,
    leases: Leases,
    /// When each node, by UID, was first seen.
    seen: BTreeMap<String, Timestamp>,
    /// The assignments by their job's UID.
    by_job: BTreeMap<String, BTreeMap<Key, Arc<Assignment>>>,
    /// What the plan reads of each open job, by UID; away while a plan is being made.
    open: BTreeMap<String, JobFacts>,
    /// UIDs of jobs that changed, or whose assignments did, since the last snapshot.
    changed_jobs: BTreeSet<String>,
    /// What the plan reads of the nodes; empty when it has to be made anew, and while a plan is being made.
    node_facts: Vec<NodeFacts>,
    /// What the last plan knew of earlier jobs' rates.
    history: History,
    /// What the last plan wanted remembered of the nodes.
    node_memories: BTreeMap<String, NodeMemory>,
    /// UIDs of jobs that are set aside and when they go.
    expiring: BTreeMap<String, Timestamp>,
    /// Drawn at the start: decides which indexes are sampled, so that no node can know it.
    sample_seed: u64,
    /// When the last snapshot was made.
    looked_at: Timestamp,
    /// Subtasks that succeeded and failed by what we wrote since this was last asked.
    finished: (u64, u64),
    /// How long nodes take to see what is written for them.
    uptake: Uptake,
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
    CachedResult(Box<CachedResult>),
    /// What a comparison of outputs of a job has shown.
    Compared {
        job_uid: String,
        compared: Compared,
    },
    /// It was deleted.
    NoCachedResult(Arc<CachedResult>),
    /// It was deleted.
    NoAssignment(Box<Assignment>),
    /// It was deleted.
    NoJob(Arc<Job>),
}

impl View {
    /// One that samples by a number of its own.
    pub(crate) fn new() -> Self {
        let sample_seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Self { sample_seed, ..Self::default() }
    }

    /// True once everything was listed once: before that absence means nothing.
    pub(crate) fn is_synced(&self) -> bool {
        let objects = self.jobs.is_synced() && self.assignments.is_synced();
        objects && self.nodes.is_synced() && self.queues.is_synced() && self.cached.is_synced()
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
                self.meet_jobs(&changed);
                !changed.is_empty()
            }
            Observed::Assignment(event) => {
                let changed = self.assignments.take(*event);
                self.meet_assignments(&changed);
                !changed.is_empty()
            }
            Observed::Node(event) => {
                let changed = self.nodes.take(*event);
                self.meet_nodes(&changed, now);
                !changed.is_empty()
            }
            Observed::Queue(event) => !self.queues.take(*event).is_empty(),
            // No plan waits for one: whoever could use it has begun by now.
            Observed::CachedResult(event) => {
                let changed = self.cached.take(*event);
                self.meet_cached(&changed);
                false
            }
            Observed::Leases(at, leases) => self.leases.listed(at, leases, lost_after, &self.nodes),
            Observed::NoLeases => {
                self.leases.broken();
                false
            }
            Observed::Expired => {
                *self = Self::default();
                false
            }
        };
        is_news || was_synced != self.is_synced()
    }

    /// Takes the answer to a write of ours in, before the watch brings it.
    pub(crate) fn wrote(&mut self, written: Written) {
        match written {
            Written::Job(job) => {
                let (namespace, name) = key(&*job);
                let before = self.jobs.get(&namespace, &name).map_or((0, 0), |old| ended(old));
                let (succeeded, failed) = ended(&job);
                self.finished.0 += succeeded.saturating_sub(before.0);
                self.finished.1 += failed.saturating_sub(before.1);
                let changed = self.jobs.put(*job);
                self.meet_jobs(&changed);
            }
            Written::Assignment(assignment) => {
                self.uptake.wrote(&assignment, Instant::now());
                let changed = self.assignments.put(*assignment);
                self.meet_assignments(&changed);
            }
            Written::Node(node) => {
                let changed = self.nodes.put(*node);
                if !changed.is_empty() {
                    self.node_facts.clear();
                }
            }
            Written::CachedResult(entry) => {
                let changed = self.cached.put(*entry);
                self.meet_cached(&changed);
            }
            Written::Compared { job_uid, compared } => {
                if let Some(facts) = self.open.get_mut(&job_uid) {
                    facts.memory.compared.push(compared);
                }
            }
            Written::NoCachedResult(entry) => {
                let gone = self.cached.forget(&entry);
                self.meet_cached(&gone);
            }
            Written::NoAssignment(assignment) => {
                let gone = self.assignments.forget(&assignment);
                self.meet_assignments(&gone);
            }
            Written::NoJob(job) => {
                let gone = self.jobs.forget(&job);
                self.meet_jobs(&gone);
            }
        }
    }

    /// Takes in that the artifacts of a CachedResult are gone. True when that is news.
    pub(crate) fn found_broken(&mut self, entry: &CachedResult) -> bool {
        self.cache = None;
        self.broken.insert(key(entry))
    }

    /// What was written anew is whole again; what is gone is not broken any more.
    fn meet_cached(&mut self, changed: &[Arc<CachedResult>]) {
        for entry in changed {
            self.cache = None;
            self.broken.remove(&key(&**entry));
        }
    }

    /// What the plan reads of the CachedResults.
    fn cache(&mut self) -> Arc<CacheFacts> {
        let made = || Arc::new(CacheFacts::new(self.cached.objects().clone(), self.broken.clone()));
        Arc::clone(self.cache.get_or_insert_with(made))
    }

    fn meet_jobs(&mut self, changed: &[Arc<Job>]) {
        self.changed_jobs.extend(changed.iter().filter_map(|job| job.metadata.uid.clone()));
    }

    /// Keeps the assignments sorted by their jobs. What changed may be what is gone.
    fn meet_assignments(&mut self, changed: &[Arc<Assignment>]) {
        let now = Instant::now();
        for assignment in changed {
            let (key, uid) = (key(&**assignment), &assignment.spec.job.uid);
            self.uptake.saw(&key, self.assignments.get(&key.0, &key.1).map(|current| &**current), now);
            if let Some(group) = self.by_job.get_mut(uid) {
                group.remove(&key);
                if group.is_empty() {
                    self.by_job.remove(uid);
                }
            }
            self.changed_jobs.insert(uid.clone());
            if let Some(current) = self.assignments.get(&key.0, &key.1) {
                let uid = current.spec.job.uid.clone();
                self.by_job.entry(uid.clone()).or_default().insert(key, Arc::clone(current));
                self.changed_jobs.insert(uid);
            }
        }
    }

    /// Keeps the moment at which each node was first seen.
    fn meet_nodes(&mut self, changed: &[Arc<Node>], now: Timestamp) {
        if changed.is_empty() {
            return;
        }
        self.node_facts.clear();
        for uid in changed.iter().filter_map(|node| node.metadata.uid.clone()) {
            self.seen.entry(uid).or_insert(now);
        }
        let nodes: BTreeSet<&str> = self.nodes.values().filter_map(|node| node.metadata.uid.as_deref()).collect();
        self.seen.retain(|uid, _| nodes.contains(uid.as_str()));
    }

    /// What the plan reads. It has to come back by `remember` before the next one is asked for.
    pub(crate) fn snapshot(&mut self, now: Timestamp, lost_after: Duration) -> Snapshot {
        self.looked_at = now;
        let expired = self.expiring.extract_if(.., |_, at| *at <= now).map(|(uid, _)| uid);
        self.changed_jobs.extend(expired);
        self.open_changed();
        if self.node_facts.is_empty() {
            self.node_facts = self.nodes.values().filter_map(|node| self.facts(node, now)).collect();
        }
        let mut nodes = std::mem::take(&mut self.node_facts);
        for facts in &mut nodes {
            facts.heard = self.leases.heard(&facts.name);
        }
        let finished = self.depended_on();
        Snapshot {
            cache: self.cache(),
            sample_seed: self.sample_seed,
            watching_since: self.leases.watching_since(now, lost_after),
            nodes,
            jobs: std::mem::take(&mut self.open).into_values().collect(),
            history: std::mem::take(&mut self.history),
            queues: self.queues.values().filter_map(|queue| queue_facts(queue)).collect(),
            finished,
            node_memories: std::mem::take(&mut self.node_memories),
        }
    }

    /// The jobs that are over and that an open one depends on.
    fn depended_on(&self) -> Vec<Arc<Job>> {
        let mut found: BTreeMap<Key, Arc<Job>> = BTreeMap::new();
        for facts in self.open.values().filter(|facts| !is_over(&facts.job)) {
            let namespace = facts.job.metadata.namespace.clone().unwrap_or_default();
            for name in validation::dependencies(&facts.job.spec) {
                let job = self.jobs.get(&namespace, name);
                if let Some(job) = job.filter(|job| is_over(job)) {
                    found.insert((namespace.clone(), name.to_owned()), Arc::clone(job));
                }
            }
        }
        found.into_values().collect()
    }

    /// When a job that is set aside goes.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiring.values().min().copied()
    }

    /// Makes the facts of the jobs that changed anew. A job that is over is looked at again when something of it
    /// changes, and set aside again when there is nothing to do.
    fn open_changed(&mut self) {
        if self.changed_jobs.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed_jobs);
        let known = self.jobs.values().filter_map(|job| Some((job.metadata.uid.as_deref()?, job)));
        let known: BTreeMap<&str, &Arc<Job>> = known.filter(|(uid, _)| changed.contains(*uid)).collect();
        for uid in &changed {
            let Some(job) = known.get(uid.as_str()) else {
                self.open.remove(uid);
                continue;
            };
            let memory = self.open.remove(uid).map(|facts| facts.memory).unwrap_or_default();
            let assignments = self.by_job.get(uid).map(|group| group.values().cloned().collect());
            let facts = JobFacts { job: Arc::clone(job), assignments: assignments.unwrap_or_default(), memory };
            self.open.insert(uid.clone(), facts);
        }
    }

    fn facts(&self, node: &Node, now: Timestamp) -> Option<NodeFacts> {
        let meta = &node.metadata;
        let (name, uid) = (meta.name.clone()?, meta.uid.clone()?);
        let (spec, annotations) = (node.spec.as_ref(), meta.annotations.as_ref());
        let taints = || spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let is_cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        Some(NodeFacts {
            labels: meta.labels.clone().unwrap_or_default(),
            slots: slots(node),
            ready: readiness(node),
            schedulable: !is_cordoned && meta.deletion_timestamp.is_none(),
            draining: taints().any(|taint| taint.key == TAINT_DRAIN),
            taints: taints().filter(|taint| taint.key != TAINT_DRAIN).filter_map(taint_facts).collect(),
            idle_reason: annotations.and_then(|all| all.get(well_known::ANNOTATION_IDLE_REASON)).cloned(),
            seen: self.seen.get(&uid).copied().unwrap_or(now),
            heard: self.leases.heard(&name),
            name,
            uid,
        })
    }

    /// Takes the snapshot back, keeps what the plan wants remembered, and sets jobs aside that are over.
    pub(crate) fn remember(&mut self, snapshot: Snapshot, plan: &mut Plan) {
        let busy: BTreeSet<&str> = plan.actions.iter().filter_map(pd_plan::Action::uid).collect();
        for mut facts in snapshot.jobs {
            let uid = facts.job.metadata.uid.clone().unwrap_or_default();
            // One whose time is over and that stays nevertheless is looked at each time.
            let expiry = expires_at(&facts.job);
            let is_overdue = expiry.is_some_and(|at| at <= self.looked_at);
            if is_over(&facts.job) && !busy.contains(uid.as_str()) && !is_overdue {
                self.expiring.extend(expiry.map(|at| (uid, at)));
                continue;
            }
            facts.memory = plan.memories.remove(&uid).unwrap_or_default();
            self.open.insert(uid, facts);
        }
        self.node_facts = snapshot.nodes;
        self.history = std::mem::take(&mut plan.history);
        self.node_memories = std::mem::take(&mut plan.node_memories);
    }

    /// True when the plan reads of this job.
    pub(crate) fn is_open(&self, job_uid: &str) -> bool {
        self.open.contains_key(job_uid)
    }

    /// What there is, for metrics.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for job in self.jobs.values() {
            let state = job.status.as_ref().and_then(|status| status.state.as_deref());
            *census.jobs.entry(state.unwrap_or("New").to_owned()).or_default() += 1;
            if let Some(status) = job.status.as_ref().filter(|_| !is_over(job)) {
                census.pending = census.pending.saturating_add_unsigned(status.subtasks.pending);
                census.running = census.running.saturating_add_unsigned(status.subtasks.running);
            }
        }
        census.nodes = ["Ready", "NotReady", "Lost"].map(|state| (state.to_owned(), 0)).into();
        for node in self.nodes.values() {
            let state = match readiness(node) {
                Readiness::True => "Ready",
                Readiness::False | Readiness::Absent => "NotReady",
                Readiness::Unknown => "Lost",
            };
            *census.nodes.entry(state.to_owned()).or_default() += 1;
        }
        census.assignments = self.by_job.values().map(BTreeMap::len).sum::<usize>() as i64;
        census
    }

    /// How long nodes usually take to see what was written for them; zero while that is not known.
    pub(crate) fn usual_uptake(&self) -> Duration {
        self.uptake.usual()
    }

    /// How long nodes took to see what was written for them, since this was last asked.
    pub(crate) fn take_uptakes(&mut self) -> Vec<Duration> {
        self.uptake.take()
    }

    /// Subtasks that succeeded and failed by what we wrote since this was last asked.
    pub(crate) fn take_finished(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.finished)
    }
}

/// How many subtasks of a job have succeeded and failed.
fn ended(job: &Job) -> (u64, u64) {
    job.status.as_ref().map_or((0, 0), |status| (status.subtasks.succeeded, status.subtasks.failed))
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

/// What the plan reads of a queue.
fn queue_facts(queue: &Queue) -> Option<QueueFacts> {
    let quota = queue.spec.quota.unwrap_or_default();
    let name = queue.metadata.name.clone()?;
    Some(QueueFacts { name, weight: queue.spec.weight, slots: quota.slots, jobs: quota.jobs })
}

/// What the plan reads of a taint; none for an effect that Kubernetes does not know.
fn taint_facts(taint: &k8s_openapi::api::core::v1::Taint) -> Option<Taint> {
    let effects = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];
    let effect = effects.into_iter().find(|effect| effect.name() == taint.effect)?;
    Some(Taint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default(), effect })
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
