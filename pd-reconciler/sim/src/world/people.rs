//! People: what users and administrators change while the cluster runs, and the garbage that they leave.

use super::{Event, World};
use crate::{
    events::{Micros, SECOND},
    world::Fault,
};

/// An orphan is collected that long after it became one, at most.
const SWEPT_AFTER: Micros = SECOND;

impl World {
    /// What people change while the cluster runs.
    pub(super) fn edit(&mut self, fault: Fault) {
        let changed = match fault {
            Fault::Cordon(node, drains) => self.server.edit_node(&self.kubelets[node].name, false, drains),
            Fault::Uncordon(node) => self.server.edit_node(&self.kubelets[node].name, true, false),
            Fault::Suspend(job, suspend) => self.server.edit_job(&uid(job), |job| job.spec.suspend = suspend),
            Fault::Parallelism(job, slots) => self.server.edit_job(&uid(job), |job| job.spec.parallelism = slots),
            _ => None,
        };
        if let Some(object) = changed {
            self.announce(&object);
        }
    }

    pub(super) fn delete(&mut self, job: u64) {
        let Some(object) = self.server.delete_job(&uid(job)) else { return };
        self.announce(&object);
        self.sweep_later();
    }

    /// The garbage collector has something to do.
    pub(super) fn sweep_later(&mut self) {
        let delay = self.chance.below(SWEPT_AFTER);
        self.events.file(self.now + delay, Event::Sweep);
    }
}

/// UID of a scenario's job.
pub(super) fn uid(job: u64) -> String {
    format!("j{job}")
}
