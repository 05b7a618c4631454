//! Judge each job: is enough done, is too much lost, is its time up? One file for the success policy and the
//! limits on failure, since the order in which they are asked is the policy.

use jiff::Timestamp;
use schemas::{
    IndexSet,
    assignment::{CallFailure, FailureOutcome, PlanReport},
    condition::{self, Condition},
    job::{JobResult, Waiting, conditions, waiting},
};

use crate::{
    action::Plan,
    cache,
    dependencies::{Known, Outlook},
    failure_policy,
    job::{Draft, Stage, Verdict, Work},
    queues::Begun,
    quorum, retry,
    snapshot::Snapshot,
    time::after,
    verify::Verify,
};

/// Characters of a task's own message that a condition quotes.
const QUOTE_CHARS_MAX: usize = 400;

/// Decides the stage of every job.
pub(crate) fn judge<'a>(jobs: &mut [Work<'a>], snapshot: &'a Snapshot, now: Timestamp, plan: &mut Plan) {
    let known = Known::of(snapshot);
    let mut begun = Begun::count(jobs);
    for work in jobs.iter_mut().filter(|work| work.stage != Stage::Finished) {
        work.stage = stage(work, &known, &mut begun, now, plan);
        if cache::adopt(work, &snapshot.cache, now, plan) {
            work.stage = stage(work, &known, &mut begun, now, plan);
        }
        let is_stopping =
            matches!(work.stage, Stage::Merging(_) | Stage::Complete(..) | Stage::Failing(_) | Stage::Held(_));
        if is_stopping {
            let keeps_merge = matches!(work.stage, Stage::Merging(_));
            for draft in &mut work.drafts {
                let merge = draft.spec.merge.clone();
                draft.stop();
                if keeps_merge {
                    draft.spec.merge = merge;
                }
            }
        }
    }
}

/// What was decided before stands; success is asked before the user's wish to end or suspend the job, that before
/// the clock, the clock before the limits.
fn stage<'a>(work: &Work<'a>, known: &Known<'_>, begun: &mut Begun<'a>, now: Timestamp, plan: &mut Plan) -> Stage {
    if let Some(verdict) = stored(work, conditions::FAILURE_TARGET) {
        return Stage::Failing(verdict);
    }
    let success = stored(work, conditions::SUCCESS_CRITERIA_MET).or_else(|| success(work));
    if let (Some(verdict), Some(result)) = (&success, merge_result(work).or_else(|| cache::result(work))) {
        return Stage::Complete(verdict.clone(), result);
    }
    if work.job.spec.cancel {
        return Stage::Failing(verdict("Cancelled", "cancelled by the user".into()));
    }
    if work.job.spec.suspend {
        let message = "spec.suspend is set; what is done is kept".into();
        return Stage::Held(Waiting { reason: waiting::SUSPENDED.into(), message });
    }
    if let Some(stage) = before_begin(work, known, begun) {
        return stage;
    }
    if let Some(verdict) = deadline(work, now, plan) {
        return Stage::Failing(verdict);
    }
    // Once enough has succeeded nothing but the merge can fail.
    if !work.has_succeeded()
        && let Some(verdict) = failure_policy::fails_job(work)
    {
        return Stage::Failing(verdict);
    }
    match success {
        Some(verdict) => merge_failed(work).map_or(Stage::Merging(verdict), Stage::Failing),
        None if work.layout.is_none() => plan_failed(work).map_or(Stage::Planning, Stage::Failing),
        None => too_many_failures(work).map_or(Stage::Running, Stage::Failing),
    }
}

/// What keeps a job from beginning: those that it depends on, then the quota of its queue.
fn before_begin<'a>(work: &Work<'a>, known: &Known<'_>, begun: &mut Begun<'a>) -> Option<Stage> {
    if work.has_begun() {
        return None;
    }
    match known.outlook(work.job) {
        Outlook::Waits(waiting) => Some(Stage::Held(waiting)),
        Outlook::Fails(verdict) => Some(Stage::Failing(verdict)),
        Outlook::Clear => begun.admit(work).map(Stage::Held),
    }
}

