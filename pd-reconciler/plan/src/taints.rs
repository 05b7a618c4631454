//! Taints: which nodes keep a job away, which are its last choice, and which send it away.

use schemas::{Job, well_known::TAINT_UNTRUSTED};

use crate::{
    job::{self, Draft},
    nodes::State,
    snapshot::{Effect, NodeFacts, Taint},
};

/// True when no taint of the node keeps the job's new work away.
pub(crate) fn admits(node: &NodeFacts, job: &Job) -> bool {
    let is_trusted = job.spec.verification.is_none() || !is_untrusted(node);
    is_trusted && !node.taints.iter().any(|taint| taint.effect != Effect::PreferNoSchedule && !is_tolerated(taint, job))
}

/// True when the job should rather run elsewhere.
pub(crate) fn is_last_choice(node: &NodeFacts, job: &Job) -> bool {
    node.taints.iter().any(|taint| taint.effect == Effect::PreferNoSchedule && !is_tolerated(taint, job))
}

/// What the node has of the job goes elsewhere when a taint says so: as if the node were lost, but it is told
/// to stop. What it has delivered stays.
pub(crate) fn evict(draft: &mut Draft<'_>, job: &Job) {
    let Some(node) = draft.node else { return };
    let sends_away = |taint: &Taint| taint.effect == Effect::NoExecute && !is_tolerated(taint, job);
    if node.facts.taints.iter().any(sends_away) {
        draft.is_evicted = node.state != State::Lost;
        draft.is_live = false;
        if draft.is_evicted && !draft.grants.is_empty() {
            draft.spec.slots = Some(0);
        }
    }
}

/// A job that verifies its outputs has nothing to do with a node that was caught lying, by this job or by another one
/// while the node carries the taint for it. Once enough is done, what counts was verified.
pub(crate) fn distrust(draft: &mut Draft<'_>, job: &Job) {
    if job.spec.verification.is_none() || job::has_succeeded(job) {
        return;
    }
    let known = job.status.iter().filter_map(|status| status.verification.as_ref());
    let is_known = known.flat_map(|known| &known.untrusted).any(|node| node.uid == draft.spec.node_uid);
    if is_known || draft.node.is_some_and(|node| is_untrusted(node.facts)) {
        draft.distrust();
    }
}

/// True when the node carries the taint of those who were caught.
pub(crate) fn is_untrusted(node: &NodeFacts) -> bool {
    node.taints.iter().any(|taint| taint.key == TAINT_UNTRUSTED)
}

fn is_tolerated(taint: &Taint, job: &Job) -> bool {
    let tolerations = job.spec.placement.iter().flat_map(|placement| &placement.tolerations);
    let mut matches = tolerations.map(|toleration| toleration.matches(&taint.key, &taint.value, taint.effect.name()));
    matches.any(|matches| matches)
}
