//! Conditions and status: what the user sees of a job. Written at once when a condition changes, else seldom.

use jiff::Timestamp;
use schemas::{
    Condition, IndexSet, JobStatus, condition,
    job::{SubtaskCounts, UntrustedNode, Waiting, conditions, waiting},
};

use crate::{
    action::{Action, Plan},
    cache, efficiency,
    job::{Draft, Stage, Verdict, Work},
    nodes::Nodes,
    policy::{Policy, STATUS_WRITES_PER_AGE},
    time::{after, since, to_millis},
    verdict,
};

/// Orders the status write of one job, if it is due. `is_settled`: this plan changes none of its assignments.
pub(crate) fn write(
    work: &mut Work<'_>,
    nodes: &Nodes<'_>,
    is_settled: bool,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) {
    if work.stage == Stage::Finished {
        return observe(work, now, plan);
    }
    let old = work.job.status.clone().unwrap_or_default();
    let mut new = old.clone();
    count(work, &mut new);
    set_conditions(work, is_settled, now, &mut new);
    set_observed(work, &mut new);
    new.task_digest = new.task_digest.or_else(|| Some(work.job.spec.task.digest()));
    new.cache_key = new.cache_key.or_else(|| cache::key(work));
    new.cached.clone_from(&work.cached);
    new.verification = work.verify.as_ref().map(|verify| verify.status.clone()).or(new.verification);
    let given = &work.job.spec.task.inputs;
    new.inputs =
        work.inputs.iter().filter(|(name, _)| !given.contains_key(*name)).map(|(n, d)| (n.clone(), *d)).collect();
    new.waiting = why_waiting(work);
    new.state = Some(state(work, &new).to_owned());
    if !differs(&old, &new) {
        return;
    }
    if !is_urgent(&old, &new) {
        let at = next_write(work, &old, now, policy);
        if now < at {
            plan.wake(at);
            return;
        }
    }
    efficiency::figure(work, nodes, now, &mut new);
    work.memory.status_ordered = Some(now);
    tell(work, &old, &new, plan);
    let job = work.facts.job.clone();
    plan.actions.push(Action::WriteJobStatus { job, status: Box::new(new) });
}

/// A change of the spec that changes nothing of a job that is over is seen all the same: whoever waits for a condition
/// believes no status of an earlier generation.
fn observe(work: &mut Work<'_>, now: Timestamp, plan: &mut Plan) {
    let Some(old) = work.job.status.as_ref() else { return };
    if old.observed_generation == work.job.metadata.generation {
        return;
    }
    let mut new = old.clone();
    set_observed(work, &mut new);
    work.memory.status_ordered = Some(now);
    plan.actions.push(Action::WriteJobStatus { job: work.facts.job.clone(), status: Box::new(new) });
}

/// All that a status says is of the spec as it is now.
fn set_observed(work: &Work<'_>, status: &mut JobStatus) {
    let generation = work.job.metadata.generation;
    status.observed_generation = generation;
    status.conditions.iter_mut().for_each(|condition| condition.observed_generation = generation);
}

/// Where the subtasks stand.
fn count(work: &Work<'_>, status: &mut JobStatus) {
    let fold = &work.fold;
    let is_ending = matches!(work.stage, Stage::Merging(_) | Stage::Complete(..) | Stage::Failing(_) | Stage::Held(_));
    let unverified = fold.delivered.count() - (&fold.delivered & &(&fold.done | &fold.failed)).count();
    let running = if is_ending { 0 } else { fold.outstanding.count() + unverified };
    let (total, succeeded, failed) = (fold.all.count(), fold.done.count(), fold.failed.count());
    let pending = total - succeeded - failed - running;
    status.subtasks = SubtaskCounts { total, succeeded, failed, running, pending };
    status.completed_indexes = fold.done.clone();
    status.failed_indexes = fold.failed.clone();
    status.found = &status.found | &fold.found;
    status.retries = status.retries.max(fold.retries);
    if status.layout.as_ref() != work.layout {
        status.layout = work.layout.cloned();
    }
}