/// A verdict that an earlier plan wrote down.
fn stored(work: &Work<'_>, type_: &str) -> Option<Verdict> {
    let mut conditions = work.job.status.iter().flat_map(|status| &status.conditions);
    let is_it = |c: &&Condition| c.type_ == type_ && c.status == "True";
    conditions.find(is_it).map(|c| Verdict { reason: c.reason.clone(), message: c.message.clone() })
}

/// All indexes are done, or as many as the success policy asks for, or as many targets are found.
fn success(work: &Work<'_>) -> Option<Verdict> {
    let layout = work.layout?;
    let done = work.fold.done.count();
    if let Some(policy) = &work.job.spec.success_policy {
        let found = work.fold.found.count();
        if let Some(goal) = layout.goal {
            let wanted = policy.succeeded_count.unwrap_or(goal);
            if found >= wanted {
                return Some(verdict("SuccessPolicy", format!("{found} of {goal} targets were found")));
            }
        } else if let Some(wanted) = policy.succeeded_count
            && done >= wanted
        {
            let message = format!("{done} of {} subtasks succeeded, {wanted} are enough", layout.subtasks);
            return Some(verdict("SuccessPolicy", message));
        }
    }
    let is_verified = work.verify.as_ref().is_none_or(Verify::is_settled);
    (done == layout.subtasks && is_verified)
        .then(|| verdict("CompletionsReached", format!("all {done} subtasks succeeded")))
}

/// The first successful merge, or what as many as have to agree came to.
fn merge_result(work: &Work<'_>) -> Option<JobResult> {
    if let Some(quorum) = quorum::of(&work.job.spec) {
        return quorum::result(&work.drafts, quorum);
    }
    let reports = work.drafts.iter().filter_map(Draft::merge_report);
    let succeeded = reports.filter_map(|report| report.result.as_ref().map(|result| (report.attempt, result)));
    succeeded.min_by_key(|(attempt, _)| *attempt).map(|(_, result)| result.clone())
}

/// The job's time is up.
fn deadline(work: &Work<'_>, now: Timestamp, plan: &mut Plan) -> Option<Verdict> {
    let timeout = work.job.spec.timeout?;
    let status = work.job.status.as_ref()?;
    // A job that is being resumed starts its clock anew.
    let is_resumed = condition::is_true(&status.conditions, conditions::SUSPENDED);
    let start = status.start_time.map(|start| if is_resumed { now } else { start })?;
    let deadline = after(start, timeout.0);
    if now < deadline {
        plan.wake(deadline);
        return None;
    }
    Some(verdict("DeadlineExceeded", format!("the job did not end within its timeout of {timeout}")))
}

/// The plan call failed where trying another node cannot help, or too often.
fn plan_failed(work: &Work<'_>) -> Option<Verdict> {
    let of = quorum::of(&work.job.spec).map_or(usize::MAX, |quorum| quorum.of as usize);
    if quorum::layouts(&work.drafts).count() >= of {
        return Some(verdict("PlanFailed", format!("{of} nodes have answered the plan call, and too few agree")));
    }
    let failures: Vec<&CallFailure> = plan_failures(work).collect();
    let last = failures.last()?;
    let hopeless = failures.iter().find(|failure| !is_transient(failure.outcome));
    let is_spent = plan_tries(work) > work.job.spec.backoff_limit_per_index;
    let told = hopeless.or_else(|| is_spent.then_some(last))?;
    Some(verdict("PlanFailed", call_message("plan", told)))
}

/// How the plan call failed, node by node.
pub(crate) fn plan_failures<'a>(work: &Work<'a>) -> impl Iterator<Item = &'a CallFailure> {
    work.drafts.iter().filter_map(Draft::plan_report).filter_map(|report| match report {
        PlanReport::Failed(failure) => Some(failure),
        PlanReport::Layout(_) => None,
    })
}

/// How often the plan call was tried and failed, over all nodes.
pub(crate) fn plan_tries(work: &Work<'_>) -> u32 {
    let again: u32 = work.drafts.iter().map(|draft| draft.spec.plan_attempt).sum();
    again + work.drafts.iter().filter(|draft| matches!(draft.plan_report(), Some(PlanReport::Failed(_)))).count() as u32
}

/// True when another node may well succeed: the rest is the guest's own doing and would happen again.
fn is_transient(outcome: FailureOutcome) -> bool {
    use FailureOutcome::{ExecutorLost, SetupFailed, TaskErrorRetryable};
    matches!(outcome, ExecutorLost | SetupFailed | TaskErrorRetryable)
}

