//! Invariants: what must hold after every step, whatever struck. Judged from what the server stores and what the
//! slots do, never from the plan's own notions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use pd_kubelet::sync::Stretch;
use pd_plan::{Action, Plan, Snapshot};
use schemas::{Assignment, Digest, IndexSet, Job, condition, job::conditions};

use crate::{
    events::Micros,
    kubelet::{Doing, Key, Kubelet, Run, Work},
    server::{Object, Request, Server},
    world::{Client, World, is_over},
};

/// Of that many plans that write, planning again is tried on one.
const REPLANNED: u64 = 4;
/// Further rounds until a plan may change nothing any more: withdrawing takes some.
const ROUNDS_MAX: usize = 3;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// An output that was reported, or an index that was accepted, is not any more.
    AcceptedStays,
    /// An accepted index is given out or begun again.
    AcceptedNeverReruns,
    /// An index counts that nobody delivered.
    OnlyDeliveredCounts,
    /// The counts of a status do not add up, or do not say what its sets say.
    CountsAddUp,
    /// The parts of a merge do not hold each index once.
    MergedOnce,
    /// A node runs more than it has slots.
    SlotsKept,
    /// Two nodes run one index, and not as victim and copy.
    OneOwner,
    /// A node begins something of an Assignment that it knows to be deleted.
    DeletedStops,
    /// More jobs of a queue have begun than its quota allows.
    QuotaKept,
    /// A report counts that another registration of the node made.
    ReportsFenced,
    /// A plan breaks what `pd_plan::invariants` checks.
    PlanSound,
    /// Planning on the result of a plan changes something.
    PlanRests,
    /// A job ended otherwise than its outcomes allow.
    RightEnd,
    /// A job did not end in time after the faults.
    EveryJobEnds,
}

/// A broken invariant.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When, in simulated time.
    pub at: Micros,
    /// Which.
    pub invariant: Invariant,
    /// With what.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken at {:.6} s: {}", self.invariant, self.at as f64 / 1e6, self.text)
    }
}

/// What the checks remember.
#[derive(Debug)]
pub(crate) struct Checks {
    found: Option<Violation>,
    /// False: only what the end of a run shows is checked.
    pub(crate) are_on: bool,
    /// One reconciler, never restarted, on a line that loses nothing: then nobody decides on old news.
    pub(crate) is_strict: bool,
    reconcilers: u32,
    plans: u64,
    /// By job UID: what any node ever delivered.
    delivered: BTreeMap<String, IndexSet>,
    /// By job UID: what failed at the last attempt that it has.
    exhausted: BTreeMap<String, IndexSet>,
    /// Every segment that was ever reported.
    segments: BTreeMap<Digest, IndexSet>,
    /// By number of the node: Assignments that it was told are deleted.
    pub(crate) dropped: BTreeSet<(usize, Key)>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            found: None,
            are_on: true,
            is_strict: true,
            reconcilers: 0,
            plans: 0,
            delivered: BTreeMap::new(),
            exhausted: BTreeMap::new(),
            segments: BTreeMap::new(),
            dropped: BTreeSet::new(),
        }
    }
}

/// What a write is about to replace.
pub(crate) enum Before {
    Nothing,
    Job(Arc<Job>),
    Assignment(Arc<Assignment>),
    /// A report, with the UID that the reporting node had when it sent it.
    Report(Arc<Assignment>, String),
}

impl Checks {
    /// The first violation.
    pub(crate) fn found(&mut self) -> Option<Violation> {
        self.found.take()
    }

    pub(crate) fn another_reconciler(&mut self) {
        self.reconcilers += 1;
        self.is_strict &= self.reconcilers == 1;
    }

    fn break_(&mut self, at: Micros, invariant: Invariant, text: impl FnOnce() -> String) {
        if self.found.is_none() {
            self.found = Some(Violation { at, invariant, text: text() });
        }
    }

    pub(crate) fn before(&self, server: &Server, request: &Request) -> Before {
        let assignment = |assignment: &Assignment| {
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            server.assignments.get(name).cloned().map_or(Before::Nothing, Before::Assignment)
        };
        match request {
            _ if !self.are_on => Before::Nothing,
            Request::CreateAssignment(_) | Request::NodeReady { .. } | Request::NodeIdle { .. } => Before::Nothing,
            Request::ReplaceAssignment(written) => assignment(written),
            Request::Report { assignment: written, status } => match assignment(written) {
                Before::Assignment(before) => Before::Report(before, status.node_uid.clone()),
                other => other,
            },
            Request::JobStatus { job, .. } => {
                let uid = job.metadata.uid.as_deref().unwrap_or_default();
                server.jobs.get(uid).cloned().map_or(Before::Nothing, Before::Job)
            }
        }
    }
}

