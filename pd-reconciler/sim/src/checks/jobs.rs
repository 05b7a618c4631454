//! Statuses of jobs, judged as they are stored: their counts, the quotas of queues.

use std::sync::Arc;

use schemas::Job;

use super::Invariant;
use crate::world::{World, is_over};

impl World {
    pub(super) fn check_status(&mut self, before: &Job, after: &Job) {
        let now = self.now;
        let name = after.metadata.name.clone().unwrap_or_default();
        let uid = after.metadata.uid.clone().unwrap_or_default();
        let old = before.status.clone().unwrap_or_default();
        let Some(new) = &after.status else { return };
        let (done, failed) = (&new.completed_indexes, &new.failed_indexes);
        if !done.is_superset(&old.completed_indexes) {
            let lost = &old.completed_indexes - done;
            self.checks.break_(now, Invariant::AcceptedStays, || format!("{name} loses [{lost}]"));
        }
        let counts = new.subtasks;
        let sum = counts.succeeded + counts.failed + counts.running + counts.pending;
        let is_right = counts.succeeded == done.count() && counts.failed == failed.count() && counts.total == sum;
        if !is_right || !done.is_disjoint(failed) {
            let text = || format!("{name}: {counts:?}, completed {}, failed {}", done.count(), failed.count());
            self.checks.break_(now, Invariant::CountsAddUp, text);
        }
        let delivered = self.checks.tallies.get(&uid).map(|tally| &tally.delivered);
        let invented = delivered.map_or_else(|| done.clone(), |delivered| done - delivered);
        if !invented.is_empty() {
            self.checks
                .break_(now, Invariant::OnlyDeliveredCounts, || format!("{name}: nobody delivered [{invented}]"));
        }
        if self.checks.is_strict && has_begun(after) && !has_begun(before) {
            self.check_quota(after);
        }
        if is_over(after) && !is_over(before) {
            self.stats.jobs += 1;
            self.keep_end(after);
        }
        self.check_verdict(before, after);
    }

    /// A job of a queue begins. Jobs that somebody has changed meanwhile may have been suspended: they do not count.
    fn check_quota(&mut self, job: &Job) {
        let name = &job.spec.queue;
        let Some(quota) = self.queues.iter().find(|queue| queue.name == *name).and_then(|queue| queue.jobs) else {
            return;
        };
        let counts = |job: &&Arc<Job>| {
            job.spec.queue == *name && has_begun(job) && !is_over(job) && job.metadata.generation == Some(1)
        };
        let begun = self.server.jobs.values().filter(counts).count();
        if begun > quota as usize {
            let text = || format!("{begun} jobs of queue {name} have begun, its quota is {quota}");
            self.checks.break_(self.now, Invariant::QuotaKept, text);
        }
    }
}

fn has_begun(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| status.start_time.is_some())
}
