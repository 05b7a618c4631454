//! The kubelet's own reconcile: what an Assignment wants and what is here decide what to do next.
//!
//! In: an Assignment's spec and the local state of its work. Out: steps to take, the queue of indexes to run,
//! and what was withdrawn too late. Pure: no await, no clock, no randomness, no I/O. Doing what was decided
//! and deciding again changes nothing.

mod choose;
mod pace;

use std::collections::{BTreeMap, VecDeque};

use schemas::{AssignmentSpec, IndexSet};

pub use choose::{Candidate, choose};
pub use pace::Pace;

/// Consecutive indexes of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which attempt it is.
    pub attempt: u32,
    /// The first index.
    pub first: u64,
    /// Included.
    pub last: u64,
}

impl Stretch {
    /// How many indexes it has.
    pub fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// How far a call that happens once has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Not begun.
    #[default]
    Idle,
    /// Waiting for a slot, running, or being set up.
    Underway,
    /// Answered, well or badly.
    Done,
}

/// How far the component and inputs have come on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setup {
    /// Nothing is here.
    #[default]
    Missing,
    /// Being fetched and compiled.
    Underway,
    /// Everything is open; with the plan's state, or not yet.
    Ready {
        /// The plan's state is open too.
        with_layout: bool,
    },
}

/// What is here of one Assignment.
#[derive(Clone, Debug, Default)]
pub struct Have<'a> {
    /// Indexes whose output is kept here or was reported.
    pub completed: Option<&'a IndexSet>,
    /// Indexes that failed here, by attempt.
    pub failed: Option<&'a BTreeMap<u32, IndexSet>>,
    /// What slots run now, without what of it has ended.
    pub started: Vec<Stretch>,
    /// How far the plan call has come.
    pub plan: Stage,
    /// The try of the plan call that `plan` speaks of.
    pub plan_attempt: u32,
    /// The last merge order taken up, by its attempt.
    pub merge: Option<(u32, Stage)>,
    /// How far the set-up has come.
    pub setup: Setup,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch and compile what the calls need.
    SetUp {
        /// The plan's state too.
        with_layout: bool,
    },
    /// Run the plan call.
    Plan,
    /// Stop the plan call: nobody waits for it any more.
    StopPlan,
    /// Fetch the parts, then run the merge call of this attempt.
    Merge {
        /// That of the order.
        attempt: u32,
    },
    /// Stop the merge call: nobody waits for it any more.
    StopMerge,
    /// Interrupt the indexes that run: its results are not wanted.
    Interrupt,
}

/// What to do about one Assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// What to do now, in order.
    pub steps: Vec<Step>,
    /// What to run, in order; nothing until the set-up is ready.
    pub queue: VecDeque<Stretch>,
    /// Recalled after it had started: it is finished and reported.
    pub retained: IndexSet,
    /// Withdrawn for good, and running: a slot that is at one of these is interrupted.
    pub stop: IndexSet,
}

/// Decides about one Assignment.
pub fn sync(spec: &AssignmentSpec, have: &Have<'_>) -> Next {
    let queue = queue(spec, have);
    let (retained, stop) = withdrawn(spec, have);
    let calls = calls(spec, have);
    let mut steps = Vec::new();
    let with_layout = spec.layout.is_some();
    // A new Assignment is set up before it grants anything; an old one only when there is something to do.
    let is_wanted = !queue.is_empty() || !calls.is_empty() || is_new(have);
    match have.setup {
        Setup::Missing if is_wanted => steps.push(Step::SetUp { with_layout }),
        Setup::Ready { with_layout: false } if with_layout && is_wanted => steps.push(Step::SetUp { with_layout }),
        Setup::Ready { .. } => steps.extend(calls),
        Setup::Missing | Setup::Underway => {}
    }
    if !spec.plan && have.plan == Stage::Underway {
        steps.push(Step::StopPlan);
    }
    if let Some((attempt, Stage::Underway)) = have.merge
        && spec.merge.as_ref().is_none_or(|order| order.attempt != attempt)
    {
        steps.push(Step::StopMerge);
    }
    if spec.slots == Some(0) && !have.started.is_empty() {
        steps.push(Step::Interrupt);
    }
    Next { steps, queue, retained, stop }
}

/// True when something that has failed is granted for a later try already. While it ran that try was not queued: what is
/// to run has to be decided anew.
pub fn is_owed(spec: &AssignmentSpec, attempt: u32, failed: &IndexSet) -> bool {
    spec.grants.iter().any(|grant| grant.attempt > attempt && !grant.indexes.is_disjoint(failed))
}

/// True when nothing has ever been done here.
fn is_new(have: &Have<'_>) -> bool {
    have.completed.is_none_or(IndexSet::is_empty)
        && have.failed.is_none_or(BTreeMap::is_empty)
        && have.plan == Stage::Idle
        && have.merge.is_none()
}

/// The plan and the merge call, where they are due.
fn calls(spec: &AssignmentSpec, have: &Have<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let is_answered = have.plan == Stage::Done && have.plan_attempt >= spec.plan_attempt;
    if spec.plan && spec.layout.is_none() && have.plan != Stage::Underway && !is_answered {
        steps.push(Step::Plan);
    }
    if let Some(order) = spec.merge.as_ref().filter(|_| spec.layout.is_some()) {
        // One merge at a time: a newer order waits for the older call's end.
        let due = match have.merge {
            None => true,
            Some((attempt, stage)) => attempt != order.attempt && stage != Stage::Underway,
        };
        if due {
            steps.push(Step::Merge { attempt: order.attempt });
        }
    }
    steps
}

/// `spec - status`: what is granted and has not ended nor started here; later attempts first, for they are
/// what a job waits for in the end.
fn queue(spec: &AssignmentSpec, have: &Have<'_>) -> VecDeque<Stretch> {
    let started: IndexSet = have.started.iter().map(|stretch| stretch.first..=stretch.last).collect();
    let mut grants: Vec<_> = spec.grants.iter().collect();
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.attempt));
    let mut queue = VecDeque::new();
    for grant in grants {
        let mut due = &grant.indexes - &started;
        if let Some(completed) = have.completed {
            due -= completed;
        }
        for failed in have.failed.into_iter().flat_map(|failed| failed.range(grant.attempt..)) {
            due -= failed.1;
        }
        let stretch = |range: std::ops::RangeInclusive<u64>| Stretch {
            attempt: grant.attempt,
            first: *range.start(),
            last: *range.end(),
        };
        queue.extend(due.ranges().map(stretch));
    }
    queue
}

/// What runs although it was withdrawn: what was recalled is finished, the rest is stopped. With no slots nothing is
/// finished.
fn withdrawn(spec: &AssignmentSpec, have: &Have<'_>) -> (IndexSet, IndexSet) {
    let mut withdrawn: IndexSet = have.started.iter().map(|stretch| stretch.first..=stretch.last).collect();
    if withdrawn.is_empty() {
        return (IndexSet::new(), withdrawn);
    }
    withdrawn -= &spec.granted();
    if spec.slots == Some(0) {
        return (IndexSet::new(), withdrawn);
    }
    (&withdrawn & &spec.recalled, &withdrawn - &spec.recalled)
}

#[cfg(test)]
mod tests;
