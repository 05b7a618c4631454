//! Poison: failures of whole ranges. An executor's death is pinned to one index by the node itself; but where a
//! node cannot set a job up, everything queued there fails at once, and nobody knows whether the node or the
//! work is to blame. So such a range is halved when it is retried: each node gets half of what is left of it,
//! until the part that fails is small. A node that failed so is trusted with no more than it has delivered.

use schemas::{IndexSet, assignment::FailureOutcome};

use crate::{
    hands::Hand,
    job::{Draft, Work},
};

/// What failed as ranges, of one job.
pub(crate) struct Poison {
    /// Not done since, and not given up.
    suspected: IndexSet,
    /// True when some range ever failed so.
    is_found: bool,
}

impl Poison {
    pub(crate) fn of(work: &Work<'_>) -> Self {
        let failed: IndexSet = work.drafts.iter().flat_map(ranges).collect();
        let suspected = &(&failed - &work.fold.done) - &work.fold.failed;
        Self { suspected, is_found: !failed.is_empty() }
    }

    /// The most that the node may be given of the job now, `left` of which is not given out.
    pub(crate) fn most(&self, work: &Work<'_>, hand: &Hand<'_>, left: u64) -> u64 {
        if !self.is_found {
            return u64::MAX;
        }
        let draft = work.draft(hand.node_uid);
        if let Some(blamed) = draft.filter(|draft| ranges(draft).next().is_some()) {
            return blamed.completed.count().max(1).saturating_sub(hand.outstanding);
        }
        let here: IndexSet =
            draft.iter().flat_map(|draft| draft.outstanding.values().flat_map(IndexSet::ranges)).collect();
        let half = self.suspected.count().div_ceil(2).saturating_sub((&here & &self.suspected).count());
        half + left.saturating_sub((&self.suspected - &work.fold.outstanding).count())
    }
}

/// What failed as a range here.
fn ranges<'a>(draft: &Draft<'a>) -> impl Iterator<Item = std::ops::RangeInclusive<u64>> + use<'a> {
    let failures = draft.status().into_iter().flat_map(|status| &status.failures);
    let failed = failures.filter(|failure| failure.outcome == FailureOutcome::SetupFailed);
    failed.flat_map(|failure| failure.indexes.ranges())
}
