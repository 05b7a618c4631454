//! How jobs end: whether what was decided of a job is what its nodes reported and its spec asks for, and whether
//! anything was left undecided that was due.

use schemas::{Condition, IndexSet, Job, JobStatus, condition, job::conditions};

use super::{Invariant, tally};
use crate::world::{World, is_over};

impl World {
    /// The status of a job was written.
    pub(super) fn check_verdict(&mut self, before: &Job, after: &Job) {
        let Some(status) = &after.status else { return };
        let name = after.metadata.name.as_deref().unwrap_or_default();
        let (old, new) = (before.status.as_ref().and_then(decided), decided(status));
        let broken = match (old, new) {
            (None, None) => undecided(after, status).map(|due| (Invariant::VerdictInTime, due)),
            (None, Some(verdict)) => self.unfounded(after, status, verdict).map(|why| (Invariant::RightEnd, why)),
            (Some(_), _) => None,
        };
        let broken = broken.or_else(|| (is_over(after) && !is_over(before)).then(|| unmerged(status))?);
        if let Some((invariant, text)) = broken {
            self.checks.break_(self.now, invariant, || format!("{name}: {text}"));
        }
    }

    /// Why a verdict does not follow from what the nodes have reported.
    fn unfounded(&self, job: &Job, status: &JobStatus, verdict: &Condition) -> Option<String> {
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        if verdict.reason == "DependencyFailed" {
            let is_founded = self.dependency_failed(job);
            return (!is_founded).then(|| format!("{} although it had begun or none failed", verdict.message));
        }
        let (load, tally) = (self.loads.get(uid)?, self.checks.tallies.get(uid));
        let (spec, total) = (&job.spec, load.costs.count());
        let (done, failed) = (&status.completed_indexes, &status.failed_indexes);
        let may_fail = tally.map(tally::Tally::failed).unwrap_or_default();
        let is_settled = done | failed == IndexSet::first(total);
        let is_founded = match verdict.reason.as_str() {
            "CompletionsReached" => *done == IndexSet::first(total),
            "SuccessPolicy" => spec.success_policy.is_some() && done.count() >= tally::wanted(spec, total),
            "FailedIndexes" => {
                let is_hopeless = |index: &u64| load.outcomes.is_hopeless(*index);
                let hopeless: IndexSet = (0..total).filter(is_hopeless).collect();
                !failed.is_empty() && is_settled && failed.is_superset(&hopeless)
            }
            "MaxFailedIndexesExceeded" => spec.max_failed_indexes.is_some_and(|most| failed.count() > most),
            "FailurePolicy" => tally.is_some_and(|tally| !(tally.ending() - done).is_empty()),
            "PlanFailed" => tally.is_some_and(|tally| tally.plan_failed(spec)),
            "MergeFailed" => tally.is_some_and(|tally| tally.merge_failed(spec)),
            _ => false,
        };
        let is_right = is_founded && may_fail.is_superset(failed);
        (!is_right).then(|| {
            let Condition { type_, reason, .. } = verdict;
            format!("{type_}, {reason} with [{done}] of {total} done, failed [{failed}]; out of tries are [{may_fail}]")
        })
    }
}

/// What was decided of a job.
fn decided(status: &JobStatus) -> Option<&Condition> {
    let is_verdict = |type_: &str| type_ == conditions::SUCCESS_CRITERIA_MET || type_ == conditions::FAILURE_TARGET;
    status.conditions.iter().find(|condition| is_verdict(&condition.type_) && condition.status == "True")
}

/// What should have been decided of a job, by what its own status says.
fn undecided(job: &Job, status: &JobStatus) -> Option<String> {
    let total = status.layout.as_ref()?.subtasks;
    let (done, failed) = (&status.completed_indexes, status.failed_indexes.count());
    if done.count() >= tally::wanted(&job.spec, total) {
        return Some(format!("{} of {total} are done, which is enough", done.count()));
    }
    if job.spec.suspend {
        return None;
    }
    if let Some(most) = job.spec.max_failed_indexes.filter(|most| failed > *most) {
        return Some(format!("{failed} have failed, {most} may"));
    }
    (failed > 0 && done.count() + failed == total).then(|| format!("{failed} have failed and all others are done"))
}

/// What is wrong with the end of a job: a result comes of success, and of nothing else.
fn unmerged(status: &JobStatus) -> Option<(Invariant, String)> {
    let is_complete = condition::is_true(&status.conditions, conditions::COMPLETE);
    let has_succeeded = condition::is_true(&status.conditions, conditions::SUCCESS_CRITERIA_MET);
    let is_right = status.result.is_some() == is_complete && (has_succeeded || !is_complete);
    (!is_right).then(|| (Invariant::RightEnd, format!("complete={is_complete}, with {:?}", status.result)))
}
