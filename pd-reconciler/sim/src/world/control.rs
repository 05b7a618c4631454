//! The reconcilers' shell: news taken in, the real `plan` asked, its writes carried out in two waves, their
//! answers taken in. No choices are made here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pd_plan::{Action, Plan, Readiness, Silence, Snapshot};
use schemas::{Assignment, IndexSet, Job};

use super::{Client, Event, Tag, World, micros_of};
use crate::{
    bug::Bug,
    events::{MILLI, Micros, SECOND},
    reconciler::Round,
    server::{Answer, Object, Request},
};

/// From news to the plan: taking in all that is there, and planning.
const PLANNING: Micros = MILLI;
/// As in the controller: after a conflict the watch brings the news, or this does.
const AFTER_CONFLICT: Micros = 250 * MILLI;
/// First and longest delay after a write that failed.
const AFTER_FAILURE: (Micros, Micros) = (100 * MILLI, 5000 * MILLI);

impl World {
    pub(super) fn observe_all(&mut self, number: usize, objects: &[Object], version: u64) {
        let now = self.now;
        let reconciler = &mut self.reconcilers[number];
        reconciler.keep_listed(objects, version);
        for object in objects {
            reconciler.take(object.clone(), now);
        }
        if !reconciler.is_synced {
            reconciler.is_synced = true;
            reconciler.listening_since = Some(now);
            // By then each node that is well has renewed its lease since we listen.
            self.events.file(now + SECOND, Event::LeaseNews);
        }
        self.make_stale(number);
    }

    pub(super) fn observe(&mut self, number: usize, object: Object) {
        if self.reconcilers[number].take(object, self.now) {
            self.make_stale(number);
        }
    }

    /// Plans as soon as nothing is being carried out.
    pub(super) fn make_stale(&mut self, number: usize) {
        let reconciler = &mut self.reconcilers[number];
        reconciler.is_stale = true;
        if !reconciler.is_alive || !reconciler.is_synced || reconciler.is_due || reconciler.round.is_some() {
            return;
        }
        reconciler.is_due = true;
        let incarnation = reconciler.line.incarnation;
        self.events.file(self.now + PLANNING, Event::Plan { reconciler: number, incarnation });
    }

    pub(super) fn wake(&mut self, number: usize, incarnation: u32, wake: u64) {
        let reconciler = &self.reconcilers[number];
        if reconciler.line.incarnation != incarnation || reconciler.wakes != wake {
            return;
        }
        let is_due = reconciler.wake_at.is_some_and(|at| at <= self.now);
        let snapshot = reconciler.nodes_heard(&self.kubelets, self.now);
        let (silence, next) = Silence::of(&snapshot, self.time(), &self.policy);
        if is_due || silence != reconciler.silence {
            return self.make_stale(number);
        }
        self.reconcilers[number].silent_at = next.map(micros_of);
        self.sleep(number);
    }

    /// Wakes at `at`, if that is sooner than it would.
    fn wake_at(&mut self, number: usize, at: Micros) {
        let reconciler = &mut self.reconcilers[number];
        reconciler.wake_at = Some(reconciler.wake_at.map_or(at, |earlier| earlier.min(at)));
        self.sleep(number);
    }

    /// Sleeps until there is something to do, or until a node may have been silent for too long.
    fn sleep(&mut self, number: usize) {
        let reconciler = &mut self.reconcilers[number];
        let Some(at) = [reconciler.wake_at, reconciler.silent_at].into_iter().flatten().min() else { return };
        reconciler.wakes += 1;
        let event =
            Event::Wake { reconciler: number, incarnation: reconciler.line.incarnation, number: reconciler.wakes };
        self.events.file(at.max(self.now), event);
    }

