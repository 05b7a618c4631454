//! The failure policy: what the kinds of failure lead to, where it is not a retry. A lost node is no failure and
//! never gets here.

use schemas::{
    IndexSet, Job,
    assignment::{Failure, FailureOutcome},
    job::{FailureAction, RuleOutcome},
};

use crate::{
    job::{Draft, Verdict, Work},
    retry, verdict,
};

/// What a rule says of an outcome; none: no rule does.
fn action(job: &Job, outcome: FailureOutcome) -> Option<FailureAction> {
    let policy = job.spec.failure_policy.as_ref()?;
    let outcome = RuleOutcome::of(outcome)?;
    policy.rules.iter().find(|rule| rule.outcomes.contains(&outcome)).map(|rule| rule.action)
}

/// Indexes that failed in a way after which they are not tried again.
pub(crate) fn hopeless(job: &Job, drafts: &[Draft<'_>]) -> IndexSet {
    let is_hopeless = |failure: &&Failure| match action(job, failure.outcome) {
        Some(FailureAction::Retry) => false,
        Some(FailureAction::FailIndex | FailureAction::FailJob) => true,
        None => !failure.outcome.is_retryable(),
    };
    let failures = drafts.iter().filter_map(Draft::status).flat_map(|status| &status.failures);
    union(job, failures.filter(is_hopeless))
}

/// The indexes of those failures that count.
fn union<'a>(job: &Job, failures: impl Iterator<Item = &'a Failure>) -> IndexSet {
    failures.fold(IndexSet::new(), |all, failure| &all | &retry::counting(job, failure.attempt, &failure.indexes))
}

/// The verdict of the first failure that a rule lets fail the whole job.
pub(crate) fn fails_job(work: &Work<'_>) -> Option<Verdict> {
    let policy = work.job.spec.failure_policy.as_ref()?;
    if !policy.rules.iter().any(|rule| rule.action == FailureAction::FailJob) {
        return None;
    }
    let failures = work.drafts.iter().filter_map(Draft::status).flat_map(|status| &status.failures);
    let ends = |failure: &&Failure| action(work.job, failure.outcome) == Some(FailureAction::FailJob);
    let ending = union(work.job, failures.filter(ends));
    let ending = &(&ending & &work.fold.all) - &work.fold.done;
    (!ending.is_empty()).then(|| Verdict {
        reason: "FailurePolicy".into(),
        message: format!("a rule of failurePolicy ends the job; {}", verdict::first_failure(work, &ending)),
    })
}
