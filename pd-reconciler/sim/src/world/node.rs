//! The kubelets' shell: assignments taken up, and the steps that `sync` asks for. Written after `pd-kubelet`'s agent;
//! what to do is decided by the real `sync`.

use std::{collections::BTreeSet, sync::Arc};

use pd_kubelet::sync::{self, Setup, Stage, Step, Stretch};
use schemas::{Assignment, Digest};

use super::{Event, World};
use crate::{
    bug::Bug,
    events::{MILLI, Micros},
    kubelet::{self, Call, Doing, Key, Work, key_of},
    ledger::{Ledger, View},
    server::Object,
};

/// Fetching the parts of a merge.
const PARTS: Micros = 10 * MILLI;

impl World {
    /// A whole list: what is not in it is gone.
    pub(super) fn meet_all(&mut self, kubelet: usize, objects: &[Object]) {
        let listed = |key: &Key| {
            let is_it = |object: &Object| matches!(object, Object::Assignment(listed) if key_of(listed) == *key);
            objects.iter().any(is_it)
        };
        let node = &self.kubelets[kubelet];
        let known = node.works.keys().chain(node.spool.keys()).copied();
        let gone: BTreeSet<Key> = known.filter(|key| !listed(key)).collect();
        gone.into_iter().for_each(|key| self.drop_work(kubelet, key));
        for object in objects {
            if let Object::Assignment(assignment) = object {
                self.meet(kubelet, Arc::clone(assignment));
            }
        }
    }

    /// An Assignment was deleted.
    pub(super) fn miss(&mut self, kubelet: usize, uid: &str) {
        self.drop_work(kubelet, kubelet::key(uid));
    }

    /// Forgets an Assignment: what runs of it is interrupted, what is spooled is deleted.
    fn drop_work(&mut self, kubelet: usize, key: Key) {
        self.checks.dropped.insert((kubelet, key));
        if self.bug == Some(Bug::DeletionMissed) {
            return;
        }
        let node = &mut self.kubelets[kubelet];
        node.works.remove(&key);
        node.spool.remove(&key);
        for slot in &mut node.slots {
            slot.take_if(|run| run.key == key);
        }
        self.dispatch(kubelet);
    }

    /// An Assignment is new or was changed.
    pub(super) fn meet(&mut self, kubelet: usize, object: Arc<Assignment>) {
        let key = key_of(&object);
        if object.spec.node_uid != self.kubelets[kubelet].uid {
            return self.meet_foreign(kubelet, key, object);
        }
        let now = self.now;
        let Some(work) = self.kubelets[kubelet].works.get_mut(&key) else { return self.adopt(kubelet, key, object) };
        work.report.take(&object);
        if work.object.metadata.generation == object.metadata.generation && work.object.spec == object.spec {
            return;
        }
        let was_shrunk = !object.spec.granted().is_superset(&work.object.spec.granted());
        let is_forgiven = work.setup_failed_at.is_some() && self.bug != Some(Bug::SetUpNotForgiven);
        if is_forgiven || work.object.spec.work != object.spec.work {
            (work.setup, work.setup_failed_at) = (Setup::Missing, None);
        }
        work.object = object;
        work.met = now;
        let queue = work.queue.clone();
        self.sync(kubelet, key);
        if self.bug == Some(Bug::AckBeforeDrop)
            && let Some(work) = self.kubelets[kubelet].works.get_mut(&key).filter(|_| was_shrunk)
        {
            work.queued = queue.iter().map(Stretch::count).sum();
            work.queue = queue;
        }
        if was_shrunk {
            self.flush(kubelet, key);
        }
        self.dispatch(kubelet);
    }

    /// An Assignment of an earlier registration of this node.
    fn meet_foreign(&mut self, kubelet: usize, key: Key, object: Arc<Assignment>) {
        self.kubelets[kubelet].works.remove(&key);
        self.kubelets[kubelet].spool.remove(&key);
        if self.bug == Some(Bug::ForeignReport) && self.kubelets[kubelet].uid != object.spec.node_uid {
            // It takes the old registration's work for its own and says what it has of it: nothing.
            let ledger = Ledger::new(self.kubelets[kubelet].uid.clone());
            let status = ledger.status(&View::default(), Digest::of(b""));
            let request = crate::server::Request::Report { assignment: object, status: Box::new(status) };
            self.call(super::Client::Kubelet(kubelet), super::Tag::Report { key, version: 0 }, request, 0);
        }
    }