    /// One round: plan, and send the first writes.
    pub(super) fn plan(&mut self, number: usize, incarnation: u32) {
        let reconciler = &mut self.reconcilers[number];
        if reconciler.line.incarnation != incarnation || !reconciler.is_alive {
            return;
        }
        reconciler.is_due = false;
        reconciler.is_stale = false;
        let now = self.time();
        let mut snapshot = self.reconcilers[number].snapshot(&self.kubelets, self.now);
        snapshot.queues.clone_from(&self.queues);
        self.blind(&mut snapshot);
        let mut plan = pd_plan::plan(&snapshot, now, &self.policy);
        self.stats.plans += 1;
        self.check_plan(&snapshot, &plan);
        self.check_orders(number, &plan);
        let reconciler = &mut self.reconcilers[number];
        reconciler.remember(&mut plan);
        let busy: BTreeSet<String> = plan.actions.iter().filter_map(Action::uid).map(str::to_owned).collect();
        reconciler.set_aside(&busy);
        let (silence, silent_at) = Silence::of(&snapshot, now, &self.policy);
        let is_woken = self.bug != Some(Bug::WakeLost);
        reconciler.silence = silence;
        reconciler.silent_at = silent_at.filter(|_| is_woken).map(micros_of);
        reconciler.wake_at = plan.wake_at_if_heard.filter(|_| is_woken).map(micros_of);
        self.sleep(number);
        self.carry_out(number, plan);
    }

