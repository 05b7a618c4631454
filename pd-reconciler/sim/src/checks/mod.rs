//! Invariants: what must hold after every step, whatever struck. Judged from what the server stores and what the
//! slots do, never from the plan's own notions. Each room judges one kind of thing: `writes`, `jobs`, `ends`,
//! `dependencies`, `slots`, `plans`, `orders`.

mod dependencies;
mod ends;
mod jobs;
mod orders;
mod plans;
mod slots;
mod tally;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use schemas::{Assignment, Digest, IndexSet, Job};

use self::tally::Tally;
use crate::{
    events::Micros,
    kubelet::Key,
    server::{Object, Request, Server},
    world::{Client, World, is_over},
};

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
    /// A job begins before what it depends on is complete, or with another input than that came to.
    DependenciesKept,
    /// A node is given something of a job that may not use it.
    PlacementKept,
    /// An index is tried once more, or once less, than its failures and its limit have it.
    TriesCounted,
    /// A report counts that another registration of the node made.
    ReportsFenced,
    /// A plan breaks what `pd_plan::invariants` checks.
    PlanSound,
    /// Planning on the result of a plan changes something.
    PlanRests,
    /// A job ended otherwise than its outcomes and its spec have it.
    RightEnd,
    /// A job goes on although its end was due.
    VerdictInTime,
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
    /// By job UID: what its nodes have reported.
    tallies: BTreeMap<String, Tally>,
    /// By name: what the jobs that are over came to; none: they failed.
    ends: BTreeMap<String, Option<Digest>>,
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
            tallies: BTreeMap::new(),
            ends: BTreeMap::new(),
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
            Request::CreateAssignment(_)
            | Request::DeleteAssignment(_)
            | Request::NodeReady { .. }
            | Request::NodeIdle { .. } => Before::Nothing,
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
            (_, Object::Assignment(after), Client::Reconciler(_)) => {
                self.check_dependencies(after);
                self.check_grants(None, after);
            }
            (Before::Job(before), Object::Job(after), _) => self.check_status(&before, after),
            _ => {}
        }
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
