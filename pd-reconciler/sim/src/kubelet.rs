//! One simulated kubelet: what it keeps. Which steps are due is decided by the real `sync`; the shell that takes
//! them stands in `world::node`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use pd_kubelet::sync::{Candidate, Have, Pace, Setup, Stage, Stretch};
use schemas::{
    Assignment, AssignmentStatus, Digest, IndexSet,
    assignment::{Failure, FailureOutcome, MergeReport, PlanReport, Running, Segment},
};

use crate::{
    events::{Micros, SECOND},
    network::Line,
    world::Event,
};

/// As in the kubelet's ledger.
const ALPHA: f64 = 0.3;
const SAMPLE_SECONDS: f64 = 0.035;

/// Number of an Assignment: the digits of its UID.
pub(crate) type Key = u32;

/// One node with its kubelet.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) name: String,
    /// UID of its Node object: it changes when it joins anew.
    pub(crate) uid: String,
    pub(crate) joins: u32,
    pub(crate) has_joined: bool,
    pub(crate) line: Line,
    pub(crate) slots: Vec<Option<Run>>,
    /// Work done in a microsecond, by a slot that is well and by one as it is now.
    pub(crate) nominal: f64,
    pub(crate) speed: f64,
    /// The speed after it is thawed.
    pub(crate) thawed_speed: f64,
    /// The process runs.
    pub(crate) is_alive: bool,
    /// Stopped by SIGSTOP or the like: what reaches it waits.
    pub(crate) is_frozen: bool,
    /// The machine is gone for good.
    pub(crate) is_dead: bool,
    /// Since when no renewal of its lease gets through.
    pub(crate) silent_since: Option<Micros>,
    /// The end of its last silence that was long enough to be taken for lost.
    pub(crate) lost_until: Option<Micros>,
    pub(crate) works: BTreeMap<Key, Work>,
    /// What is on its disk.
    pub(crate) spool: BTreeMap<Key, Ledger>,
    pub(crate) hand_outs: u64,
    /// What waits until it is thawed.
    pub(crate) held: Vec<Event>,
    pub(crate) runs: u64,
}

/// What a slot does.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) key: Key,
    pub(crate) doing: Doing,
    /// Tells this run's end from those of runs that are over.
    pub(crate) number: u64,
    pub(crate) begun: Micros,
    /// The index that will end its executor.
    pub(crate) deadly: Option<u64>,
    /// Cost paid until `since`.
    pub(crate) paid: f64,
    pub(crate) since: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// `next` is the first index without an outcome.
    Indexes {
        attempt: u32,
        first: u64,
        next: u64,
        last: u64,
    },
    Plan,
    Merge {
        attempt: u32,
    },
}

/// What has ended of one Assignment on one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) node_uid: String,
    pub(crate) completed: IndexSet,
    pub(crate) failed: BTreeMap<u32, IndexSet>,
    pub(crate) plan: Option<PlanReport>,
    /// The try that `plan` answers.
    pub(crate) plan_attempt: u32,
    pub(crate) merge: Option<MergeReport>,
    pub(crate) started: u64,
    pub(crate) rate: f64,
    pub(crate) busy_seconds: f64,
}

/// What a status says beside the outcomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) generation: i64,
    pub(crate) retained: IndexSet,
    pub(crate) running: Vec<Running>,
}

/// A call that waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Plan,
    Merge { attempt: u32 },
}

/// One Assignment on one node.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) object: Arc<Assignment>,
    /// When its spec was last changed here.
    pub(crate) met: Micros,
    pub(crate) ledger: Ledger,
    pub(crate) queue: VecDeque<Stretch>,
    pub(crate) queued: u64,
    pub(crate) retained: IndexSet,
    pub(crate) pace: Pace,
    pub(crate) setup: Setup,
    pub(crate) plan: Stage,
    pub(crate) plan_attempt: u32,
    pub(crate) merge: Option<(u32, Stage)>,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) served: u64,
    pub(crate) view: View,
    pub(crate) report: Reporting,
    /// A look at what runs is due already.
    pub(crate) is_ticking: bool,
}

/// Where the report of an Assignment stands.
#[derive(Debug, Default)]
pub(crate) struct Reporting {
    pub(crate) version: u64,
    pub(crate) acknowledged: u64,
    pub(crate) changed_at: Option<Micros>,
    pub(crate) is_urgent: bool,
    /// The version on its way.
    pub(crate) under_way: Option<u64>,
    pub(crate) retry_at: Option<Micros>,
    pub(crate) failures: u32,
    pub(crate) is_fenced: bool,
    /// The object as the server has it.
    pub(crate) base: Option<Arc<Assignment>>,
    /// A look at whether a report is due is filed for then.
    pub(crate) armed: Option<Micros>,
}

/// The number in an Assignment's UID.
pub(crate) fn key_of(assignment: &Assignment) -> Key {
    assignment.metadata.uid.as_deref().map_or(0, key)
}

