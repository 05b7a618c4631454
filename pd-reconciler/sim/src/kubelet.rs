//! One simulated kubelet: what it keeps. Which steps are due is decided by the real `sync`; the shell that takes
//! them stands in `world::node`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use pd_kubelet::sync::{self, Candidate, Have, Pace, Setup, Stage, Stretch};
use pd_plan::Taint;
use schemas::{
    Assignment, IndexSet,
    assignment::{CallFailure, FailureOutcome, MergeReport, PlanReport},
    job::{JobResult, Layout},
};

use crate::{
    events::{Micros, SECOND},
    ledger::{Ledger, View},
    network::Line,
    world::{Event, Whose},
};

/// Number of an Assignment: the digits of its UID.
pub(crate) type Key = u32;

/// One node with its kubelet.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) name: String,
    /// UID of its Node object: it changes when it joins anew.
    pub(crate) uid: String,
    /// With which it joins.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
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
    /// The end of its last silence that was long enough to be taken for lost, or of a taint that sent away what it had.
    pub(crate) lost_until: Option<Micros>,
    pub(crate) works: BTreeMap<Key, Work>,
    /// What is on its disk.
    pub(crate) spool: BTreeMap<Key, Ledger>,
    pub(crate) hand_outs: u64,
    /// What waits until it is thawed.
    pub(crate) held: Vec<Event>,
    /// Whose set-up fails here.
    pub(crate) spoilt: BTreeSet<Whose>,
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
    pub(crate) fate: Fate,
    /// Cost paid until `since`.
    pub(crate) paid: f64,
    pub(crate) since: Micros,
}

/// What will become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes to its end.
    Ends,
    /// Its executor dies of that index.
    Dies(u64),
    /// No executor can load the component: nothing of it begins.
    Unloadable,
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
    /// A later try of what has failed is granted, and not in the queue yet.
    pub(crate) is_owed: bool,
    pub(crate) retained: IndexSet,
    pub(crate) pace: Pace,
    /// A failed one is under way until it is forgiven.
    pub(crate) setup: Setup,
    /// When it failed, until it is forgiven.
    pub(crate) setup_failed_at: Option<Micros>,
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
            labels: BTreeMap::new(),
            taints: Vec::new(),
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
            spoilt: BTreeSet::new(),
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
            is_owed: false,
            retained: IndexSet::new(),
            pace: Pace::default(),
            setup: Setup::Missing,
            setup_failed_at: None,
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

    /// Attempts have failed: nothing of them runs any more.
    pub(crate) fn fail(&mut self, attempt: u32, outcome: FailureOutcome, indexes: &IndexSet) {
        self.ledger.fail(attempt, outcome, indexes);
        self.is_owed |= sync::is_owed(&self.object.spec, attempt, indexes);
        self.retained -= indexes;
        self.view.retained -= indexes;
    }

    pub(crate) fn end_plan(&mut self, result: Result<Layout, CallFailure>) {
        self.plan = Stage::Done;
        self.ledger.plan_attempt = self.plan_attempt;
        self.ledger.plan = Some(result.map_or_else(PlanReport::Failed, PlanReport::Layout));
    }

    pub(crate) fn end_merge(&mut self, attempt: u32, result: Result<JobResult, CallFailure>) {
        self.merge = Some((attempt, Stage::Done));
        let (result, failure) = match result {
            Ok(result) => (Some(result), None),
            Err(failure) => (None, Some(failure)),
        };
        self.ledger.merge = Some(MergeReport { attempt, result, failure });
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