    /// What a planted bug makes the reconciler believe.
    fn blind(&self, snapshot: &mut Snapshot) {
        let change = |snapshot: &mut Snapshot, change: &dyn Fn(&mut Assignment)| {
            let assignments = snapshot.jobs.iter_mut().flat_map(|facts| &mut facts.assignments);
            assignments.for_each(|assignment| change(Arc::make_mut(assignment)));
        };
        let edit = |snapshot: &mut Snapshot, edit: &dyn Fn(&mut Job)| {
            snapshot.jobs.iter_mut().for_each(|facts| edit(Arc::make_mut(&mut facts.job)));
        };
        match self.bug {
            Some(Bug::ThiefBeforeAck) => change(snapshot, &|assignment| {
                if let Some(status) = &mut assignment.status {
                    status.observed_generation = assignment.metadata.generation.unwrap_or(0);
                    status.retained = IndexSet::new();
                }
            }),
            Some(Bug::RetainedForgotten) => change(snapshot, &|assignment| {
                if let Some(status) = &mut assignment.status {
                    status.retained = IndexSet::new();
                }
            }),
            Some(Bug::QuotaForgotten) => snapshot.queues.iter_mut().for_each(|queue| queue.jobs = None),
            Some(Bug::LimitForgotten) => edit(snapshot, &|job| job.spec.backoff_limit_per_index += 1),
            Some(Bug::DependencyForgotten) => edit(snapshot, &|job| job.spec.depends_on.clear()),
            Some(Bug::TaintForgotten) => snapshot.nodes.iter_mut().for_each(|node| node.taints.clear()),
            Some(Bug::RulesForgotten) => edit(snapshot, &|job| job.spec.failure_policy = None),
            Some(Bug::LostWorkRedone) => {
                let lost = snapshot.nodes.iter().filter(|node| node.ready == Readiness::Unknown);
                let lost: BTreeSet<String> = lost.map(|node| node.uid.clone()).collect();
                change(snapshot, &|assignment| {
                    if lost.contains(&assignment.spec.node_uid) {
                        assignment.status = None;
                    }
                });
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, number: usize, plan: Plan) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for action in plan.actions {
            let is_first = matches!(action, Action::ReplaceAssignment { withdraws: true, .. });
            self.trace.tell(self.now, || format!("r{number} orders {action}"));
            let Some(request) = self.request(number, action) else { continue };
            if is_first { first.push(request) } else { second.push(request) }
        }
        if first.is_empty() && second.is_empty() {
            return;
        }
        let reconciler = &mut self.reconcilers[number];
        reconciler.rounds += 1;
        reconciler.round = Some(Round { number: reconciler.rounds, second, ..Round::default() });
        self.send(number, first);
    }

    /// The write that an action is; none for what the simulation does not keep.
    fn request(&self, number: usize, action: Action) -> Option<Request> {
        match action {
            Action::CreateAssignment(assignment) => Some(Request::CreateAssignment(assignment)),
            Action::ReplaceAssignment { assignment, .. } => Some(Request::ReplaceAssignment(assignment)),
            Action::DeleteAssignment(assignment) => Some(Request::DeleteAssignment(assignment)),
            Action::WriteJobStatus { job, mut status } => {
                if self.bug == Some(Bug::CopyCountedTwice) {
                    let group = self.reconcilers[number].assignments.get(job.metadata.uid.as_deref()?);
                    let reports = group.into_iter().flat_map(BTreeMap::values).filter_map(|a| a.status.as_ref());
                    let delivered: u64 = reports.map(|report| report.succeeded).sum();
                    status.subtasks.succeeded = status.subtasks.succeeded.max(delivered);
                }
                Some(Request::JobStatus { job, status })
            }
            Action::SetNodeReady { node, ready, .. } => {
                let node = Arc::clone(self.reconcilers[number].nodes.get(&node)?);
                Some(Request::NodeReady { node, ready })
            }
            Action::ExplainNode { node, reason, .. } => {
                let node = Arc::clone(self.reconcilers[number].nodes.get(&node)?);
                Some(Request::NodeIdle { node, reason })
            }
            _ => None,
        }
    }

    /// Sends one wave of writes, without those of what is spoilt; the next one when there is nothing to send.
    fn send(&mut self, number: usize, requests: Vec<Request>) {
        let Some(round) = &mut self.reconcilers[number].round else { return };
        let requests: Vec<Request> =
            requests.into_iter().filter(|request| !round.spoilt.contains(subject(request))).collect();
        if requests.is_empty() {
            let second = std::mem::take(&mut round.second);
            return if second.is_empty() { self.settle_round(number) } else { self.send(number, second) };
        }
        round.open = requests.len();
        round.subjects = requests.iter().map(|request| subject(request).to_owned()).collect();
        let round = round.number;
        for (write, request) in requests.into_iter().enumerate() {
            self.call(Client::Reconciler(number), Tag::Write { round, number: write }, request, 0);
        }
    }

    /// The answer to one write.
    pub(super) fn written(&mut self, number: usize, round: u64, write: usize, answer: Answer) {
        let now = self.now;
        let reconciler = &mut self.reconcilers[number];
        let Some(current) = reconciler.round.as_mut().filter(|current| current.number == round) else { return };
        current.open -= 1;
        match answer {
            Answer::Written(object) => {
                current.has_written = true;
                reconciler.take(object, now);
            }
            Answer::Conflict(_) => {
                current.conflicts += 1;
                current.spoilt.extend(current.subjects.get(write).cloned());
            }
            Answer::Refused | Answer::Silence => {
                current.failures += 1;
                current.spoilt.extend(current.subjects.get(write).cloned());
            }
        }
        let Some(current) = &mut self.reconcilers[number].round else { return };
        if current.open == 0 {
            let second = std::mem::take(&mut current.second);
            if second.is_empty() { self.settle_round(number) } else { self.send(number, second) }
        }
    }

    /// Everything was answered: decides when to look again.
    fn settle_round(&mut self, number: usize) {
        let reconciler = &mut self.reconcilers[number];
        let Some(round) = reconciler.round.take() else { return };
        reconciler.is_stale |= round.has_written;
        reconciler.failures = if round.failures > 0 { reconciler.failures.saturating_add(1) } else { 0 };
        if round.failures > 0 {
            let delay = (AFTER_FAILURE.0 << (reconciler.failures - 1).min(10)).min(AFTER_FAILURE.1);
            self.wake_at(number, self.now + delay);
        } else if reconciler.is_stale {
            self.make_stale(number);
        } else if round.conflicts > 0 {
            self.wake_at(number, self.now + AFTER_CONFLICT);
        }
    }
}

/// UID of the job or the node that a write is about.
fn subject(request: &Request) -> &str {
    match request {
        Request::CreateAssignment(assignment)
        | Request::ReplaceAssignment(assignment)
        | Request::DeleteAssignment(assignment) => &assignment.spec.job.uid,
        Request::Report { assignment, .. } => &assignment.spec.job.uid,
        Request::JobStatus { job, .. } => job.metadata.uid.as_deref().unwrap_or_default(),
        Request::NodeReady { node, .. } | Request::NodeIdle { node, .. } => &node.uid,
    }
}