    /// Takes up a new Assignment where the spool or the server's status left it.
    fn adopt(&mut self, kubelet: usize, key: Key, object: Arc<Assignment>) {
        let node = &mut self.kubelets[kubelet];
        let spooled = node.spool.remove(&key).filter(|ledger| ledger.node_uid == node.uid);
        let mut ledger = spooled.unwrap_or_else(|| Ledger::new(node.uid.clone()));
        if let Some(status) = object.status.as_ref().filter(|_| self.bug != Some(Bug::AdoptionForgotten)) {
            ledger.adopt(status);
        }
        let mut work = Work::new(Arc::clone(&object), ledger, self.now);
        work.report.take(&object);
        work.report.change(self.now);
        node.works.insert(key, work);
        self.sync(kubelet, key);
        self.dispatch(kubelet);
    }

    /// Asks the real `sync` about one Assignment and takes its steps.
    pub(super) fn sync(&mut self, kubelet: usize, key: Key) {
        self.settle(kubelet, key);
        let node = &mut self.kubelets[kubelet];
        let started = node.started(key);
        let Some(work) = node.works.get_mut(&key) else { return };
        self.stats.syncs += 1;
        let next = sync::sync(&work.object.spec, &work.have(started));
        work.queued = next.queue.iter().map(Stretch::count).sum();
        work.queue = next.queue;
        work.is_owed = false;
        work.retained = next.retained;
        for step in next.steps {
            self.take_step(kubelet, key, step);
        }
        let is_at = |doing: &Doing| matches!(doing, Doing::Indexes { next: at, .. } if next.stop.contains(*at));
        if !next.stop.is_empty() && self.interrupt(kubelet, key, is_at) {
            // What is still wanted of an interrupted run is begun again.
            return self.sync(kubelet, key);
        }
        self.show(kubelet, key);
    }

    fn take_step(&mut self, kubelet: usize, key: Key, step: Step) {
        let node = &mut self.kubelets[kubelet];
        let incarnation = node.line.incarnation;
        let Some(work) = node.works.get_mut(&key) else { return };
        match step {
            Step::SetUp { with_layout } => {
                let was_missing = work.setup == Setup::Missing;
                work.setup = Setup::Underway;
                let delay = if was_missing { self.times.set_up } else { MILLI };
                self.events.file(self.now + delay, Event::SetUp { kubelet, incarnation, key, with_layout });
            }
            Step::Plan => {
                work.plan = Stage::Underway;
                work.plan_attempt = work.object.spec.plan_attempt;
                work.calls.push_back(Call::Plan);
            }
            Step::Merge { attempt } => {
                work.merge = Some((attempt, Stage::Underway));
                self.events.file(self.now + PARTS, Event::Parts { kubelet, incarnation, key, attempt });
            }
            Step::StopPlan => self.stop_call(kubelet, key, false),
            Step::StopMerge => self.stop_call(kubelet, key, true),
            Step::Interrupt => {
                self.interrupt(kubelet, key, |doing| matches!(doing, Doing::Indexes { .. }));
            }
        }
    }

    pub(super) fn parts(&mut self, kubelet: usize, incarnation: u32, key: Key, attempt: u32) {
        let node = &mut self.kubelets[kubelet];
        if node.line.incarnation != incarnation || !node.is_alive {
            return;
        }
        let Some(work) = node.works.get_mut(&key) else { return };
        if work.merge == Some((attempt, Stage::Underway)) {
            work.calls.push_back(Call::Merge { attempt });
            self.dispatch(kubelet);
        }
    }

    fn stop_call(&mut self, kubelet: usize, key: Key, is_merge: bool) {
        let is_it = |doing: &Doing| match doing {
            Doing::Plan => !is_merge,
            Doing::Merge { .. } => is_merge,
            Doing::Indexes { .. } => false,
        };
        let node = &mut self.kubelets[kubelet];
        for slot in &mut node.slots {
            slot.take_if(|run| run.key == key && is_it(&run.doing));
        }
        let Some(work) = node.works.get_mut(&key) else { return };
        work.calls.retain(|call| matches!(call, Call::Merge { .. }) != is_merge);
        if is_merge {
            work.merge = None;
        } else {
            work.plan = Stage::Idle;
        }
    }

    /// Stops what runs of an Assignment, as far as it is meant; answers whether anything was. What of it has
    /// ended counts.
    fn interrupt(&mut self, kubelet: usize, key: Key, is_meant: impl Fn(&Doing) -> bool) -> bool {
        let (now, node) = (self.now, &mut self.kubelets[kubelet]);
        let mut any = false;
        for slot in &mut node.slots {
            let Some(run) = slot.take_if(|run| run.key == key && is_meant(&run.doing)) else { continue };
            any = true;
            if let (Doing::Indexes { first, next, .. }, Some(work)) = (run.doing, node.works.get_mut(&key)) {
                let seconds = (now - run.begun) as f64 / 1e6;
                work.pace.measured(next - first, seconds);
                work.ledger.sample(next - first, seconds);
            }
        }
        any
    }
}
