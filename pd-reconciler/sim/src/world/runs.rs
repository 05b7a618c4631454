//! Slots: what they are given, what comes of it, and what of that is shown. Written after `pd-kubelet`'s agent; whose
//! turn it is is decided by the real `choose`, how long a run is by the real `Pace`.

use pd_kubelet::sync::{self, Stage, Stretch};
use schemas::{
    Digest, IndexSet,
    assignment::{FailureOutcome, Running},
    job::{JobResult, Layout},
};

use super::{Event, World, set_up, time_of};
use crate::{
    bug::Bug,
    events::{MILLI, Micros},
    kubelet::{Call, Doing, Fate, Key, Run},
    ledger::View,
};

/// As in the agent: what runs is shown that long after it began.
const TICK: Micros = 500 * MILLI;
/// A planted bug overruns a node's slots this often, in a thousand runs.
const OVERRUNS: u64 = 20;

impl World {
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
        let (number, fate) = (node.runs, self.fate(kubelet, key, doing));
        let paid = -(self.times.hand_over as f64);
        let run = Run { key, doing, number, begun: self.now, fate, paid, since: self.now };
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

    fn fate(&self, kubelet: usize, key: Key, doing: Doing) -> Fate {
        if self.is_spoilt(kubelet, key) {
            return Fate::Unloadable;
        }
        let Doing::Indexes { first, last, .. } = doing else { return Fate::Ends };
        let deadly = self.load_of(kubelet, key).and_then(|load| load.outcomes.deadly(first, last));
        deadly.map_or(Fate::Ends, Fate::Dies)
    }

    /// Files the end of what the slot does, at the present speed.
    pub(super) fn await_end(&mut self, kubelet: usize, slot: usize) {
        let node = &self.kubelets[kubelet];
        let Some(run) = &node.slots[slot] else { return };
        if node.speed <= 0.0 {
            return;
        }
        let Some(load) = self.load_of(kubelet, run.key) else { return };
        let cost = match (run.fate, run.doing) {
            (Fate::Unloadable, _) => 0.0,
            (Fate::Dies(last), Doing::Indexes { first, .. }) | (Fate::Ends, Doing::Indexes { first, last, .. }) => {
                load.costs.of(first, last)
            }
            (_, Doing::Plan | Doing::Merge { .. }) => load.call_cost,
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
        let limit = match run.fate {
            Fate::Ends => u64::MAX,
            Fate::Dies(index) => index,
            Fate::Unloadable => *first,
        };
        let reached = load.costs.reached(*first, *last, paid.max(0.0)).min(limit);
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
                match load.outcomes.failure(index, attempt, kubelet) {
                    Some(outcome) => work.fail(attempt, outcome, &IndexSet::from(index..=index)),
                    None => work.ledger.completed.insert_range(index..=index),
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
        match run.fate {
            Fate::Ends => {}
            Fate::Dies(_) => {
                self.lose_executor(kubelet, slot, f64::INFINITY);
                return self.dispatch(kubelet);
            }
            Fate::Unloadable => {
                self.fail_load(kubelet, slot);
                return self.dispatch(kubelet);
            }
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
            Doing::Indexes { .. } => self.sync_if_owed(kubelet, key),
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

    /// A later try was granted while the one that has failed ran.
    fn sync_if_owed(&mut self, kubelet: usize, key: Key) {
        if self.kubelets[kubelet].works.get(&key).is_some_and(|work| work.is_owed) {
            self.sync(kubelet, key);
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
                    work.fail(attempt, FailureOutcome::ExecutorLost, &IndexSet::from(next..=next));
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

    /// No executor of a slot can load the component: what it was to run waits again, and fails with all that waits.
    fn fail_load(&mut self, kubelet: usize, slot: usize) {
        let node = &mut self.kubelets[kubelet];
        let Some(Run { key, doing, .. }) = node.slots[slot].take() else { return };
        let Some(work) = node.works.get_mut(&key) else { return };
        match doing {
            Doing::Plan => work.end_plan(Err(set_up::failure(FailureOutcome::SetupFailed))),
            Doing::Merge { attempt } => {
                work.end_merge(attempt, Err(set_up::failure(FailureOutcome::SetupFailed)));
            }
            Doing::Indexes { attempt, first, last, .. } => {
                let unfinished = Stretch { attempt, first, last };
                work.queue.push_front(unfinished);
                work.queued += unfinished.count();
            }
        }
        self.fail_set_up(kubelet, key);
        self.show(kubelet, key);
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
        let (now, node) = (self.now, &mut self.kubelets[kubelet]);
        let Some(work) = node.works.get_mut(&key) else { return };
        let Some(load) = self.loads.get(&work.object.spec.job.uid) else { return };
        let (subtasks, media_type) = (load.costs.count(), "application/octet-stream".into());
        let layout = Layout { subtasks, media_type, goal: None, state: None };
        let failure = load.outcomes.call_failure(work.plan_attempt, kubelet);
        work.end_plan(failure.map_or(Ok(layout), |outcome| Err(set_up::failure(outcome))));
        work.report.change(now);
    }

    fn end_merge(&mut self, kubelet: usize, key: Key, attempt: u32) {
        self.check_merge(kubelet, key, attempt);
        let (now, node) = (self.now, &mut self.kubelets[kubelet]);
        let Some(work) = node.works.get_mut(&key) else { return };
        let Some(load) = self.loads.get(&work.object.spec.job.uid) else { return };
        let artifact = Digest::of(work.object.spec.job.uid.as_bytes());
        let result = JobResult { artifact, size: 1, media_type: "text/plain".into() };
        let failure = load.outcomes.call_failure(attempt, kubelet);
        work.end_merge(attempt, failure.map_or(Ok(result), |outcome| Err(set_up::failure(outcome))));
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
        self.sync_if_owed(kubelet, key);
        self.show(kubelet, key);
        self.dispatch(kubelet);
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
