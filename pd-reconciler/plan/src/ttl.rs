//! Time to live: a job that is over goes when its `ttlAfterFinished` has passed, unless one that has not begun
//! waits for what it came to.

use std::sync::Arc;

use jiff::Timestamp;
use schemas::Job;

use crate::{
    action::{Action, Plan},
    dependencies::Known,
    job::{Stage, Work},
    snapshot::Snapshot,
    time::after,
};

/// When a job that is over goes; none for one that stays, or that is not over.
pub fn expires_at(job: &Job) -> Option<Timestamp> {
    let ended = job.status.as_ref()?.completion_time?;
    Some(after(ended, job.spec.ttl_after_finished?.0))
}

/// Deletes what has outlived its time.
pub(crate) fn expire(jobs: &[Work<'_>], snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let known = std::cell::LazyCell::new(|| Known::of(snapshot));
    for work in jobs.iter().filter(|work| work.stage == Stage::Finished) {
        match expires_at(work.job) {
            Some(at) if now < at => plan.wake(at),
            Some(_) if known.is_awaited(work.job) => {
                let message = "its time is over; it stays because another job waits for its result";
                plan.note(work.about().to_string(), "Awaited", message);
            }
            Some(_) => plan.actions.push(Action::DeleteJob(Arc::clone(&work.facts.job))),
            None => {}
        }
    }
}
