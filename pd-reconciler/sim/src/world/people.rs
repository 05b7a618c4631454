//! People: what users and administrators change while the cluster runs, and the garbage that they leave.

use std::collections::BTreeMap;

use pd_plan::{Effect, Taint};
use schemas::{Job, validation};

use super::{Event, World, is_over};
use crate::{
    events::{Micros, SECOND},
    server::{NodeObject, Object},
    world::Fault,
};

/// Key of the taint that administrators put on nodes and take off again.
pub(crate) const UPKEEP: &str = "upkeep";

/// An orphan is collected that long after it became one, at most.
const SWEPT_AFTER: Micros = SECOND;

impl World {
    /// What people change while the cluster runs.
    pub(super) fn edit(&mut self, fault: Fault) {
        let changed = match fault {
            Fault::Cordon(node, drains) => {
                self.edit_node(node, |node| (node.schedulable, node.draining) = (false, drains))
            }
            Fault::Uncordon(node) => self.edit_node(node, |node| (node.schedulable, node.draining) = (true, false)),
            Fault::Taint(node, effect) => {
                let taint = Taint { key: UPKEEP.into(), value: String::new(), effect };
                self.edit_node(node, |node| node.taints.push(taint))
            }
            Fault::Untaint(node) => {
                let kubelet = &mut self.kubelets[node];
                let sends_away = |taint: &Taint| taint.key == UPKEEP && taint.effect == Effect::NoExecute;
                if self.server.nodes.get(&kubelet.name).is_some_and(|node| node.taints.iter().any(sends_away)) {
                    kubelet.lost_until = Some(self.now);
                }
                self.edit_node(node, |node| node.taints.retain(|taint| taint.key != UPKEEP))
            }
            Fault::Furnish(node) => self.furnish_for_all(node),
            Fault::Suspend(job, suspend) => self.server.edit_job(&uid(job), |job| job.spec.suspend = suspend),
            Fault::Parallelism(job, slots) => self.server.edit_job(&uid(job), |job| job.spec.parallelism = slots),
            _ => None,
        };
        if let Some(object) = changed {
            self.announce(&object);
        }
    }

    fn edit_node(&mut self, node: usize, edit: impl FnOnce(&mut NodeObject)) -> Option<Object> {
        self.server.edit_node(&self.kubelets[node].name, edit)
    }

    /// Gives a node every label that some job selects by, and takes its taints.
    fn furnish_for_all(&mut self, node: usize) -> Option<Object> {
        let placements = self.server.jobs.values().filter_map(|job| job.spec.placement.as_ref());
        let labels: BTreeMap<String, String> = placements
            .flat_map(|placement| placement.node_selector.clone())
            .chain(self.kubelets[node].labels.clone())
            .collect();
        self.furnish(node, labels.clone(), vec![]);
        self.edit_node(node, |node| (node.labels, node.taints) = (labels, vec![]))
    }

    pub(super) fn delete(&mut self, job: &str) {
        let Some(object) = self.server.delete_job(job) else { return };
        self.announce(&object);
        self.sweep_later();
    }

    /// Nothing will ever come of a job that waits for one that was deleted, nor of those that wait for it.
    pub(super) fn abandon(&mut self) {
        let jobs = &self.server.jobs;
        let is_missing = |name: &str| !jobs.values().any(|job| job.metadata.name.as_deref() == Some(name));
        let waits = |job: &Job| {
            let has_begun = job.status.as_ref().is_some_and(|status| status.start_time.is_some());
            !has_begun && !is_over(job) && validation::dependencies(&job.spec).into_iter().any(is_missing)
        };
        let abandoned = jobs.iter().find(|(_, job)| waits(job)).map(|(uid, _)| uid.clone());
        if let Some(uid) = abandoned {
            self.delete(&uid);
            self.abandon();
        }
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
