//! One Assignment as the agent keeps it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use schemas::{
    Assignment, IndexSet,
    assignment::{CallFailure, Part},
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::{
    cache::Cache,
    report::{Ledger, Message},
    slots::{Batch, Delivered, Job, Parts, ResultFile},
    sync::{Candidate, Have, Pace, Setup, Stage, Stretch},
};

/// A spawned task that ends with its owner.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn new(handle: JoinHandle<()>) -> Self {
        Self(handle)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How far component and inputs have come.
#[derive(Default)]
pub(super) enum SetupState {
    #[default]
    Missing,
    Underway(#[allow(dead_code, reason = "kept so that it is aborted with the work")] Task),
    Ready {
        job: Arc<Job>,
        with_layout: bool,
    },
    Failed(Instant),
}

impl SetupState {
    fn view(&self) -> Setup {
        match self {
            Self::Missing => Setup::Missing,
            // A failed one waits until it is forgiven.
            Self::Underway(_) | Self::Failed(_) => Setup::Underway,
            Self::Ready { with_layout, .. } => Setup::Ready { with_layout: *with_layout },
        }
    }

    pub(super) fn failed_at(&self) -> Option<Instant> {
        match self {
            Self::Failed(at) => Some(*at),
            _ => None,
        }
    }

    /// Lets a failed set-up be tried again.
    pub(super) fn forgive(&mut self) {
        if matches!(self, Self::Failed(_)) {
            *self = Self::Missing;
        }
    }

    /// Closes what is open.
    pub(super) fn release(&mut self) {
        if matches!(self, Self::Ready { .. }) {
            *self = Self::Missing;
        }
    }

    pub(super) fn job(&self) -> Option<&Arc<Job>> {
        match self {
            Self::Ready { job, .. } => Some(job),
            _ => None,
        }
    }
}

/// A call that waits for a slot.
pub(super) enum Call {
    Plan,
    Merge { attempt: u32, parts: Arc<Parts> },
}

/// One Assignment.
pub(super) struct Work {
    pub object: Box<Assignment>,
    /// Of the object's spec: checks of which the delivered output is at hand.
    checkable: IndexSet,
    /// Where these are, once one of them was to run, and what they were named by.
    delivered: Option<(Vec<Part>, Delivered)>,
    pub completed: IndexSet,
    pub failed: BTreeMap<u32, IndexSet>,
    pub queue: VecDeque<Stretch>,
    /// Indexes in `queue`.
    pub queued: u64,
    pub retained: IndexSet,
    pub pace: Pace,
    pub setup: SetupState,
    pub plan: Stage,
    /// The try of the plan call that `plan` speaks of.
    pub plan_attempt: u32,
    pub merge: Option<(u32, Stage)>,
    pub fetching_parts: Option<Task>,
    pub calls: VecDeque<Call>,
    /// When it last got a slot, as a count of hand-outs.
    pub served: u64,
    /// When it was last changed or busy.
    pub touched: Instant,
    messages: mpsc::UnboundedSender<Message>,
}

impl Work {
    pub(super) fn new(object: Box<Assignment>, ledger: &Ledger, messages: mpsc::UnboundedSender<Message>) -> Self {
        Self {
            checkable: object.spec.checkable(),
            delivered: None,
            object,
            completed: ledger.completed(),
            failed: ledger.failed(),
            queue: VecDeque::new(),
            queued: 0,
            retained: IndexSet::new(),
            pace: Pace::default(),
            setup: SetupState::Missing,
            plan: if ledger.plan.is_some() { Stage::Done } else { Stage::Idle },
            plan_attempt: ledger.plan_attempt,
            merge: ledger.merge.as_ref().map(|merge| (merge.attempt, Stage::Done)),
            fetching_parts: None,
            calls: VecDeque::new(),
            served: 0,
            touched: Instant::now(),
            messages,
        }
    }

    /// The object has changed.
    pub(super) fn set(&mut self, object: Box<Assignment>) {
        self.checkable = object.spec.checkable();
        self.object = object;
        self.touched = Instant::now();
    }

    /// The outputs that are to be checked, which are fetched when somebody waits for them.
    pub(super) fn delivered(&mut self, cache: &Arc<Cache>) -> Delivered {
        let parts = &self.object.spec.check_parts;
        match &self.delivered {
            Some((known, delivered)) if known == parts => delivered.clone(),
            _ => {
                let delivered = super::setup::delivered(cache, parts);
                self.delivered = Some((parts.clone(), delivered.clone()));
                delivered
            }
        }
    }

    pub(super) fn send(&self, message: Message) {
        // The reporter outlives the work, except while everything ends.
        let _ = self.messages.send(message);
    }

    pub(super) fn have(&self, started: Vec<Stretch>) -> Have<'_> {
        Have {
            completed: Some(&self.completed),
            failed: Some(&self.failed),
            started,
            plan: self.plan,
            plan_attempt: self.plan_attempt,
            merge: self.merge,
            setup: self.setup.view(),
        }
    }

