//! Poison: failures of whole ranges. An executor's death is pinned to one index by the node itself; but where a
//! node cannot set a job up, everything queued there fails at once, and nobody knows whether the node or the
//! work is to blame. So such a range is halved when it is retried: each node gets half of what is left of it,
//! until the part that fails is small. A node that failed so is trusted with no more than it has delivered.

use schemas::{IndexSet, assignment::FailureOutcome};

use crate::{
    hands::Hand,
    job::{Draft, Work},
};

/// The most that the node may be given of the job now, `left` of which is not given out.
pub(crate) fn most(work: &Work<'_>, hand: &Hand, left: u64) -> u64 {
    let draft = work.draft(&hand.node_uid);
    if let Some(blamed) = draft.filter(|draft| !ranges(draft).is_empty()) {
        return blamed.completed.count().max(1).saturating_sub(hand.outstanding);
    }
    let failed: IndexSet = work.drafts.iter().flat_map(|draft| ranges(draft).ranges().collect::<Vec<_>>()).collect();
    if failed.is_empty() {
        return u64::MAX;
    }
    let suspected = &(&failed - &work.fold.done) - &work.fold.failed;
    let here: IndexSet = draft.iter().flat_map(|draft| draft.outstanding.values().flat_map(IndexSet::ranges)).collect();
    let half = suspected.count().div_ceil(2).saturating_sub((&here & &suspected).count());
    half + left.saturating_sub((&suspected - &work.fold.outstanding).count())
}

/// What failed as a range here.
fn ranges(draft: &Draft<'_>) -> IndexSet {
    let failures = draft.status().into_iter().flat_map(|status| &status.failures);
    let failed = failures.filter(|failure| failure.outcome == FailureOutcome::SetupFailed);
    failed.flat_map(|failure| failure.indexes.ranges()).collect()
}