/// The conditions in batch/v1's order: Planned, Suspended, then the interim one, then the terminal one once nothing
/// is being withdrawn any more.
fn set_conditions(work: &Work<'_>, is_settled: bool, now: Timestamp, status: &mut JobStatus) {
    let now = to_millis(now);
    let generation = work.job.metadata.generation;
    let set = |status: &mut JobStatus, type_: &str, reason: &str, message: &str| {
        if !condition::is_true(&status.conditions, type_) {
            condition::set(&mut status.conditions, met(type_, reason, message, generation, now));
        }
    };
    let is_called = work.drafts.iter().any(|draft| draft.spec.plan);
    if status.start_time.is_none() && (is_called || work.layout.is_some()) {
        status.start_time = Some(now);
    }
    if let Some(layout) = work.layout {
        let s = if layout.subtasks == 1 { "" } else { "s" };
        let message = format!("the task cut the job into {} subtask{s}", layout.subtasks);
        set(status, conditions::PLANNED, "Planned", &message);
    }
    suspend(work, generation, now, status);
    match &work.stage {
        Stage::Merging(Verdict { reason, message }) => set(status, conditions::SUCCESS_CRITERIA_MET, reason, message),
        Stage::Complete(Verdict { reason, message }, result) => {
            set(status, conditions::SUCCESS_CRITERIA_MET, reason, message);
            set(status, conditions::COMPLETE, reason, message);
            status.result = Some(result.clone());
            status.completion_time = status.completion_time.or(Some(now));
        }
        Stage::Failing(Verdict { reason, message }) => {
            set(status, conditions::FAILURE_TARGET, reason, message);
            if is_settled {
                set(status, conditions::FAILED, reason, message);
                status.completion_time = status.completion_time.or(Some(now));
            }
        }
        Stage::Planning | Stage::Held(_) | Stage::Running | Stage::Finished => {}
    }
    if status.completion_time.is_some() {
        status.estimated_completion_time = None;
    }
}

/// A condition that is true.
fn met(type_: &str, reason: &str, message: &str, generation: Option<i64>, now: Timestamp) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now,
        observed_generation: generation,
    }
}

/// The condition Suspended, as batch/v1 sets it: a job that is resumed starts its clock anew.
fn suspend(work: &Work<'_>, generation: Option<i64>, now: Timestamp, status: &mut JobStatus) {
    let is_suspended = matches!(&work.stage, Stage::Held(waiting) if waiting.reason == waiting::SUSPENDED);
    let was_suspended = condition::is_true(&status.conditions, conditions::SUSPENDED);
    if is_suspended && !was_suspended {
        let new = met(conditions::SUSPENDED, "JobSuspended", "the job is suspended", generation, now);
        condition::set(&mut status.conditions, new);
    } else if was_suspended && !work.job.spec.suspend {
        let resumed = met(conditions::SUSPENDED, "JobResumed", "the job was resumed", generation, now);
        condition::set(&mut status.conditions, Condition { status: "False".to_owned(), ..resumed });
        status.start_time = status.start_time.map(|_| now);
    }
}

/// Why nothing of the job runs; none: something does, or nothing is to be done.
fn why_waiting(work: &Work<'_>) -> Option<Waiting> {
    let fold = &work.fold;
    let failed: u64 = fold.waiting.range(1..).map(|(_, waiting)| waiting.count()).sum();
    let is_backing_off = failed > 0 && !fold.waiting.contains_key(&0);
    match &work.stage {
        Stage::Held(waiting) => Some(waiting.clone()),
        Stage::Running if !fold.outstanding.is_empty() => None,
        Stage::Running if work.held_up.is_none() && is_backing_off => {
            let message = format!("the {failed} subtasks that are left failed and wait for their retry");
            Some(Waiting { reason: waiting::BACK_OFF.into(), message })
        }
        Stage::Planning | Stage::Running | Stage::Merging(_) => work.held_up.clone(),
        Stage::Complete(..) | Stage::Failing(_) | Stage::Finished => None,
    }
}

