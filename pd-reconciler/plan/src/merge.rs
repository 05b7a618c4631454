//! The merge: when enough is done, the node that holds most of the bytes joins the outputs. Another one gets
//! it when that node is lost or fails.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use schemas::assignment::{MergeOrder, Part};

use crate::{
    action::Plan,
    backoff,
    job::{Draft, Stage, Work},
    nodes::{Node, Nodes},
    placement,
    policy::Policy,
    time::after,
};

/// Orders the merge of every job that is ready for it.
pub(crate) fn order<'a>(jobs: &mut [Work<'a>], nodes: &Nodes<'a>, now: Timestamp, policy: &Policy, plan: &mut Plan) {
    for work in jobs.iter_mut().filter(|work| matches!(work.stage, Stage::Merging(_))) {
        order_one(work, nodes, now, policy, plan);
    }
}

fn order_one<'a>(work: &mut Work<'a>, nodes: &Nodes<'a>, now: Timestamp, policy: &Policy, plan: &mut Plan) {
    let attempt = 1 + last_attempt(work);
    for draft in work.drafts.iter_mut().filter(|draft| !draft.is_live && draft.open_merge().is_some()) {
        draft.spec.merge = None;
    }
    if work.drafts.iter().any(|draft| draft.open_merge().is_some()) {
        return;
    }
    if let Some(at) = retry_at(work, now, policy)
        && now < at
    {
        plan.wake(at);
        return;
    }
    let Some(node) = choose(work, nodes).copied() else {
        let why = placement::why_none(work, nodes);
        work.hold_up(why, plan);
        return;
    };
    let parts = parts(work);
    let layout = work.layout;
    if let Some(draft) = work.draft_for(&node) {
        draft.spec.layout = layout;
        draft.spec.merge = Some(Cow::Owned(MergeOrder { parts, attempt }));
    }
}

/// The highest attempt that was ordered or answered.
fn last_attempt(work: &Work<'_>) -> u32 {
    let ordered = work.drafts.iter().filter_map(|draft| draft.spec.merge.as_deref()).map(|order| order.attempt);
    let answered = work.drafts.iter().filter_map(Draft::merge_report).map(|report| report.attempt);
    ordered.chain(answered).max().unwrap_or(0)
}

/// When the last failed merge may be tried again.
fn retry_at(work: &mut Work<'_>, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
    let failed = work.drafts.iter().filter_map(Draft::merge_report).filter(|report| report.failure.is_some());
    let attempt = failed.map(|report| report.attempt).max()?;
    let seen = work.memory.merge_failed.filter(|(known, _)| *known == attempt).map_or(now, |(_, seen)| seen);
    work.memory.merge_failed = Some((attempt, seen));
    let base: Duration = work.job.spec.retry_delay.0;
    Some(after(seen, backoff::delay(base, attempt, work.uid(), u64::MAX, policy.retry_delay_max)))
}

/// The node with most of the bytes, of those on which the merge has not failed; of all, when it has failed
/// on each. The name settles ties.
fn choose<'n, 'a>(work: &Work<'a>, nodes: &'n Nodes<'a>) -> Option<&'n Node<'a>> {
    let has_failed = |node: &Node<'_>| {
        work.draft(&node.facts.uid).and_then(Draft::merge_report).is_some_and(|report| report.failure.is_some())
    };
    let bytes = |node: &Node<'_>| {
        let status = work.draft(&node.facts.uid).and_then(Draft::status);
        status.map_or(0, |status| status.segments.iter().map(|segment| segment.size).sum::<u64>())
    };
    // Where several results have to agree, each is another node's.
    let is_new = |node: &&Node<'_>| {
        let report = work.draft(&node.facts.uid).and_then(Draft::merge_report);
        report.is_none_or(|report| report.result.is_none())
    };
    work.eligible(nodes).filter(is_new).min_by_key(|node| (has_failed(node), u64::MAX - bytes(node), &node.facts.name))
}

/// The canonical outputs: every accepted index once, in the order of its segment's first index.
fn parts(work: &Work<'_>) -> Vec<Part> {
    let taken_over = work.cached.iter().flat_map(|cached| &cached.outputs.segments);
    let mut parts: Vec<Part> =
        taken_over.map(|segment| Part { segment: segment.digest, indexes: segment.indexes.clone() }).collect();
    for draft in &work.drafts {
        let mut left = &draft.accepted & &work.fold.done;
        for segment in draft.status().iter().flat_map(|status| &status.segments) {
            let indexes = &segment.indexes & &left;
            if !indexes.is_empty() {
                left -= &indexes;
                parts.push(Part { segment: segment.digest, indexes });
            }
        }
    }
    parts.sort_by_key(|part| part.indexes.min());
    parts
}