impl World {
    /// After a write was stored.
    pub(crate) fn check_commit(&mut self, from: Client, before: Before, object: &Object) {
        if !self.checks.are_on {
            return;
        }
        match (before, object, from) {
            (Before::Report(before, node), Object::Assignment(after), _) => self.check_report(&node, &before, after),
            (Before::Assignment(before), Object::Assignment(after), _) => self.check_grants(Some(&before), after),
            (_, Object::Assignment(after), Client::Reconciler(_)) => self.check_grants(None, after),
            (Before::Job(before), Object::Job(after), _) => self.check_status(&before, after),
            _ => {}
        }
    }

    fn check_report(&mut self, node: &str, before: &Assignment, after: &Assignment) {
        let now = self.now;
        let name = after.metadata.name.clone().unwrap_or_default();
        let completed =
            |a: &Assignment| a.status.as_ref().map(schemas::AssignmentStatus::completed).unwrap_or_default();
        let (old, new) = (completed(before), completed(after));
        if !new.is_superset(&old) {
            let lost = &old - &new;
            self.checks.break_(now, Invariant::AcceptedStays, || format!("{node} reports {name} without [{lost}]"));
        } else if node != after.spec.node_uid {
            let text = || format!("{node} reports {name}, which is for {}", after.spec.node_uid);
            self.checks.break_(now, Invariant::ReportsFenced, text);
        }
        let job = &after.spec.job.uid;
        *self.checks.delivered.entry(job.clone()).or_default() |= &new;
        let attempts = self.loads.get(job).map_or(0, |load| load.outcomes.attempts);
        let failures = after.status.iter().flat_map(|status| &status.failures);
        for failure in failures.filter(|failure| failure.attempt >= attempts) {
            *self.checks.exhausted.entry(job.clone()).or_default() |= &failure.indexes;
        }
        for segment in after.status.iter().flat_map(|status| &status.segments) {
            self.checks.segments.insert(segment.digest, segment.indexes.clone());
        }
    }

    /// What is accepted is not given out again.
    fn check_grants(&mut self, before: Option<&Assignment>, after: &Assignment) {
        if !self.checks.is_strict {
            return;
        }
        let Some(job) = self.server.jobs.get(&after.spec.job.uid) else { return };
        let mut new = after.spec.granted();
        if let Some(before) = before {
            new -= &before.spec.granted();
        }
        if let Some(status) = &after.status {
            new -= &status.completed();
        }
        let accepted = job.status.as_ref().map(|status| &new & &status.completed_indexes).unwrap_or_default();
        if !accepted.is_empty() {
            let node = &after.spec.node_uid;
            self.checks.break_(self.now, Invariant::AcceptedNeverReruns, || {
                format!("{node} is given [{accepted}] of {}, which is accepted", after.spec.job.name)
            });
        }
    }

    fn check_status(&mut self, before: &Job, after: &Job) {
        let now = self.now;
        let name = after.metadata.name.clone().unwrap_or_default();
        let uid = after.metadata.uid.clone().unwrap_or_default();
        let old = before.status.clone().unwrap_or_default();
        let Some(new) = &after.status else { return };
        let (done, failed) = (&new.completed_indexes, &new.failed_indexes);
        if !done.is_superset(&old.completed_indexes) {
            let lost = &old.completed_indexes - done;
            self.checks.break_(now, Invariant::AcceptedStays, || format!("{name} loses [{lost}]"));
        }
        let counts = new.subtasks;
        let sum = counts.succeeded + counts.failed + counts.running + counts.pending;
        let is_right = counts.succeeded == done.count() && counts.failed == failed.count() && counts.total == sum;
        if !is_right || !done.is_disjoint(failed) {
            let text = || format!("{name}: {counts:?}, completed {}, failed {}", done.count(), failed.count());
            self.checks.break_(now, Invariant::CountsAddUp, text);
        }
        let delivered = self.checks.delivered.get(&uid).cloned().unwrap_or_default();
        if !delivered.is_superset(done) {
            let invented = done - &delivered;
            self.checks
                .break_(now, Invariant::OnlyDeliveredCounts, || format!("{name}: nobody delivered [{invented}]"));
        }
        if self.checks.is_strict && has_begun(after) && !has_begun(before) {
            self.check_quota(after);
        }
        if is_over(after) && !is_over(before) {
            self.stats.jobs += 1;
            self.check_end(after);
        }
    }

