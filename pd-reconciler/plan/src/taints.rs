//! Taints: which nodes keep a job away, which are its last choice, and which send it away.

use schemas::Job;

use crate::{
    job::Draft,
    nodes::State,
    snapshot::{Effect, NodeFacts, Taint},
};

/// True when no taint of the node keeps the job's new work away.
pub(crate) fn admits(node: &NodeFacts, job: &Job) -> bool {
    !node.taints.iter().any(|taint| taint.effect != Effect::PreferNoSchedule && !is_tolerated(taint, job))
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

fn is_tolerated(taint: &Taint, job: &Job) -> bool {
    let tolerations = job.spec.placement.iter().flat_map(|placement| &placement.tolerations);
    let mut matches = tolerations.map(|toleration| toleration.matches(&taint.key, &taint.value, taint.effect.name()));
    matches.any(|matches| matches)
}