/// One word for a table.
fn state(work: &Work<'_>, status: &JobStatus) -> &'static str {
    let is_held_up = status.waiting.is_some() && work.held_up.is_some();
    match &work.stage {
        Stage::Held(waiting) if waiting.reason == waiting::SUSPENDED => "Suspended",
        Stage::Held(_) => "Waiting",
        _ if condition::is_true(&status.conditions, conditions::FAILED) => "Failed",
        Stage::Complete(..) => "Complete",
        Stage::Planning | Stage::Running | Stage::Merging(_) if is_held_up => "Waiting",
        Stage::Planning => "Planning",
        Stage::Merging(_) => "Merging",
        Stage::Running | Stage::Failing(_) | Stage::Finished => "Running",
    }
}

/// True when there is something to write. Figures that move with the clock alone are no reason.
fn differs(old: &JobStatus, new: &JobStatus) -> bool {
    let still = |status: &JobStatus| JobStatus {
        throughput: None,
        estimated_completion_time: None,
        efficiency: None,
        efficiency_loss: None,
        ..status.clone()
    };
    still(old) != still(new)
}

/// True when a client may wait for it: anything but progress.
fn is_urgent(old: &JobStatus, new: &JobStatus) -> bool {
    old.conditions != new.conditions
        || old.state != new.state
        || old.observed_generation != new.observed_generation
        || old.start_time != new.start_time
        || old.inputs != new.inputs
        || old.layout != new.layout
        || old.result != new.result
        || untrusted(old) != untrusted(new)
}

/// The nodes that were caught lying.
fn untrusted(status: &JobStatus) -> &[UntrustedNode] {
    status.verification.as_ref().map_or(&[], |verification| &verification.untrusted)
}

/// When progress may be written next: often while the job is young, seldom when it is old.
fn next_write(work: &Work<'_>, old: &JobStatus, now: Timestamp, policy: &Policy) -> Timestamp {
    let Some(last) = work.memory.status_ordered else { return now };
    let age = old.start_time.map_or_else(Default::default, |start| since(start, now));
    let limits = policy.status_interval_min..=policy.status_interval_max.max(policy.status_interval_min);
    after(last, (age / STATUS_WRITES_PER_AGE).clamp(*limits.start(), *limits.end()))
}

/// Events that go with this write.
fn tell(work: &Work<'_>, old: &JobStatus, new: &JobStatus, plan: &mut Plan) {
    let about = work.about();
    let became = |type_: &str| {
        let is_new = condition::is_true(&new.conditions, type_) && !condition::is_true(&old.conditions, type_);
        new.conditions.iter().find(|c| is_new && c.type_ == type_)
    };
    if let Some(planned) = became(conditions::PLANNED) {
        plan.event(about.clone(), false, "Planned", &planned.message);
    }
    if let Some(waiting) = new.waiting.as_ref().filter(|_| new.state.as_deref() == Some("Waiting"))
        && (old.state != new.state || old.waiting.as_ref().is_none_or(|old| old.reason != waiting.reason))
    {
        let is_warning = matches!(waiting.reason.as_str(), waiting::NO_NODE | waiting::QUEUE_NOT_FOUND);
        let reason = if is_warning { "FailedScheduling" } else { "Waiting" };
        plan.event(about.clone(), is_warning, reason, &waiting.message);
    }
    let is_suspended = |status: &JobStatus| condition::is_true(&status.conditions, conditions::SUSPENDED);
    match (is_suspended(old), is_suspended(new)) {
        (false, true) => plan.event(about.clone(), false, "Suspended", "what runs is stopped, what is done is kept"),
        (true, false) => plan.event(about.clone(), false, "Resumed", "the job goes on; its clock starts anew"),
        _ => {}
    }
    if new.retries > old.retries {
        let tried: IndexSet = work.drafts.iter().flat_map(failed).collect();
        let retries = new.retries - old.retries;
        let message = format!("retried {retries} times; {}", verdict::first_failure(work, &tried));
        plan.event(about.clone(), true, "SubtaskRetried", message);
    }
    if new.subtasks.failed > old.subtasks.failed {
        let newly = &new.failed_indexes - &old.failed_indexes;
        let message = format!("{} out of retries; {}", newly.count(), verdict::first_failure(work, &newly));
        plan.event(about.clone(), true, "SubtaskFailed", message);
    }
    if let Some(complete) = became(conditions::COMPLETE) {
        plan.event(about.clone(), false, "Completed", format!("{}; the result is there", complete.message));
    }
    if let Some(failed) = became(conditions::FAILURE_TARGET) {
        plan.event(about, true, "JobFailed", format!("{}: {}", failed.reason, failed.message));
    }
}

/// Intervals of what failed on one node.
fn failed(draft: &Draft<'_>) -> Vec<std::ops::RangeInclusive<u64>> {
    draft.failed.values().flat_map(IndexSet::ranges).collect()
}