/// The number in the UID of an Assignment.
pub(crate) fn key(uid: &str) -> Key {
    uid.get(1..).and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Kubelet {
    pub(crate) fn new(name: String, slots: usize, speed: f64, line: Line) -> Self {
        Self {
            uid: format!("{name}-1"),
            name,
            joins: 1,
            has_joined: false,
            line,
            slots: vec![None; slots],
            nominal: speed,
            speed,
            thawed_speed: speed,
            is_alive: false,
            is_frozen: false,
            is_dead: false,
            silent_since: Some(0),
            lost_until: None,
            works: BTreeMap::new(),
            spool: BTreeMap::new(),
            hand_outs: 0,
            held: Vec::new(),
            runs: 0,
        }
    }

    /// When its lease was last renewed before `now`: once a second, while a renewal gets through.
    pub(crate) fn heard(&self, number: usize, now: Micros) -> Option<Micros> {
        let until = self.silent_since.map_or(now, |since| since.min(now));
        let phase = number as Micros * 37_000 % SECOND;
        until.checked_sub(phase).map(|since| since / SECOND * SECOND + phase)
    }

    /// Work that a run has paid for at `now`.
    pub(crate) fn paid(&self, run: &Run, now: Micros) -> f64 {
        run.paid + (now - run.since) as f64 * self.speed
    }

    pub(crate) fn busy_slots(&self, key: Key) -> u32 {
        self.slots.iter().flatten().filter(|run| run.key == key).count() as u32
    }

    /// What runs of an Assignment, without what of it has ended.
    pub(crate) fn started(&self, key: Key) -> Vec<Stretch> {
        let runs = self.slots.iter().flatten().filter(|run| run.key == key);
        runs.filter_map(|run| match run.doing {
            Doing::Indexes { attempt, next, last, .. } if next <= last => Some(Stretch { attempt, first: next, last }),
            _ => None,
        })
        .collect()
    }
}

impl Ledger {
    /// Counts a run into rate and use, as the kubelet's ledger does.
    pub(crate) fn sample(&mut self, ended: u64, seconds: f64) {
        self.busy_seconds += seconds;
        if ended > 0 && seconds > 0.0 {
            let sample = ended as f64 / seconds;
            let weight = ALPHA * (seconds / SAMPLE_SECONDS).min(1.0);
            self.rate = if self.rate > 0.0 { self.rate + weight * (sample - self.rate) } else { sample };
        }
    }

    /// Takes over what the server knows of us and we do not.
    pub(crate) fn adopt(&mut self, status: &AssignmentStatus) {
        if status.node_uid != self.node_uid {
            return;
        }
        self.completed |= &status.completed();
        if self.failed.is_empty() {
            for failure in &status.failures {
                *self.failed.entry(failure.attempt).or_default() |= &failure.indexes;
            }
        }
        if self.plan.is_none() {
            (self.plan, self.plan_attempt) = (status.plan.clone(), status.plan_attempt);
        }
        self.merge = self.merge.take().or_else(|| status.merge.clone());
        self.started = self.started.max(status.started);
        self.busy_seconds = self.busy_seconds.max(status.busy_seconds);
        self.rate = if self.rate > 0.0 { self.rate } else { status.rate };
    }

    /// What the server is told; the outputs are one segment called `segment`.
    pub(crate) fn status(&self, view: &View, segment: Digest) -> AssignmentStatus {
        let retained = &view.retained - &self.completed;
        let failures: Vec<Failure> = self
            .failed
            .iter()
            .map(|(attempt, indexes)| Failure {
                attempt: *attempt,
                outcome: FailureOutcome::Trap,
                message: "simulated".into(),
                indexes: indexes.clone(),
                logs: vec![],
            })
            .collect();
        let indexes = self.completed.clone();
        let segments = vec![Segment { digest: segment, size: indexes.count(), indexes, logs: None }];
        AssignmentStatus {
            node_uid: self.node_uid.clone(),
            observed_generation: view.generation,
            plan: self.plan.clone(),
            plan_attempt: self.plan_attempt,
            succeeded: self.completed.count(),
            segments: if self.completed.is_empty() { vec![] } else { segments },
            failures,
            retained,
            running: view.running.iter().filter(|run| !self.completed.contains(run.index)).cloned().collect(),
            merge: self.merge.clone(),
            started: self.started,
            rate: self.rate,
            busy_seconds: self.busy_seconds,
            ..AssignmentStatus::default()
        }
    }
}

impl Work {
    pub(crate) fn new(object: Arc<Assignment>, ledger: Ledger, met: Micros) -> Self {
        Self {
            plan: if ledger.plan.is_some() { Stage::Done } else { Stage::Idle },
            plan_attempt: ledger.plan_attempt,
            merge: ledger.merge.as_ref().map(|merge| (merge.attempt, Stage::Done)),
            object,
            met,
            ledger,
            queue: VecDeque::new(),
            queued: 0,
            retained: IndexSet::new(),
            pace: Pace::default(),
            setup: Setup::Missing,
            calls: VecDeque::new(),
            served: 0,
            view: View::default(),
            report: Reporting::default(),
            is_ticking: false,
        }
    }

    pub(crate) fn have(&self, started: Vec<Stretch>) -> Have<'_> {
        Have {
            completed: Some(&self.ledger.completed),
            failed: Some(&self.ledger.failed),
            started,
            plan: self.plan,
            plan_attempt: self.plan_attempt,
            merge: self.merge,
            setup: self.setup,
        }
    }

    /// What `choose` needs to know.
    pub(crate) fn candidate(&self, busy: u32) -> Candidate {
        let is_ready = matches!(self.setup, Setup::Ready { .. });
        let is_planned = self.object.spec.layout.is_some() && self.setup == Setup::Ready { with_layout: true };
        Candidate {
            call: is_ready && !self.calls.is_empty(),
            queued: is_planned && !self.queue.is_empty(),
            busy,
            cap: self.object.spec.slots,
            served: self.served,
        }
    }

    /// Takes the next run out of the queue, as the agent does.
    pub(crate) fn next_run(&mut self, slots: u64) -> Option<Stretch> {
        let length = self.pace.run_length(self.queued, slots);
        let front = self.queue.front_mut()?;
        let run = Stretch { last: front.last.min(front.first + length - 1), ..*front };
        if run.last == front.last {
            self.queue.pop_front();
        } else {
            front.first = run.last + 1;
        }
        self.queued -= run.count();
        Some(run)
    }
}
