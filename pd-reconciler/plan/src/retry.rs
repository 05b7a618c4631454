//! Retry: somebody asked (`spec.retry`) that failed indexes are tried again. The request is first written into the
//! status, as the failures that do not count any more; all else follows from that status, so it is carried out once,
//! whenever and by whomever. A job that has failed is open again from then on, and its clock starts anew.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use schemas::{
    Assignment, AssignmentStatus, IndexSet, Job, JobStatus, condition,
    job::{Retried, Retry, conditions},
};

use crate::{
    action::{About, Action, Plan},
    snapshot::JobFacts,
    time::to_millis,
};

/// True when this plan only writes down that indexes are tried again.
pub(crate) fn take_up(facts: &JobFacts, now: Timestamp, plan: &mut Plan) -> bool {
    let job = &*facts.job;
    let Some((retry, status)) = job.spec.retry.as_ref().zip(job.status.as_ref()) else { return false };
    if retry.round <= retried(job).map_or(0, |retried| retried.round) || job.spec.cancel {
        return false;
    }
    let mut status = status.clone();
    let failing = failing(facts);
    let forgiven = forgive(retry, &failing, facts, &mut status);
    let has_failed = condition::is_true(&status.conditions, conditions::FAILURE_TARGET)
        || condition::is_true(&status.conditions, conditions::FAILED);
    if has_failed {
        reopen(job, now, &mut status);
    }
    if has_failed || forgiven > 0 {
        let message = match forgiven {
            0 => format!("the job goes on where it failed, as round {} asks", retry.round),
            count => format!("{count} failed subtasks are tried again, as round {} asks", retry.round),
        };
        plan.event(about(job), false, "Retried", message);
    }
    plan.actions.push(Action::WriteJobStatus { job: Arc::clone(&facts.job), status: Box::new(status) });
    plan.memories.insert(job.metadata.uid.clone().unwrap_or_default(), facts.memory.clone());
    true
}

/// What was asked for so far, and carried out.
pub(crate) fn retried(job: &Job) -> Option<&Retried> {
    job.status.as_ref()?.retried.as_ref()
}

/// Those of `indexes` whose failure at `attempt` counts.
pub(crate) fn counting(job: &Job, attempt: u32, indexes: &IndexSet) -> IndexSet {
    match retried(job) {
        Some(retried) => indexes - &retried.forgives(attempt, indexes),
        None => indexes.clone(),
    }
}

/// Those of `indexes` that are out of retries when `attempt` has failed.
pub(crate) fn exhausted(job: &Job, attempt: u32, indexes: &IndexSet) -> IndexSet {
    let limit = job.spec.backoff_limit_per_index;
    match retried(job) {
        Some(retried) => retried.exhausted(attempt, limit, indexes),
        None if attempt > limit => indexes.clone(),
        None => IndexSet::new(),
    }
}

/// What failed and no node has delivered, by the newest attempt at it.
fn failing(facts: &JobFacts) -> BTreeMap<u32, IndexSet> {
    let mut failing = BTreeMap::<u32, IndexSet>::new();
    for failure in statuses(facts).flat_map(|status| &status.failures) {
        *failing.entry(failure.attempt).or_default() |= &failure.indexes;
    }
    let mut left = IndexSet::new();
    failing.values().for_each(|failed| left |= failed);
    statuses(facts).for_each(|status| left -= &status.completed());
    for failed in failing.values_mut().rev() {
        *failed = &*failed & &left;
        left -= &*failed;
    }
    failing
}

/// The reports of the nodes that are named by their assignments.
fn statuses(facts: &JobFacts) -> impl Iterator<Item = &AssignmentStatus> {
    let own = |assignment: &'_ Arc<Assignment>| {
        assignment.status.as_ref().is_some_and(|status| status.node_uid == assignment.spec.node_uid)
    };
    facts.assignments.iter().filter(move |a| own(a)).filter_map(|assignment| assignment.status.as_ref())
}

/// Writes down what does not count any more; the number of indexes.
fn forgive(retry: &Retry, failing: &BTreeMap<u32, IndexSet>, facts: &JobFacts, status: &mut JobStatus) -> u64 {
    let mut retried = status.retried.take().unwrap_or_default();
    let (mut forgiven, mut waiting) = (0, 0);
    for (attempt, failed) in failing {
        waiting += failed.count();
        let wanted = retry.indexes.as_ref().map_or_else(|| failed.clone(), |wanted| failed & wanted);
        forgiven += wanted.count();
        retried.forgive(*attempt, &wanted);
    }
    retried.round = retry.round;
    retried.retries = status.retries + waiting;
    let merges = statuses(facts).filter_map(|status| status.merge.as_ref()).map(|report| report.attempt);
    retried.merge_attempt = merges.max().unwrap_or(0);
    status.retried = Some(retried);
    forgiven
}

/// Takes back that the job has failed.
fn reopen(job: &Job, now: Timestamp, status: &mut JobStatus) {
    status.conditions.retain(|c| c.type_ != conditions::FAILURE_TARGET && c.type_ != conditions::FAILED);
    status.observed_generation = job.metadata.generation;
    status.state = Some("Running".into());
    status.completion_time = None;
    status.start_time = status.start_time.map(|_| to_millis(now));
}

fn about(job: &Job) -> About {
    About::Job {
        namespace: job.metadata.namespace.clone().unwrap_or_default(),
        name: job.metadata.name.clone().unwrap_or_default(),
        uid: job.metadata.uid.clone().unwrap_or_default(),
    }
}