    /// A job of a queue begins. Jobs that somebody has changed meanwhile may have been suspended: they do not count.
    fn check_quota(&mut self, job: &Job) {
        let name = &job.spec.queue;
        let Some(quota) = self.queues.iter().find(|queue| queue.name == *name).and_then(|queue| queue.jobs) else {
            return;
        };
        let counts = |job: &&Arc<Job>| {
            job.spec.queue == *name && has_begun(job) && !is_over(job) && job.metadata.generation == Some(1)
        };
        let begun = self.server.jobs.values().filter(counts).count();
        if begun > quota as usize {
            let text = || format!("{begun} jobs of queue {name} have begun, its quota is {quota}");
            self.checks.break_(self.now, Invariant::QuotaKept, text);
        }
    }

    /// A job ends as its outcomes allow.
    fn check_end(&mut self, job: &Job) {
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let (Some(load), Some(status)) = (self.loads.get(&uid), &job.status) else { return };
        let count = load.costs.count();
        let hopeless: IndexSet = if load.outcomes.is_sound() {
            IndexSet::new()
        } else {
            (0..count).filter(|index| load.outcomes.is_hopeless(*index)).collect()
        };
        let is_complete = condition::is_true(&status.conditions, conditions::COMPLETE);
        let exhausted = self.checks.exhausted.get(&uid).cloned().unwrap_or_default();
        let failed = &status.failed_indexes;
        let is_right = is_complete == failed.is_empty()
            && failed.is_superset(&hopeless)
            && exhausted.is_superset(failed)
            && status.completed_indexes == &IndexSet::first(count) - failed;
        if !is_right {
            let name = job.metadata.name.clone().unwrap_or_default();
            let text = format!(
                "{name} ended with complete={is_complete}, {} of {count} done, failed [{failed}]; hopeless are [{hopeless}], out of \
                 attempts [{exhausted}]",
                status.completed_indexes.count(),
            );
            self.checks.break_(self.now, Invariant::RightEnd, || text);
        }
    }

    /// A slot is about to begin `stretch` of the Assignment `key`.
    pub(crate) fn check_begin(&mut self, number: usize, key: Key, stretch: Stretch) {
        if !self.checks.are_on {
            return;
        }
        let kubelet = &self.kubelets[number];
        let Some(work) = kubelet.works.get(&key) else { return };
        let slots = self.server.nodes.get(&kubelet.name).map_or(0, |node| node.slots);
        let busy = 1 + kubelet.slots.iter().flatten().count();
        if busy > slots as usize {
            let text = format!("{} runs {busy} at once on {slots} slots", kubelet.uid);
            return self.checks.break_(self.now, Invariant::SlotsKept, || text);
        }
        if self.checks.dropped.contains(&(number, key)) {
            let text = format!("{} begins something of a{key}, which is deleted", kubelet.uid);
            return self.checks.break_(self.now, Invariant::DeletedStops, || text);
        }
        let wanted = IndexSet::from(stretch.first..=stretch.last);
        let again = &wanted & &work.ledger.completed;
        if !again.is_empty() {
            let text = format!("{} begins [{again}] again", kubelet.uid);
            return self.checks.break_(self.now, Invariant::AcceptedNeverReruns, || text);
        }
        if self.checks.is_strict
            && let Some(text) = self.second_owner(kubelet, work, &wanted)
        {
            self.checks.break_(self.now, Invariant::OneOwner, || text);
        }
    }

    /// Another node that runs some of `wanted`, if there is one that may not.
    fn second_owner(&self, kubelet: &Kubelet, work: &Work, wanted: &IndexSet) -> Option<String> {
        // One that is taken for lost goes on with what it has, and so may whoever has it now.
        if is_excused(kubelet, work.met) || self.is_lost(kubelet) {
            return None;
        }
        let job = &work.object.spec.job.uid;
        for other in self.kubelets.iter().filter(|other| other.uid != kubelet.uid && other.is_alive) {
            for run in other.slots.iter().flatten() {
                let Doing::Indexes { last, .. } = run.doing else { continue };
                let Some(theirs) = other.works.get(&run.key).filter(|theirs| theirs.object.spec.job.uid == *job) else {
                    continue;
                };
                if is_excused(other, run.begun) || self.is_lost(other) {
                    continue;
                }
                let reached = self.reached(other, run);
                if reached > last {
                    continue;
                }
                let mut both = wanted & &IndexSet::from(reached..=last);
                both -= &work.object.spec.copies;
                both -= &theirs.object.spec.copies;
                if !both.is_empty() {
                    return Some(format!("{} begins [{both}], which runs on {}", kubelet.uid, other.uid));
                }
            }
        }
        None
    }

