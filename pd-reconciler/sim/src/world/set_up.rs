//! Set-up: components fetched and compiled, and what becomes of a job's work on a node where that fails. Written after
//! `pd-kubelet`'s agent; when it is due is decided by the real `sync`.

use pd_kubelet::sync::{Setup, Stage};
use schemas::{
    IndexSet,
    assignment::{CallFailure, FailureOutcome},
};

use super::{Event, Whose, World, people};
use crate::{
    bug::Bug,
    events::{Micros, SECOND},
    kubelet::Key,
};

/// As in the agent: a set-up that failed is tried again that long after.
const RETRY: Micros = 5 * SECOND;

impl World {
    pub(super) fn set_up(&mut self, kubelet: usize, incarnation: u32, key: Key, with_layout: bool) {
        let node = &mut self.kubelets[kubelet];
        if node.line.incarnation != incarnation || !node.is_alive {
            return;
        }
        if self.is_spoilt(kubelet, key) {
            return self.fail_set_up(kubelet, key);
        }
        let Some(work) = self.kubelets[kubelet].works.get_mut(&key) else { return };
        work.setup = Setup::Ready { with_layout };
        self.sync(kubelet, key);
        self.dispatch(kubelet);
    }

    /// A failed set-up may be tried again.
    pub(super) fn forgive(&mut self, kubelet: usize, incarnation: u32, key: Key) {
        let node = &mut self.kubelets[kubelet];
        if node.line.incarnation != incarnation || !node.is_alive || self.bug == Some(Bug::SetUpNotForgiven) {
            return;
        }
        let Some(work) = node.works.get_mut(&key) else { return };
        if work.setup_failed_at.take_if(|at| *at + RETRY <= self.now).is_some() {
            work.setup = Setup::Missing;
            self.sync(kubelet, key);
        }
    }

    /// True when the node cannot set up the job of an Assignment, nor load it.
    pub(super) fn is_spoilt(&self, kubelet: usize, key: Key) -> bool {
        let node = &self.kubelets[kubelet];
        let Some(work) = node.works.get(&key).filter(|_| !node.spoilt.is_empty()) else { return false };
        let job = &work.object.spec.job.uid;
        node.spoilt.iter().any(|whose| match whose {
            Whose::All => true,
            Whose::Job(number) => people::uid(*number) == *job,
        })
    }

    /// The node cannot run this job now: everything that waits for it fails, and is retried as the reconciler sees fit.
    pub(super) fn fail_set_up(&mut self, kubelet: usize, key: Key) {
        let (now, node) = (self.now, &mut self.kubelets[kubelet]);
        let incarnation = node.line.incarnation;
        let Some(work) = node.works.get_mut(&key) else { return };
        work.setup = Setup::Underway;
        work.setup_failed_at = Some(now);
        work.calls.clear();
        let spec = &work.object.spec;
        let merge = spec.merge.as_ref().map(|order| order.attempt).filter(|_| spec.layout.is_some());
        let is_answered = work.plan == Stage::Done && work.plan_attempt >= spec.plan_attempt;
        if spec.plan && spec.layout.is_none() && !is_answered {
            work.plan_attempt = spec.plan_attempt;
            work.end_plan(Err(failure(FailureOutcome::SetupFailed)));
        }
        if let Some(attempt) = merge.filter(|attempt| work.merge != Some((*attempt, Stage::Done))) {
            work.end_merge(attempt, Err(failure(FailureOutcome::SetupFailed)));
        }
        work.queued = 0;
        for stretch in std::mem::take(&mut work.queue) {
            let indexes = IndexSet::from(stretch.first..=stretch.last);
            work.fail(stretch.attempt, FailureOutcome::SetupFailed, &indexes);
        }
        work.report.change(now);
        self.trace.tell(now, || format!("n{kubelet:02} cannot set a{key} up"));
        self.events.file(now + RETRY, Event::Forgive { kubelet, incarnation, key });
        self.flush(kubelet, key);
    }
}

/// As a status says it.
pub(super) fn failure(outcome: FailureOutcome) -> CallFailure {
    CallFailure { outcome, message: "simulated".into(), log: String::new() }
}
