//! The tally of one job: what its nodes have ever reported, and what the job's own rules make of it. Counted anew from
//! specs and reports; what `pd-plan` makes of them it does not know.

use std::collections::BTreeMap;

use schemas::{
    Assignment, AssignmentStatus, IndexSet, JobSpec,
    assignment::{FailureOutcome, PlanReport},
    job::{FailureAction, RuleOutcome},
};

/// What was reported of one job.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What any node ever delivered.
    pub(super) delivered: IndexSet,
    /// By attempt: what failed at it.
    tried: BTreeMap<u32, IndexSet>,
    /// By attempt: what failed at it in a way after which it may be tried again.
    retryable: BTreeMap<u32, IndexSet>,
    /// What failed at the last attempt that it has.
    exhausted: IndexSet,
    /// What failed in a way after which it is not tried again, and the job goes on.
    hopeless: IndexSet,
    /// What failed in a way that ends the job.
    ending: IndexSet,
    /// By name of the Assignment and try: failed plan calls.
    plans: BTreeMap<(String, u32), FailureOutcome>,
    /// By attempt: failed merges.
    merges: BTreeMap<u32, FailureOutcome>,
}

impl Tally {
    /// Takes a report in.
    pub(super) fn take(&mut self, spec: &JobSpec, assignment: &Assignment, status: &AssignmentStatus) {
        self.delivered |= &status.completed();
        self.take_failures(spec, status);
        if let Some(PlanReport::Failed(failure)) = &status.plan {
            let name = assignment.metadata.name.clone().unwrap_or_default();
            self.plans.insert((name, status.plan_attempt), failure.outcome);
        }
        if let Some(merge) = &status.merge
            && let Some(failure) = &merge.failure
        {
            self.merges.insert(merge.attempt, failure.outcome);
        }
    }

    /// Takes in what a report says of failed indexes.
    pub(super) fn take_failures(&mut self, spec: &JobSpec, status: &AssignmentStatus) {
        for failure in &status.failures {
            let indexes = &failure.indexes;
            *self.tried.entry(failure.attempt).or_default() |= indexes;
            if failure.attempt > spec.backoff_limit_per_index {
                self.exhausted |= indexes;
            }
            match consequence(spec, failure.outcome) {
                FailureAction::Retry => *self.retryable.entry(failure.attempt).or_default() |= indexes,
                FailureAction::FailIndex => self.hopeless |= indexes,
                FailureAction::FailJob => self.ending |= indexes,
            }
        }
    }

    /// What may count as failed.
    pub(super) fn failed(&self) -> IndexSet {
        &self.failed_alone() | &self.ending
    }

    /// The same without what ends the job.
    pub(super) fn failed_alone(&self) -> IndexSet {
        &self.exhausted | &self.hopeless
    }

    /// What failed at an attempt in a way after which it may be tried again.
    pub(super) fn retryable(&self, attempt: u32) -> IndexSet {
        self.retryable.get(&attempt).cloned().unwrap_or_default()
    }

    /// What failed at that attempt or a later one.
    pub(super) fn failed_since(&self, attempt: u32) -> IndexSet {
        self.tried.range(attempt..).fold(IndexSet::new(), |all, (_, failed)| &all | failed)
    }

    /// What failed in a way that ends the job.
    pub(super) fn ending(&self) -> &IndexSet {
        &self.ending
    }

    /// True when the plan call has failed for good, or more often than retries are allowed.
    pub(super) fn plan_failed(&self, spec: &JobSpec) -> bool {
        let is_own_doing = |outcome: &FailureOutcome| {
            use FailureOutcome::{ExecutorLost, SetupFailed, TaskErrorRetryable};
            !matches!(outcome, ExecutorLost | SetupFailed | TaskErrorRetryable)
        };
        self.plans.len() > spec.backoff_limit_per_index as usize || self.plans.values().any(is_own_doing)
    }

    /// True when the merge has failed for good, or at an attempt after which there is none. An order that was lost with its
    /// node counts as an attempt, too: nothing that is stored tells it from one that failed.
    pub(super) fn merge_failed(&self, spec: &JobSpec) -> bool {
        let is_last = |(attempt, outcome): (&u32, &FailureOutcome)| {
            *attempt > spec.backoff_limit_per_index || *outcome == FailureOutcome::TaskErrorPermanent
        };
        self.merges.iter().any(is_last)
    }
}

/// What a failed attempt leads to, as the job's spec has it. The first rule that names the outcome holds; none names what
/// is the machine's fault.
fn consequence(spec: &JobSpec, outcome: FailureOutcome) -> FailureAction {
    let name = RuleOutcome::of(outcome);
    let rules = spec.failure_policy.iter().flat_map(|policy| &policy.rules);
    for rule in rules {
        if name.is_some_and(|name| rule.outcomes.contains(&name)) {
            return rule.action;
        }
    }
    match outcome {
        FailureOutcome::TaskErrorPermanent => FailureAction::FailIndex,
        _ => FailureAction::Retry,
    }
}

/// So many succeeded indexes are enough.
pub(super) fn wanted(spec: &JobSpec, total: u64) -> u64 {
    spec.success_policy.as_ref().and_then(|policy| policy.succeeded_count).unwrap_or(total).min(total)
}