    /// The index that a run is at.
    fn reached(&self, kubelet: &Kubelet, run: &Run) -> u64 {
        let Doing::Indexes { first, next, last, .. } = run.doing else { return 0 };
        let load = kubelet.works.get(&run.key).and_then(|work| self.loads.get(&work.object.spec.job.uid));
        let paid = kubelet.paid(run, self.now).max(0.0);
        load.map_or(next, |load| load.costs.reached(first, last, paid).max(next))
    }

    /// True when it has been silent for so long that it may be taken for lost.
    fn is_lost(&self, kubelet: &Kubelet) -> bool {
        let patience = self.policy.lost_after.as_micros() as Micros;
        let margin = 2 * crate::events::SECOND;
        kubelet.silent_since.is_some_and(|since| self.now - since + margin >= patience)
    }

    /// A merge is about to be answered.
    pub(crate) fn check_merge(&mut self, number: usize, key: Key, attempt: u32) {
        if !self.checks.are_on {
            return;
        }
        let Some(work) = self.kubelets[number].works.get(&key) else { return };
        let spec = &work.object.spec;
        let Some(order) = spec.merge.as_ref().filter(|order| order.attempt == attempt) else { return };
        let count: u64 = order.parts.iter().map(|part| part.indexes.count()).sum();
        let all = order.parts.iter().fold(IndexSet::new(), |all, part| &all | &part.indexes);
        let total = spec.layout.as_ref().map_or(0, |layout| layout.subtasks);
        let holds = |part: &schemas::assignment::Part| {
            self.checks.segments.get(&part.segment).is_some_and(|held| held.is_superset(&part.indexes))
        };
        if count != total || all != IndexSet::first(total) || !order.parts.iter().all(holds) {
            let text = format!("merge of {}: {count} outputs of [{all}], {total} subtasks", spec.job.name);
            self.checks.break_(self.now, Invariant::MergedOnce, || text);
        }
    }

    /// A plan keeps its own invariants, and planning on its result changes nothing (sampled).
    pub(crate) fn check_plan(&mut self, snapshot: &Snapshot, plan: &Plan) {
        if !self.checks.are_on {
            return;
        }
        // Planning is a function: what changes nothing changes nothing a second time.
        if plan.actions.iter().all(|action| matches!(action, Action::EmitEvent(_))) {
            return;
        }
        let broken = pd_plan::invariants::check(snapshot, plan, &self.policy);
        if !broken.is_empty() {
            return self.checks.break_(self.now, Invariant::PlanSound, || broken.join("; "));
        }
        self.checks.plans += 1;
        // A planted bug must show in what happens, not in what a plan makes of false news.
        if self.bug.is_some() || !self.checks.plans.is_multiple_of(REPLANNED) {
            return;
        }
        self.stats.replans += 1;
        let (now, mut rounds, mut after) = (self.time(), Vec::new(), pd_plan::apply(snapshot, plan));
        for _ in 0..=ROUNDS_MAX {
            let next = pd_plan::plan(&after, now, &self.policy);
            if next.actions.is_empty() {
                return;
            }
            rounds.push(next.actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            after = pd_plan::apply(&after, &next);
        }
        self.checks.break_(self.now, Invariant::PlanRests, || rounds.join("; then "));
    }

    /// What holds when everything should be over.
    pub fn check_over(&self) -> Option<Violation> {
        if self.is_over() {
            return None;
        }
        let open = self.server.jobs.values().filter(|job| !is_over(job));
        let told = open.map(|job| {
            let status = job.status.clone().unwrap_or_default();
            let name = job.metadata.name.as_deref().unwrap_or_default();
            format!("{name} is {} with {:?}", status.state.unwrap_or_default(), status.subtasks)
        });
        let text = told.collect::<Vec<_>>().join("; ");
        Some(Violation { at: self.now, invariant: Invariant::EveryJobEnds, text })
    }
}

fn has_begun(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| status.start_time.is_some())
}

/// True when the kubelet was taken for lost after it learnt what it does: others may do it too.
fn is_excused(kubelet: &Kubelet, learnt: Micros) -> bool {
    kubelet.lost_until.is_some_and(|until| until >= learnt)
}
