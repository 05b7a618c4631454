//! Placement: which nodes may run a job, with how many slots each, and why none may.

use std::collections::BTreeMap;

use crate::{
    job::Work,
    nodes::{Node, Nodes, State},
};

/// Slots that a job may use, by node UID.
pub(crate) type Allotment = BTreeMap<String, u32>;

/// Splits the job's parallelism over its nodes: those that have work of it first, then the larger ones. Nodes
/// without a share are absent.
pub(crate) fn allot(work: &Work<'_>, nodes: &Nodes<'_>) -> Allotment {
    let mut left = work.job.spec.parallelism.unwrap_or(u32::MAX);
    for draft in work.drafts.iter().filter(|draft| draft.is_live && draft.outstanding_count() > 0) {
        let Some(node) = draft.node.filter(|node| !(node.takes_work() && work.selects(node))) else { continue };
        left = left.saturating_sub(draft.spec.slots.unwrap_or(node.facts.slots));
    }
    let is_new = |node: &Node<'_>| work.draft(&node.facts.uid).is_none_or(|draft| draft.grants.is_empty());
    let mut ranked: Vec<&Node<'_>> = work.eligible(nodes).collect();
    ranked.sort_by_key(|node| (is_new(node), u32::MAX - node.facts.slots, &node.facts.name));
    let mut allotment = Allotment::new();
    for node in ranked {
        let share = node.facts.slots.min(left);
        left -= share;
        if share > 0 {
            allotment.insert(node.facts.uid.clone(), share);
        }
    }
    allotment
}

/// Writes the slots that each node may use into the drafts. A node that lost its share finishes what it has
/// on one slot.
pub(crate) fn limit_slots(work: &mut Work<'_>, allotment: &Allotment) {
    let is_limited = work.job.spec.parallelism.is_some();
    for draft in &mut work.drafts {
        let Some(node) = draft.node else { continue };
        let has_role = draft.outstanding_count() > 0 || draft.is_granted;
        draft.spec.slots = match allotment.get(&draft.spec.node_uid) {
            Some(share) if *share < node.facts.slots => Some(*share),
            None if is_limited && has_role && node.takes_work() => Some(1),
            None if is_limited => draft.spec.slots,
            _ => None,
        };
    }
}

/// Why no node may take the job: how many there are, and what is wrong with each kind.
pub(crate) fn why_none(work: &Work<'_>, nodes: &Nodes<'_>) -> String {
    if nodes.is_empty() {
        return "no node has joined the cluster".into();
    }
    let count = |is: &dyn Fn(&Node<'_>) -> bool| nodes.values().filter(|node| is(node)).count();
    let (mut lost, mut away, mut closed, mut unmatched, mut slotless) = (0, 0, 0, 0, 0);
    for node in nodes.values() {
        let reason = match node.state {
            State::Lost => &mut lost,
            State::Away => &mut away,
            State::Ready if !node.facts.schedulable || node.facts.draining => &mut closed,
            State::Ready if !work.selects(node) => &mut unmatched,
            State::Ready => &mut slotless,
        };
        *reason += 1;
    }
    let parts = [
        (lost, "lost"),
        (away, "not ready"),
        (closed, "cordoned, drained or tainted"),
        (unmatched, "without the labels of placement.nodeSelector"),
        (slotless, "without free slots or already tried"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    format!("none of {} nodes can take it: {}", count(&|_| true), parts.join(", "))
}
