//! Reports and grants, judged as they are stored: what was delivered stays, and is not given out again.

use schemas::Assignment;

use super::Invariant;
use crate::world::World;

impl World {
    pub(super) fn check_report(&mut self, node: &str, before: &Assignment, after: &Assignment) {
        let now = self.now;
        let name = after.metadata.name.clone().unwrap_or_default();
        let completed =
            |a: &Assignment| a.status.as_ref().map(schemas::AssignmentStatus::completed).unwrap_or_default();
        let (old, new) = (completed(before), completed(after));
        if !new.is_superset(&old) {
            let lost = &old - &new;
            self.checks.break_(now, Invariant::AcceptedStays, || format!("{node} reports {name} without [{lost}]"));
        } else if node != after.spec.node_uid {
            let text = || format!("{node} reports {name}, which is for {}", after.spec.node_uid);
            self.checks.break_(now, Invariant::ReportsFenced, text);
        }
        let uid = &after.spec.job.uid;
        if let (Some(job), Some(status)) = (self.server.jobs.get(uid), &after.status) {
            self.checks.tallies.entry(uid.clone()).or_default().take(&job.spec, after, status);
        }
        for segment in after.status.iter().flat_map(|status| &status.segments) {
            self.checks.segments.insert(segment.digest, segment.indexes.clone());
        }
    }

    /// What is accepted is not given out again.
    pub(super) fn check_grants(&mut self, before: Option<&Assignment>, after: &Assignment) {
        if !self.checks.is_strict {
            return;
        }
        let Some(job) = self.server.jobs.get(&after.spec.job.uid) else { return };
        let mut new = after.spec.granted();
        if let Some(before) = before {
            new -= &before.spec.granted();
        }
        if let Some(status) = &after.status {
            new -= &status.completed();
        }
        let accepted = job.status.as_ref().map(|status| &new & &status.completed_indexes).unwrap_or_default();
        if !accepted.is_empty() {
            let node = &after.spec.node_uid;
            self.checks.break_(self.now, Invariant::AcceptedNeverReruns, || {
                format!("{node} is given [{accepted}] of {}, which is accepted", after.spec.job.name)
            });
        }
    }
}
