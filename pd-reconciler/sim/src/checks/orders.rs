//! Orders: what a plan gives to nodes, judged by what its reconciler has seen, whatever a planted bug makes the plan
//! believe.

use std::collections::BTreeMap;

use pd_plan::{Action, Effect, Plan, Taint};
use schemas::{Assignment, AssignmentSpec, IndexSet, Job};

use super::{Invariant, tally::Tally};
use crate::{reconciler::Reconciler, world::World};

impl World {
    /// What a plan of a reconciler gives is within the limits that the reconciler knows.
    pub(crate) fn check_orders(&mut self, number: usize, plan: &Plan) {
        if !self.checks.are_on {
            return;
        }
        let reconciler = &self.reconcilers[number];
        let broken = plan.actions.iter().find_map(|action| match action {
            Action::CreateAssignment(order) | Action::ReplaceAssignment { assignment: order, .. } => {
                Order::of(order, reconciler)?.broken()
            }
            _ => None,
        });
        if let Some((invariant, text)) = broken {
            self.checks.break_(self.now, invariant, || text);
        }
    }
}

/// One write of an Assignment.
struct Order<'a> {
    written: &'a Assignment,
    job: &'a Job,
    reconciler: &'a Reconciler,
    /// What it gives to the node beyond what the node has or has delivered, by attempt.
    given: BTreeMap<u32, IndexSet>,
    /// It orders a plan or a merge call.
    is_call: bool,
}

impl<'a> Order<'a> {
    fn of(written: &'a Assignment, reconciler: &'a Reconciler) -> Option<Self> {
        let uid = &written.spec.job.uid;
        let job = reconciler.jobs.get(uid)?;
        let known = reconciler.assignments.get(uid).and_then(|group| group.get(written.metadata.name.as_deref()?));
        let mut given = BTreeMap::new();
        for grant in &written.spec.grants {
            let mut new = grant.indexes.clone();
            let before = known.iter().flat_map(|known| &known.spec.grants);
            before.filter(|old| old.attempt == grant.attempt).for_each(|old| new -= &old.indexes);
            if let Some(status) = known.and_then(|known| known.status.as_ref()).filter(|_| !new.is_empty()) {
                new -= &status.completed();
            }
            if !new.is_empty() {
                given.insert(grant.attempt, new);
            }
        }
        let calls = |spec: &AssignmentSpec| {
            let plan = spec.plan.then_some(spec.plan_attempt);
            (plan, spec.merge.as_ref().map(|merge| merge.attempt))
        };
        let ((plan, merge), before) = (calls(&written.spec), known.map(|known| calls(&known.spec)).unwrap_or_default());
        let is_call = plan.is_some() && plan != before.0 || merge.is_some() && merge != before.1;
        Some(Self { written, job, reconciler, given, is_call })
    }

    fn broken(&self) -> Option<(Invariant, String)> {
        let name = self.written.metadata.name.as_deref().unwrap_or_default();
        let broken = |invariant, text: &str| (invariant, format!("{name}: {text}"));
        let misplaced = self.misplaced().map(|text| broken(Invariant::PlacementKept, text));
        misplaced.or_else(|| self.miscounted().map(|text| broken(Invariant::TriesCounted, &text)))
    }

    /// Something new for a node that takes no work, or not this job's.
    fn misplaced(&self) -> Option<&'static str> {
        if self.given.is_empty() && !self.is_call {
            return None;
        }
        let spec = &self.written.spec;
        let Some(node) = self.reconciler.nodes.get(&spec.node_name).filter(|node| node.uid == spec.node_uid) else {
            return Some("its node is gone");
        };
        let placement = self.job.spec.placement.clone().unwrap_or_default();
        let is_tolerated = |taint: &Taint| taint.effect == Effect::PreferNoSchedule || tolerates(self.job, taint);
        if !node.schedulable || node.draining {
            Some("its node is cordoned")
        } else if placement.node_selector.iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
            Some("its node has not the labels that the job selects")
        } else if !node.taints.iter().all(is_tolerated) {
            Some("its node has a taint that the job does not tolerate")
        } else {
            None
        }
    }

    /// A try that is not the next one of its index, or for which there is no leave.
    fn miscounted(&self) -> Option<String> {
        if self.given.is_empty() {
            return None;
        }
        let spec = &self.job.spec;
        let mut tally = Tally::default();
        for known in self.reconciler.assignments.get(&self.written.spec.job.uid).into_iter().flat_map(BTreeMap::values)
        {
            known.status.iter().for_each(|status| tally.take_failures(spec, status));
        }
        for (attempt, given) in &self.given {
            if *attempt > spec.backoff_limit_per_index + 1 {
                return Some(format!("[{given}] is given out for try {attempt}, which is beyond its limit"));
            }
            if *attempt > 1 && !tally.retryable(attempt - 1).is_superset(given) {
                let early = given - &tally.retryable(attempt - 1);
                return Some(format!("[{early}] is given out for try {attempt} and has not failed so that it may be"));
            }
            // A copy is of the try that it copies, which may have failed elsewhere.
            let again = &(given & &tally.failed_since(*attempt)) - &self.written.spec.copies;
            if !again.is_empty() {
                return Some(format!("[{again}] is given out for try {attempt}, which has failed already"));
            }
        }
        None
    }
}

/// Whether a job puts up with a taint.
pub(super) fn tolerates(job: &Job, taint: &Taint) -> bool {
    let mut tolerations = job.spec.placement.iter().flat_map(|placement| &placement.tolerations);
    tolerations.any(|toleration| toleration.matches(&taint.key, &taint.value, taint.effect.name()))
}
