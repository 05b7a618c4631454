//! What slots begin and what merges take in, judged as it happens.

use pd_kubelet::sync::Stretch;
use pd_plan::{Effect, Taint};
use schemas::IndexSet;

use super::{Invariant, orders::tolerates, tally};
use crate::{
    events::Micros,
    kubelet::{Doing, Key, Kubelet, Run, Work},
    world::World,
};

impl World {
    /// A slot is about to begin `stretch` of the Assignment `key`.
    pub(crate) fn check_begin(&mut self, number: usize, key: Key, stretch: Stretch) {
        if !self.checks.are_on {
            return;
        }
        let kubelet = &self.kubelets[number];
        let Some(work) = kubelet.works.get(&key) else { return };
        let slots = self.server.nodes.get(&kubelet.name).map_or(0, |node| node.slots);
        let busy = 1 + kubelet.slots.iter().flatten().count();
        if busy > slots as usize {
            let text = format!("{} runs {busy} at once on {slots} slots", kubelet.uid);
            return self.checks.break_(self.now, Invariant::SlotsKept, || text);
        }
        if self.checks.dropped.contains(&(number, key)) {
            let text = format!("{} begins something of a{key}, which is deleted", kubelet.uid);
            return self.checks.break_(self.now, Invariant::DeletedStops, || text);
        }
        let wanted = IndexSet::from(stretch.first..=stretch.last);
        let again = &wanted & &work.ledger.completed;
        if !again.is_empty() {
            let text = format!("{} begins [{again}] again", kubelet.uid);
            return self.checks.break_(self.now, Invariant::AcceptedNeverReruns, || text);
        }
        if self.checks.is_strict
            && let Some(text) = self.second_owner(kubelet, work, &wanted)
        {
            self.checks.break_(self.now, Invariant::OneOwner, || text);
        }
    }

    /// Another node that runs some of `wanted`, if there is one that may not.
    fn second_owner(&self, kubelet: &Kubelet, work: &Work, wanted: &IndexSet) -> Option<String> {
        // One that is taken for lost goes on with what it has, and so may whoever has it now.
        let job = &work.object.spec.job.uid;
        if is_excused(kubelet, work.met) || self.has_lost(kubelet, job) {
            return None;
        }
        for other in self.kubelets.iter().filter(|other| other.uid != kubelet.uid && other.is_alive) {
            for run in other.slots.iter().flatten() {
                let Doing::Indexes { last, .. } = run.doing else { continue };
                let Some(theirs) = other.works.get(&run.key).filter(|theirs| theirs.object.spec.job.uid == *job) else {
                    continue;
                };
                if is_excused(other, run.begun) || self.has_lost(other, job) {
                    continue;
                }
                let reached = self.reached(other, run);
                if reached > last {
                    continue;
                }
                let mut both = wanted & &IndexSet::from(reached..=last);
                both -= &work.object.spec.copies;
                both -= &theirs.object.spec.copies;
                if !both.is_empty() {
                    return Some(format!("{} begins [{both}], which runs on {}", kubelet.uid, other.uid));
                }
            }
        }
        None
    }

    /// The index that a run is at.
    fn reached(&self, kubelet: &Kubelet, run: &Run) -> u64 {
        let Doing::Indexes { first, next, last, .. } = run.doing else { return 0 };
        let load = kubelet.works.get(&run.key).and_then(|work| self.loads.get(&work.object.spec.job.uid));
        let paid = kubelet.paid(run, self.now).max(0.0);
        load.map_or(next, |load| load.costs.reached(first, last, paid).max(next))
    }

    /// True when it has been silent for so long that it may be taken for lost, or a taint sends the job away: what it has
    /// others get at once.
    fn has_lost(&self, kubelet: &Kubelet, job: &str) -> bool {
        let job = self.server.jobs.get(job);
        let sends_away =
            |taint: &Taint| taint.effect == Effect::NoExecute && job.is_some_and(|job| !tolerates(job, taint));
        if self.server.nodes.get(&kubelet.name).is_some_and(|node| node.taints.iter().any(sends_away)) {
            return true;
        }
        let patience = self.policy.lost_after.as_micros() as Micros;
        let margin = 2 * crate::events::SECOND;
        kubelet.silent_since.is_some_and(|since| self.now - since + margin >= patience)
    }

    /// A merge is about to be answered.
    pub(crate) fn check_merge(&mut self, number: usize, key: Key, attempt: u32) {
        if !self.checks.are_on {
            return;
        }
        let Some(work) = self.kubelets[number].works.get(&key) else { return };
        let spec = &work.object.spec;
        let Some(order) = spec.merge.as_ref().filter(|order| order.attempt == attempt) else { return };
        let count: u64 = order.parts.iter().map(|part| part.indexes.count()).sum();
        let all = order.parts.iter().fold(IndexSet::new(), |all, part| &all | &part.indexes);
        let total = spec.layout.as_ref().map_or(0, |layout| layout.subtasks);
        let holds = |part: &schemas::assignment::Part| {
            self.checks.segments.get(&part.segment).is_some_and(|held| held.is_superset(&part.indexes))
        };
        let wanted = self.server.jobs.get(&spec.job.uid).map_or(total, |job| tally::wanted(&job.spec, total));
        let is_whole = count == all.count() && count >= wanted && IndexSet::first(total).is_superset(&all);
        if !is_whole || !order.parts.iter().all(holds) {
            let text = format!("merge of {}: {count} outputs of [{all}], {wanted} of {total} subtasks", spec.job.name);
            self.checks.break_(self.now, Invariant::MergedOnce, || text);
        }
    }
}

/// True when the kubelet was taken for lost after it learnt what it does: others may do it too.
fn is_excused(kubelet: &Kubelet, learnt: Micros) -> bool {
    kubelet.lost_until.is_some_and(|until| until >= learnt)
}
