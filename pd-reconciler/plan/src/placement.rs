//! Placement: which nodes may run a job, with how many slots each, and why none may.

use std::collections::BTreeMap;

use schemas::job::{Waiting, waiting};

use crate::{
    job::Work,
    nodes::{Node, Nodes, State},
    taints,
};

/// Slots that a job may use, by node UID.
pub(crate) type Allotment<'a> = BTreeMap<&'a str, u32>;

/// Splits the job's parallelism over its nodes: those that have work of it first, then those that want it, then
/// the larger ones. Nodes without a share are absent.
pub(crate) fn allot<'a>(work: &Work<'a>, nodes: &Nodes<'a>) -> Allotment<'a> {
    allot_among(work, work.eligible(nodes).map(|node| (node, node.facts.slots)))
}

/// The same of nodes that were dealt out: `rooms` holds places by node UID, of which each slot has `turns`.
pub(crate) fn allot_rooms<'a>(
    work: &Work<'a>,
    nodes: &Nodes<'a>,
    rooms: &BTreeMap<&'a str, u32>,
    turns: u32,
) -> Allotment<'a> {
    let dealt = rooms.iter().filter_map(|(uid, places)| Some((nodes.get(uid)?, places.div_ceil(turns))));
    allot_among(work, dealt.filter(|(node, _)| work.fits(node)))
}

/// Each node with the slots that it has room for.
fn allot_among<'n, 'a: 'n>(work: &Work<'a>, nodes: impl Iterator<Item = (&'n Node<'a>, u32)>) -> Allotment<'a> {
    let mut left = parallelism_left(work);
    let is_new = |node: &Node<'_>| work.draft(&node.facts.uid).is_none_or(|draft| draft.grants.is_empty());
    let mut ranked: Vec<(&Node<'a>, u32)> = nodes.collect();
    let is_last = |node: &Node<'_>| taints::is_last_choice(node.facts, work.job);
    if work.job.spec.parallelism.is_some() || ranked.iter().any(|(node, _)| is_last(node)) {
        ranked.sort_by_cached_key(|(node, _)| {
            let (is_new, is_last) = (is_new(node), is_last(node));
            (is_last && is_new, is_new, is_last, u32::MAX - node.facts.slots, &node.facts.name)
        });
    }
    // The last choice is not needed where the others have a slot for each index that is not done.
    let open = work.fold.all.count() - work.fold.done.count() - work.fold.failed.count();
    let mut preferred: u64 = 0;
    let mut allotment = Allotment::new();
    for (node, room) in ranked {
        if is_last(node) && is_new(node) && open <= preferred {
            continue;
        }
        let share = room.min(node.facts.slots).min(left);
        left -= share;
        preferred += u64::from(share);
        if share > 0 {
            allotment.insert(node.facts.uid.as_str(), share);
        }
    }
    allotment
}

/// Slots that the job may use beside those of nodes that finish what they have but get nothing new.
pub(crate) fn parallelism_left(work: &Work<'_>) -> u32 {
    let mut left = work.job.spec.parallelism.unwrap_or(u32::MAX);
    for draft in work.drafts.iter().filter(|draft| draft.is_live && draft.outstanding_count() > 0) {
        let Some(node) = draft.node.filter(|node| !work.fits(node)) else { continue };
        left = left.saturating_sub(draft.spec.slots.unwrap_or(node.facts.slots));
    }
    left
}

/// Writes the slots that each node may use into the drafts. A node that lost its share finishes what it has
/// on one slot; one that sent the job away keeps none. A limit that limits nothing is none: on a thousand nodes of one
/// slot it would be written, seen and answered for every job that comes and goes.
pub(crate) fn limit_slots(work: &mut Work<'_>, allotment: &Allotment<'_>) {
    let is_limited = work.job.spec.parallelism.is_some() || work.is_rationed;
    for draft in work.drafts.iter_mut().filter(|draft| !draft.is_evicted) {
        let Some(node) = draft.node else { continue };
        let has_role = draft.outstanding_count() > 0 || draft.is_granted;
        let limit = match allotment.get(draft.spec.node_uid) {
            Some(share) => Some(*share),
            None if is_limited && has_role && node.takes_work() => Some(1),
            None if is_limited => draft.spec.slots,
            None => None,
        };
        draft.spec.slots = limit.filter(|limit| *limit < node.facts.slots);
    }
}

/// Why no node may take the job: how many there are, and what is wrong with each kind.
pub(crate) fn why_none(work: &Work<'_>, nodes: &Nodes<'_>) -> Waiting {
    let waiting = |message| Waiting { reason: waiting::NO_NODE.into(), message };
    if nodes.is_empty() {
        return waiting("no node has joined the cluster".into());
    }
    let mut counts: [(u64, &str); 7] = [
        (0, "lost"),
        (0, "not ready"),
        (0, "cordoned or drained"),
        (0, "without the labels of placement.nodeSelector"),
        (0, "with a taint that the job does not tolerate"),
        (0, "without slots"),
        (0, "with no room for it"),
    ];
    for node in nodes.values() {
        let at = match node.state {
            State::Lost => 0,
            State::Away | State::Suspect => 1,
            State::Ready if !node.facts.schedulable || node.facts.draining => 2,
            State::Ready if !work.selects(node) => 3,
            State::Ready if !taints::admits(node.facts, work.job) => 4,
            State::Ready if node.facts.slots == 0 => 5,
            State::Ready => 6,
        };
        counts[at].0 += 1;
    }
    let parts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    waiting(format!("none of {} nodes can take it: {}", nodes.len(), parts.join(", ")))
}
