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
        let old = before.status.as_ref();
        let new = |type_: &str| is_new(old, status, type_);
        let broken = if let Some(verdict) = new(conditions::FAILURE_TARGET) {
            let has_succeeded = old.is_some_and(|old| is(old, conditions::SUCCESS_CRITERIA_MET));
            self.unfounded(after, status, verdict, has_succeeded).map(|why| (Invariant::RightEnd, why))
        } else if let Some(verdict) = new(conditions::SUCCESS_CRITERIA_MET) {
            self.unfounded(after, status, verdict, false).map(|why| (Invariant::RightEnd, why))
        } else {
            undecided(after, status).map(|due| (Invariant::VerdictInTime, due))
        };
        let broken = broken.or_else(|| (is_over(after) && !is_over(before)).then(|| unmerged(status))?);
        if let Some((invariant, text)) = broken {
            self.checks.break_(self.now, invariant, || format!("{name}: {text}"));
        }
    }

    /// Why a verdict does not follow from what the nodes have reported. After a success only the merge can fail.
    fn unfounded(&self, job: &Job, status: &JobStatus, verdict: &Condition, has_succeeded: bool) -> Option<String> {
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        if verdict.reason == "DependencyFailed" {
            let is_founded = self.dependency_failed(job);
            return (!is_founded).then(|| format!("{} although it had begun or none failed", verdict.message));
        }
        let (load, tally) = (self.loads.get(uid)?, self.checks.tallies.get(uid));
        let (spec, total) = (&job.spec, load.costs.count());
        let (done, failed) = (&status.completed_indexes, &status.failed_indexes);
        let reason = verdict.reason.as_str();
        let may_fail = tally.map(tally::Tally::failed).unwrap_or_default();
        // An index that only a rule for the whole job explains ends it for that reason.
        let is_masked = || tally.is_some_and(|tally| !(failed - &tally.failed_alone()).is_empty());
        let is_settled = done | failed == IndexSet::first(total);
        let is_founded = match reason {
            "CompletionsReached" => *done == IndexSet::first(total),
            "SuccessPolicy" => spec.success_policy.is_some() && done.count() >= tally::wanted(spec, total),
            "FailedIndexes" | "MaxFailedIndexesExceeded" if is_masked() => false,
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
        let is_right = is_founded && may_fail.is_superset(failed) && (!has_succeeded || reason == "MergeFailed");
        (!is_right).then(|| {
            let type_ = &verdict.type_;
            format!("{type_}, {reason} with [{done}] of {total} done, failed [{failed}]; out of tries are [{may_fail}]")
        })
    }
}

fn is(status: &JobStatus, type_: &str) -> bool {
    condition::is_true(&status.conditions, type_)
}

/// The condition, if it has become true.
fn is_new<'a>(old: Option<&JobStatus>, new: &'a JobStatus, type_: &str) -> Option<&'a Condition> {
    let met = new.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True");
    met.filter(|_| !old.is_some_and(|old| is(old, type_)))
}

/// What should have been decided of a job, by what its own status says.
fn undecided(job: &Job, status: &JobStatus) -> Option<String> {
    if is(status, conditions::FAILURE_TARGET) || is(status, conditions::SUCCESS_CRITERIA_MET) {
        return None;
    }
    // What is suspended is decided when it goes on: a success would have to be merged.
    if job.spec.suspend {
        return None;
    }
    let total = status.layout.as_ref()?.subtasks;
    let (done, failed) = (&status.completed_indexes, status.failed_indexes.count());
    if done.count() >= tally::wanted(&job.spec, total) {
        return Some(format!("{} of {total} are done, which is enough", done.count()));
    }
    if let Some(most) = job.spec.max_failed_indexes.filter(|most| failed > *most) {
        return Some(format!("{failed} have failed, {most} may"));
    }
    (failed > 0 && done.count() + failed == total).then(|| format!("{failed} have failed and all others are done"))
}

/// What is wrong with the end of a job: a result comes of success, and of nothing else.
fn unmerged(status: &JobStatus) -> Option<(Invariant, String)> {
    let (is_complete, has_succeeded) = (is(status, conditions::COMPLETE), is(status, conditions::SUCCESS_CRITERIA_MET));
    let is_right = status.result.is_some() == is_complete && (has_succeeded || !is_complete);
    (!is_right).then(|| (Invariant::RightEnd, format!("complete={is_complete}, with {:?}", status.result)))
}