/// The merge failed for good, or once more than retries are allowed.
fn merge_failed(work: &Work<'_>) -> Option<Verdict> {
    let of = quorum::of(&work.job.spec).map_or(usize::MAX, |quorum| quorum.of as usize);
    if quorum::results(&work.drafts).count() >= of {
        return Some(verdict("MergeFailed", format!("{of} nodes have merged the outputs, and too few results agree")));
    }
    let is_open = work.drafts.iter().any(|draft| draft.is_live && draft.open_merge().is_some());
    let reports = work.drafts.iter().filter_map(Draft::merge_report);
    let failures = reports.filter_map(|report| report.failure.as_ref().map(|failure| (report.attempt, failure)));
    let (attempt, failure) = failures.max_by_key(|(attempt, _)| *attempt)?;
    let forgiven = retry::retried(work.job).map_or(0, |retried| retried.merge_attempt);
    if attempt <= forgiven {
        return None;
    }
    let is_spent = attempt - forgiven > work.job.spec.backoff_limit_per_index && !is_open;
    (is_spent || !failure.outcome.is_retryable()).then(|| verdict("MergeFailed", call_message("merge", failure)))
}

/// One of the limits on failure is passed, or everything is settled and something failed.
fn too_many_failures(work: &Work<'_>) -> Option<Verdict> {
    let spec = &work.job.spec;
    let fold = &work.fold;
    let failed = fold.failed.count();
    if let Some(limit) = spec.max_failed_indexes
        && failed > limit
    {
        let message = format!("{failed} subtasks failed, {limit} are allowed; {}", first_failure(work, &fold.failed));
        return Some(verdict("MaxFailedIndexesExceeded", message));
    }
    let to_retry: IndexSet = fold.waiting.range(1..).flat_map(|(_, waiting)| waiting.ranges()).collect();
    let spent_before = retry::retried(work.job).map_or(0, |retried| retried.retries);
    let wanted = (fold.retries + to_retry.count()).saturating_sub(spent_before);
    if let Some(limit) = spec.backoff_limit
        && wanted > limit
    {
        let failing = &to_retry | &fold.failed;
        let message = format!("{wanted} retries are needed, {limit} are allowed; {}", first_failure(work, &failing));
        return Some(verdict("BackoffLimitExceeded", message));
    }
    let is_verified = work.verify.as_ref().is_none_or(|verify| verify.is_through(fold));
    let is_settled = fold.outstanding.is_empty() && fold.waiting.is_empty() && is_verified;
    (is_settled && failed > 0).then(|| {
        let total = fold.all.count();
        verdict("FailedIndexes", format!("{failed} of {total} subtasks failed; {}", first_failure(work, &fold.failed)))
    })
}

/// Quotes the newest failure of the first of `indexes` that failed.
pub(crate) fn first_failure(work: &Work<'_>, indexes: &IndexSet) -> String {
    let unresolved = work.verify.as_ref().and_then(|verify| (&verify.status.unresolved & indexes).min());
    if let (Some(index), Some(verify)) = (unresolved, &work.verify) {
        return format!("index {index}: no {} of {} outputs agree", verify.agree, verify.of);
    }
    let failures = work.drafts.iter().filter_map(Draft::status).flat_map(|status| &status.failures);
    let told = failures.filter_map(|failure| Some(((&failure.indexes & indexes).min()?, failure)));
    let first = told.min_by_key(|(index, failure)| (*index, u32::MAX - failure.attempt));
    first.map_or_else(String::new, |(index, failure)| {
        format!("index {index}, attempt {}: {:?}: {}", failure.attempt, failure.outcome, quote(&failure.message))
    })
}

fn call_message(call: &str, failure: &CallFailure) -> String {
    format!("the {call} call failed: {:?}: {}", failure.outcome, quote(&failure.message))
}

/// A task's own text, cut so that conditions stay small.
fn quote(message: &str) -> String {
    message.chars().take(QUOTE_CHARS_MAX).collect()
}

fn verdict(reason: &str, message: String) -> Verdict {
    Verdict { reason: reason.to_owned(), message }
}
