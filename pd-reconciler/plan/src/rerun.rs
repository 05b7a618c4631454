//! Rerun: a job whose task was changed starts over. Its assignments go, with all that they have delivered; only
//! when they are gone is anything new given out, so nothing old is ever counted.

use std::{collections::BTreeMap, sync::Arc};

use schemas::{Assignment, Digest, Job, JobStatus};

use crate::{
    action::{About, Action, Plan},
    job,
    snapshot::{JobFacts, Memory},
};

/// True when the job starts over: what is left of the old one is being taken away.
pub(crate) fn start_over(facts: &JobFacts, inputs: &BTreeMap<String, Digest>, plan: &mut Plan) -> bool {
    let job = &*facts.job;
    let is_changed = is_changed(job);
    // What is over stays as it ended: old assignments of it say what it was.
    let is_over = job::is_over(job) && !is_changed;
    let is_stale = |assignment: &&Arc<Assignment>| is_changed || is_stale(job, inputs, assignment);
    let stale: Vec<&Arc<Assignment>> = facts.assignments.iter().filter(|a| !is_over && is_stale(a)).collect();
    if stale.is_empty() && !is_changed {
        return false;
    }
    plan.actions.extend(stale.iter().map(|assignment| Action::DeleteAssignment(Box::new((***assignment).clone()))));
    // Once the job's status speaks of the new task nothing of the old one is deleted by it any more: it is
    // written last.
    if stale.is_empty() {
        let status = JobStatus {
            observed_generation: job.metadata.generation,
            state: Some("Planning".into()),
            task_digest: Some(job.spec.task.digest()),
            ..JobStatus::default()
        };
        plan.actions.push(Action::WriteJobStatus { job: Arc::clone(&facts.job), status: Box::new(status) });
    } else if is_changed {
        let message =
            format!("the task was changed; {} nodes stop, and what they computed does not count", stale.len());
        plan.event(about(job), false, "StartedOver", message);
    }
    plan.memories.insert(job.metadata.uid.clone().unwrap_or_default(), Memory::default());
    true
}

/// True when the spec asks for another component, params or inputs than the status speaks of.
fn is_changed(job: &Job) -> bool {
    let Some(status) = &job.status else { return false };
    status.observed_generation != job.metadata.generation
        && status.task_digest.is_some_and(|digest| digest != job.spec.task.digest())
}

/// True when an assignment is of another task than the job's: the job was changed before its status was ever
/// written.
fn is_stale(job: &Job, inputs: &BTreeMap<String, Digest>, assignment: &Assignment) -> bool {
    let work = &assignment.spec.work;
    Some(work.module) != job.spec.task.module || !work.has_params(&job.spec.task.params) || work.inputs != *inputs
}

fn about(job: &Job) -> About {
    About::Job {
        namespace: job.metadata.namespace.clone().unwrap_or_default(),
        name: job.metadata.name.clone().unwrap_or_default(),
        uid: job.metadata.uid.clone().unwrap_or_default(),
    }
}