    /// True when nothing waits for a slot and something has been done.
    pub(super) fn is_idle(&self) -> bool {
        let is_new = self.completed.is_empty() && self.failed.is_empty() && self.plan == Stage::Idle;
        let is_merging = matches!(self.merge, Some((_, Stage::Underway)));
        self.queue.is_empty() && self.calls.is_empty() && !is_merging && !is_new
    }

    /// What `choose` needs to know.
    pub(super) fn candidate(&self, busy: u32) -> Candidate {
        let Some(_) = self.setup.job() else {
            return Candidate { call: false, queued: false, busy, cap: None, served: self.served };
        };
        let is_planned =
            self.object.spec.layout.is_some() && matches!(self.setup, SetupState::Ready { with_layout: true, .. });
        Candidate {
            call: !self.calls.is_empty(),
            queued: is_planned && !self.queue.is_empty(),
            busy,
            cap: self.object.spec.slots,
            served: self.served,
        }
    }

    /// Takes the next run out of the queue, and tells whether delivered outputs of it are to be checked: of all or of none.
    pub(super) fn next_run(&mut self, slots: u64) -> Option<(Stretch, bool)> {
        let length = self.pace.run_length(self.queued, slots);
        let front = self.queue.front_mut()?;
        let (is_check, last) = alike(&self.checkable, front.first, front.last.min(front.first + length - 1));
        let run = Stretch { last, ..*front };
        if run.last == front.last {
            self.queue.pop_front();
        } else {
            front.first = run.last + 1;
        }
        self.queued -= run.count();
        Some((run, is_check))
    }

    /// Counts a batch in and passes it on.
    pub(super) fn take_batch(&mut self, attempt: u32, batch: Batch) {
        // Nothing of it runs any more; a later try may, and be retained again.
        for failed in &batch.failures {
            self.retained.remove(failed.index);
        }
        for range in batch.outputs.ranges() {
            self.completed.insert_range(range);
        }
        if !batch.failures.is_empty() {
            let failed = self.failed.entry(attempt).or_default();
            for failure in &batch.failures {
                failed.insert(failure.index);
            }
        }
        self.send(Message::Batch { attempt, batch });
    }

    pub(super) fn end_plan(&mut self, result: Result<executor_protocol::Layout, CallFailure>) {
        self.plan = Stage::Done;
        self.send(Message::Planned { attempt: self.plan_attempt, result });
    }

    pub(super) fn end_merge(&mut self, attempt: u32, result: Result<ResultFile, CallFailure>) {
        self.merge = Some((attempt, Stage::Done));
        let media_type = self.object.spec.layout.as_ref().map_or_else(String::new, |layout| layout.media_type.clone());
        self.send(Message::Merged { attempt, media_type, result });
    }
}

/// Whether `first` is in the set, and up to where, but no further than `last`, that is so.
fn alike(set: &IndexSet, first: u64, last: u64) -> (bool, u64) {
    let within = set & &std::iter::once(first..=last).collect();
    match within.ranges().next() {
        Some(range) if *range.start() == first => (true, *range.end()),
        Some(range) => (false, range.start() - 1),
        None => (false, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_from_the_front_and_never_cross_a_gap() {
        let (messages, _inbox) = mpsc::unbounded_channel();
        let object = Assignment::new("a", crate::slots::tests::spec());
        let mut work = Work::new(Box::new(object), &Ledger::new("n".into()), messages);
        work.queue = [Stretch { attempt: 2, first: 5, last: 6 }, Stretch { attempt: 1, first: 10, last: 90 }].into();
        work.queued = 83;
        work.pace.measured(100, 0.05);
        let runs: Vec<_> = std::iter::from_fn(|| work.next_run(2)).map(|(r, _)| (r.attempt, r.first, r.last)).collect();
        assert_eq!(runs[0], (2, 5, 6));
        assert_eq!(runs[1], (1, 10, 50), "half of what is left, for there are two slots");
        assert_eq!(runs.last().map(|run| run.2), Some(90));
        assert!(runs[1..].windows(2).all(|pair| pair[0].2 + 1 == pair[1].1), "nothing is left out");
        assert_eq!(work.queued, 0);
    }

    #[test]
    fn a_run_is_checked_as_a_whole_or_not_at_all() {
        let (messages, _inbox) = mpsc::unbounded_channel();
        let mut spec = crate::slots::tests::spec();
        spec.checks = "3-5,9,20".parse().expect("a set");
        let indexes = "4-5,9".parse().expect("a set");
        spec.check_parts = vec![Part { segment: schemas::Digest::of(b"segment"), indexes }];
        let mut work = Work::new(Box::new(Assignment::new("a", spec)), &Ledger::new("n".into()), messages);
        work.queue = [Stretch { attempt: 1, first: 3, last: 9 }, Stretch { attempt: 1, first: 20, last: 20 }].into();
        work.queued = 8;
        work.pace.measured(1000, 0.05);
        let runs: Vec<_> =
            std::iter::from_fn(|| work.next_run(1)).map(|(r, is_check)| (r.first, r.last, is_check)).collect();
        assert_eq!(runs, [(3, 3, false), (4, 5, true), (6, 8, false), (9, 9, true), (20, 20, false)]);
    }
}
