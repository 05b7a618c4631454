//! The kubelets' shell: assignments taken up, the steps that `sync` asks for, slots that are given runs, runs
//! that end. Written after `pd-kubelet`'s agent; what to do is decided by the real `sync`, `choose` and `Pace`.

use std::{collections::BTreeSet, sync::Arc};

use pd_kubelet::sync::{self, Setup, Stage, Step, Stretch};
use schemas::{
    Assignment, Digest,
    assignment::{MergeReport, PlanReport, Running},
    job::{JobResult, Layout},
};

use super::{Event, World, time_of};
use crate::{
    bug::Bug,
    events::{MILLI, Micros},
    kubelet::{self, Call, Doing, Key, Ledger, Run, View, Work, key_of},
    server::Object,
};

/// As in the agent: what runs is shown that long after it began.
const TICK: Micros = 500 * MILLI;
/// Fetching the parts of a merge.
const PARTS: Micros = 10 * MILLI;
/// A planted bug overruns a node's slots this often, in a thousand runs.
const OVERRUNS: u64 = 20;

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
            let ledger = Ledger { node_uid: self.kubelets[kubelet].uid.clone(), ..Ledger::default() };
            let status = ledger.status(&View::default(), Digest::of(b""));
            let request = crate::server::Request::Report { assignment: object, status: Box::new(status) };
            self.call(super::Client::Kubelet(kubelet), super::Tag::Report { key, version: 0 }, request, 0);
        }
    }

    /// Takes up a new Assignment where the spool or the server's status left it.
    fn adopt(&mut self, kubelet: usize, key: Key, object: Arc<Assignment>) {
        let node = &mut self.kubelets[kubelet];
        let spooled = node.spool.remove(&key).filter(|ledger| ledger.node_uid == node.uid);
        let mut ledger = spooled.unwrap_or_else(|| Ledger { node_uid: node.uid.clone(), ..Ledger::default() });
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
    fn sync(&mut self, kubelet: usize, key: Key) {
        self.settle(kubelet, key);
        let node = &mut self.kubelets[kubelet];
        let started = node.started(key);
        let Some(work) = node.works.get_mut(&key) else { return };
        self.stats.syncs += 1;
        let next = sync::sync(&work.object.spec, &work.have(started));
        work.queued = next.queue.iter().map(Stretch::count).sum();
        work.queue = next.queue;
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

    pub(super) fn set_up(&mut self, kubelet: usize, incarnation: u32, key: Key, with_layout: bool) {
        let node = &mut self.kubelets[kubelet];
        if node.line.incarnation != incarnation || !node.is_alive {
            return;
        }
        let Some(work) = node.works.get_mut(&key) else { return };
        work.setup = Setup::Ready { with_layout };
        self.sync(kubelet, key);
        self.dispatch(kubelet);
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

    /// Gives every free slot something to do, if there is anything.
    pub(super) fn dispatch(&mut self, kubelet: usize) {
        loop {
            let node = &self.kubelets[kubelet];
            if !node.is_alive || node.is_frozen {
                return;
            }
            let candidates = node.works.iter().map(|(key, work)| work.candidate(node.busy_slots(*key)));
            let Some(chosen) = sync::choose(candidates) else { return };
            let Some(key) = node.works.keys().nth(chosen).copied() else { return };
            let free = node.slots.iter().position(Option::is_none);
            let slot = match free {
                Some(slot) => slot,
                None if self.bug == Some(Bug::SlotsOverrun) && self.chance.permille(OVERRUNS) => {
                    self.kubelets[kubelet].slots.push(None);
                    self.kubelets[kubelet].slots.len() - 1
                }
                None => return,
            };
            if !self.begin(kubelet, slot, key) {
                return;
            }
        }
    }

    fn begin(&mut self, kubelet: usize, slot: usize, key: Key) -> bool {
        let node = &mut self.kubelets[kubelet];
        node.hand_outs += 1;
        let (served, slots) = (node.hand_outs, node.slots.len() as u64);
        let Some(work) = node.works.get_mut(&key) else { return false };
        work.served = served;
        let doing = match work.calls.pop_front() {
            Some(Call::Plan) => Doing::Plan,
            Some(Call::Merge { attempt }) => Doing::Merge { attempt },
            None => {
                let slots = work.object.spec.slots.map_or(slots, |cap| slots.min(u64::from(cap)));
                let Some(Stretch { attempt, first, last }) = work.next_run(slots) else { return false };
                Doing::Indexes { attempt, first, next: first, last }
            }
        };
        node.runs += 1;
        let deadly = match doing {
            Doing::Indexes { first, last, .. } => {
                self.loads.get(&work.object.spec.job.uid).and_then(|load| load.outcomes.deadly(first, last))
            }
            Doing::Plan | Doing::Merge { .. } => None,
        };
        let paid = -(self.times.hand_over as f64);
        let run = Run { key, doing, number: node.runs, begun: self.now, deadly, paid, since: self.now };
        if let Doing::Indexes { attempt, first, last, .. } = doing {
            self.stats.runs += 1;
            self.trace
                .tell(self.now, || format!("n{kubelet:02}/{slot} begins a{key} {first}-{last} attempt {attempt}"));
            self.check_begin(kubelet, key, Stretch { attempt, first, last });
        }
        self.kubelets[kubelet].slots[slot] = Some(run);
        self.await_end(kubelet, slot);
        self.tick_later(kubelet, key);
        true
    }

    /// Files the end of what the slot does, at the present speed.
    pub(super) fn await_end(&mut self, kubelet: usize, slot: usize) {
        let node = &self.kubelets[kubelet];
        let Some(run) = &node.slots[slot] else { return };
        if node.speed <= 0.0 {
            return;
        }
        let Some(load) = self.load_of(kubelet, run.key) else { return };
        let cost = match run.doing {
            Doing::Indexes { first, last, .. } => load.costs.of(first, run.deadly.unwrap_or(last)),
            Doing::Plan | Doing::Merge { .. } => load.call_cost,
        };
        let left = ((cost - run.paid) / node.speed).max(0.0).ceil() as Micros;
        self.events.file(run.since + left, Event::RunEnd { kubelet, slot, number: run.number });
    }

    fn load_of(&self, kubelet: usize, key: Key) -> Option<&crate::load::Load> {
        self.loads.get(&self.kubelets[kubelet].works.get(&key)?.object.spec.job.uid)
    }

    /// Counts in what of an Assignment's runs has ended by now.
    pub(super) fn settle(&mut self, kubelet: usize, key: Key) {
        for slot in 0..self.kubelets[kubelet].slots.len() {
            let run = self.kubelets[kubelet].slots[slot].as_ref().filter(|run| run.key == key);
            if let Some(run) = run {
                let paid = self.kubelets[kubelet].paid(run, self.now);
                self.settle_slot(kubelet, slot, paid);
            }
        }
    }

    fn settle_slot(&mut self, kubelet: usize, slot: usize, paid: f64) {
        let node = &mut self.kubelets[kubelet];
        let Some(run) = &mut node.slots[slot] else { return };
        let Doing::Indexes { attempt, first, next, last } = &mut run.doing else { return };
        let Some(work) = node.works.get_mut(&run.key) else { return };
        let Some(load) = self.loads.get(&work.object.spec.job.uid) else { return };
        let reached = load.costs.reached(*first, *last, paid.max(0.0)).min(run.deadly.unwrap_or(u64::MAX));
        if reached <= *next {
            return;
        }
        let (attempt, ended) = (*attempt, *next..=reached - 1);
        *next = reached;
        work.ledger.started += ended.end() - ended.start() + 1;
        if load.outcomes.is_sound() {
            work.ledger.completed.insert_range(ended);
        } else {
            for index in ended {
                if load.outcomes.fails(index, attempt) {
                    work.ledger.failed.entry(attempt).or_default().insert(index);
                    work.retained.remove(index);
                    work.view.retained.remove(index);
                } else {
                    work.ledger.completed.insert(index);
                }
            }
        }
        work.report.change(self.now);
    }

    /// A run has come to its end.
    pub(super) fn end_run(&mut self, kubelet: usize, slot: usize, number: u64) {
        let node = &self.kubelets[kubelet];
        let Some(run) = node.slots.get(slot).and_then(Option::as_ref).filter(|run| run.number == number) else {
            return;
        };
        let (key, doing, seconds) = (run.key, run.doing, (self.now - run.begun) as f64 / 1e6);
        if run.deadly.is_some() {
            self.lose_executor(kubelet, slot, f64::INFINITY);
            return self.dispatch(kubelet);
        }
        if let Doing::Indexes { first, last, .. } = doing {
            self.settle_slot(kubelet, slot, f64::INFINITY);
            if let Some(work) = self.kubelets[kubelet].works.get_mut(&key) {
                work.pace.measured(last - first + 1, seconds);
                work.ledger.sample(last - first + 1, seconds);
            }
        }
        self.kubelets[kubelet].slots[slot] = None;
        match doing {
            Doing::Plan => self.end_plan(kubelet, key),
            Doing::Merge { attempt } => self.end_merge(kubelet, key, attempt),
            Doing::Indexes { .. } => {}
        }
        self.dispatch(kubelet);
        let node = &self.kubelets[kubelet];
        let is_idle = node.slots[slot].is_none();
        let is_dry = node.works.get(&key).is_some_and(|work| work.queue.is_empty());
        if is_idle && is_dry || doing == Doing::Plan || matches!(doing, Doing::Merge { .. }) {
            self.settle(kubelet, key);
            self.show(kubelet, key);
            self.flush(kubelet, key);
        } else {
            self.arm_report(kubelet, key);
        }
    }

    /// The executor of a slot dies: the index that it was at has failed, the others go on.
    fn lose_executor(&mut self, kubelet: usize, slot: usize, paid: f64) {
        self.settle_slot(kubelet, slot, paid);
        let (now, node) = (self.now, &mut self.kubelets[kubelet]);
        let Some(Run { key, doing, begun, .. }) = node.slots[slot].take() else { return };
        let Some(work) = node.works.get_mut(&key) else { return };
        match doing {
            Doing::Plan => work.plan = Stage::Idle,
            Doing::Merge { .. } => work.merge = None,
            Doing::Indexes { attempt, first, next, last } => {
                let ended = next.saturating_sub(first);
                if next <= last {
                    work.ledger.failed.entry(attempt).or_default().insert(next);
                    work.retained.remove(next);
                    work.view.retained.remove(next);
                    work.ledger.started += 1;
                }
                work.pace.measured(ended, (now - begun) as f64 / 1e6);
                work.ledger.sample(ended, (now - begun) as f64 / 1e6);
            }
        }
        work.report.change(now);
        self.sync(kubelet, key);
        self.flush(kubelet, key);
    }

    /// All executors of a node die at once.
    pub(super) fn kill_executors(&mut self, kubelet: usize) {
        if !self.kubelets[kubelet].is_alive || self.kubelets[kubelet].is_frozen {
            return;
        }
        for slot in 0..self.kubelets[kubelet].slots.len() {
            if let Some(run) = &self.kubelets[kubelet].slots[slot] {
                let paid = self.kubelets[kubelet].paid(run, self.now);
                self.lose_executor(kubelet, slot, paid);
            }
        }
        self.dispatch(kubelet);
    }

    fn end_plan(&mut self, kubelet: usize, key: Key) {
        let Some(subtasks) = self.load_of(kubelet, key).map(|load| load.costs.count()) else { return };
        let layout = Layout { subtasks, media_type: "application/octet-stream".into(), goal: None, state: None };
        let now = self.now;
        let Some(work) = self.kubelets[kubelet].works.get_mut(&key) else { return };
        work.plan = Stage::Done;
        work.ledger.plan_attempt = work.plan_attempt;
        work.ledger.plan = Some(PlanReport::Layout(layout));
        work.report.change(now);
    }

    fn end_merge(&mut self, kubelet: usize, key: Key, attempt: u32) {
        self.check_merge(kubelet, key, attempt);
        let now = self.now;
        let Some(work) = self.kubelets[kubelet].works.get_mut(&key) else { return };
        let result = JobResult { artifact: Digest::of(b"result"), size: 1, media_type: "text/plain".into() };
        work.merge = Some((attempt, Stage::Done));
        work.ledger.merge = Some(MergeReport { attempt, result: Some(result), failure: None });
        work.report.change(now);
    }

    /// Looks at what runs a while after it began.
    fn tick_later(&mut self, kubelet: usize, key: Key) {
        let node = &mut self.kubelets[kubelet];
        let incarnation = node.line.incarnation;
        let Some(work) = node.works.get_mut(&key).filter(|work| !work.is_ticking) else { return };
        work.is_ticking = true;
        self.events.file(self.now + TICK, Event::Tick { kubelet, incarnation, key });
    }

    pub(super) fn tick(&mut self, kubelet: usize, incarnation: u32, key: Key) {
        let node = &mut self.kubelets[kubelet];
        if node.line.incarnation != incarnation {
            return;
        }
        let Some(work) = node.works.get_mut(&key) else { return };
        work.is_ticking = false;
        self.settle(kubelet, key);
        self.show(kubelet, key);
    }

    /// Tells the reporter what runs and what is retained.
    pub(super) fn show(&mut self, kubelet: usize, key: Key) {
        let node = &self.kubelets[kubelet];
        let runs = node.slots.iter().flatten().filter(|run| run.key == key);
        let running = runs.filter_map(|run| match run.doing {
            Doing::Indexes { attempt, next, last, .. } if next <= last => {
                Some(Running { index: next, attempt, started_at: time_of(run.begun), progress: None })
            }
            _ => None,
        });
        let running = running.collect();
        let Some(work) = self.kubelets[kubelet].works.get_mut(&key) else { return };
        let generation = work.object.metadata.generation.unwrap_or_default();
        let view = View { generation, retained: work.retained.clone(), running };
        if work.view != view {
            work.view = view;
            work.report.change(self.now);
        }
        self.arm_report(kubelet, key);
    }
}
