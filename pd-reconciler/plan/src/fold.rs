//! Fold the reports: from what each node was told and what it answered, where every index stands.
//!
//! Exactly once: of several outputs of one index the one counts that stands in its node's grants, and the
//! grants change in our own writes only. So the first accepted output stays canonical across restarts.
//! O(intervals) in time and memory.

use std::collections::BTreeMap;

use schemas::{IndexSet, job::Layout};

use crate::{
    job::{Draft, Stage, Work},
    nodes::State,
};

/// Where the indexes of a job stand. `all` is the disjoint union of `done`, `outstanding`, `waiting` and
/// `failed`.
#[derive(Default)]
pub(crate) struct Fold {
    pub(crate) all: IndexSet,
    /// An output was accepted.
    pub(crate) done: IndexSet,
    /// Expected from a node.
    pub(crate) outstanding: IndexSet,
    /// Not given out, by the number of attempts that failed: 0 was never tried.
    pub(crate) waiting: BTreeMap<u32, IndexSet>,
    /// Out of retries.
    pub(crate) failed: IndexSet,
    /// Targets found.
    pub(crate) found: IndexSet,
    /// Retries given out.
    pub(crate) retries: u64,
}

/// Folds the reports of every job, and settles the grants by what came out.
pub(crate) fn reports(jobs: &mut [Work<'_>]) {
    for work in jobs.iter_mut() {
        let layout = work.layout.clone();
        fold(work, layout.as_ref());
        if work.stage == Stage::Finished {
            work.drafts.iter_mut().for_each(Draft::stop);
        } else {
            settle(work);
        }
    }
}

fn fold(work: &mut Work<'_>, layout: Option<&Layout>) {
    let all = layout.map_or_else(IndexSet::new, |layout| IndexSet::first(layout.subtasks));
    work.drafts.iter_mut().for_each(|draft| read(draft, &all));
    let done = accept(&mut work.drafts);
    let outstanding = claim(&mut work.drafts, &all, &done);
    let limit = work.job.spec.backoff_limit_per_index;
    let permanent = permanent(&work.drafts);
    let mut fold = Fold { found: found(&work.drafts, layout), all, done, outstanding, ..Fold::default() };
    fold.retries = work.drafts.iter().map(granted_retries).sum();
    let mut unowned = &(&fold.all - &fold.done) - &fold.outstanding;
    for (attempt, failed) in failures_by_attempt(&work.drafts).into_iter().rev() {
        let here = &failed & &unowned;
        unowned -= &here;
        fold.retries += u64::from(attempt.saturating_sub(1)) * here.count();
        let is_last = attempt > limit;
        let hopeless = if is_last { here.clone() } else { &here & &permanent };
        fold.failed |= &hopeless;
        let waiting = &here - &hopeless;
        if !waiting.is_empty() {
            fold.waiting.insert(attempt, waiting);
        }
    }
    if !unowned.is_empty() {
        fold.waiting.insert(0, unowned);
    }
    work.fold = fold;
}

/// Takes one node's report in, cut to the job's indexes.
fn read(draft: &mut Draft<'_>, all: &IndexSet) {
    let Some(status) = draft.status() else { return };
    draft.completed = &status.completed() & all;
    for failure in &status.failures {
        *draft.failed.entry(failure.attempt).or_default() |= &(&failure.indexes & all);
    }
    let completed = draft.completed.clone();
    draft.failed.values_mut().for_each(|failed| *failed -= &completed);
}

/// Decides whose output of each index counts: first those whose node it was granted to, then the others.
fn accept(drafts: &mut [Draft<'_>]) -> IndexSet {
    let mut done = IndexSet::new();
    for draft in drafts.iter_mut() {
        let granted: IndexSet = draft.grants.values().flat_map(IndexSet::ranges).collect();
        draft.accepted = &(&draft.completed & &granted) - &done;
        done |= &draft.accepted;
    }
    for draft in drafts {
        let late = &draft.completed - &done;
        draft.accepted |= &late;
        done |= &late;
    }
    done
}

/// Decides who is expected to deliver each index that is not done. A lost node is expected to deliver nothing;
/// a draining one only what it has started.
fn claim(drafts: &mut [Draft<'_>], all: &IndexSet, done: &IndexSet) -> IndexSet {
    let mut claimed = done.clone();
    for draft in drafts.iter_mut().filter(|draft| draft.is_live) {
        let started = is_leaving(draft).then(|| started(draft));
        for (attempt, granted) in &draft.grants {
            let mut open = &(granted & all) - &claimed;
            draft.failed.range(*attempt..).for_each(|(_, failed)| open -= failed);
            if let Some(started) = &started {
                open = &open & started;
            }
            if !open.is_empty() {
                claimed |= &open;
                draft.outstanding.insert(*attempt, open);
            }
        }
    }
    for draft in drafts.iter_mut().filter(|draft| draft.is_live) {
        let Some(status) = draft.status() else { continue };
        let mut retained = &(&status.retained & all) - &claimed;
        draft.failed.values().for_each(|failed| retained -= failed);
        claimed |= &retained;
        draft.retained = retained;
    }
    &claimed - done
}

/// True when what the node has not started should go elsewhere.
fn is_leaving(draft: &Draft<'_>) -> bool {
    draft.node.is_some_and(|node| node.state == State::Ready && node.facts.draining)
}

/// What runs on the node now.
fn started(draft: &Draft<'_>) -> IndexSet {
    draft.status().iter().flat_map(|status| &status.running).map(|running| running.index).collect()
}

/// What failed, by attempt, on whatever node.
fn failures_by_attempt(drafts: &[Draft<'_>]) -> BTreeMap<u32, IndexSet> {
    let mut failures = BTreeMap::<u32, IndexSet>::new();
    for (attempt, failed) in drafts.iter().flat_map(|draft| &draft.failed) {
        *failures.entry(*attempt).or_default() |= failed;
    }
    failures
}

/// What failed in a way that no retry can change.
fn permanent(drafts: &[Draft<'_>]) -> IndexSet {
    let failures = drafts.iter().filter_map(Draft::status).flat_map(|status| &status.failures);
    let permanent = failures.filter(|failure| !failure.outcome.is_retryable());
    permanent.flat_map(|failure| failure.indexes.ranges()).collect()
}

/// Targets found on whatever node, cut to the job's goal.
fn found(drafts: &[Draft<'_>], layout: Option<&Layout>) -> IndexSet {
    let targets = IndexSet::first(layout.and_then(|layout| layout.goal).unwrap_or(0));
    let found: IndexSet = drafts.iter().filter_map(Draft::status).flat_map(|status| status.found.ranges()).collect();
    &found & &targets
}

/// Retries that stand in this node's grants and were accepted from it or are expected of it.
fn granted_retries(draft: &Draft<'_>) -> u64 {
    let retries = draft.grants.iter().filter(|(attempt, _)| **attempt > 1);
    retries
        .map(|(attempt, granted)| {
            let outstanding = draft.outstanding.get(attempt).map_or(0, IndexSet::count);
            u64::from(attempt - 1) * ((granted & &draft.accepted).count() + outstanding)
        })
        .sum()
}

/// Brings the grants in line: out goes what is done elsewhere, expected of another, or lost with its node;
/// in comes what a node has delivered although it was withdrawn, so that it stays canonical.
fn settle(work: &mut Work<'_>) {
    let adoptions: Vec<BTreeMap<u32, IndexSet>> = (0..work.drafts.len()).map(|at| adoptions(work, at)).collect();
    let unsettled_failures: IndexSet = work.fold.waiting.values().flat_map(IndexSet::ranges).collect();
    let unsettled_failures = &unsettled_failures | &work.fold.failed;
    for (draft, adopted) in work.drafts.iter_mut().zip(adoptions) {
        for (attempt, granted) in &mut draft.grants {
            let mut kept = draft.accepted.clone();
            draft.failed.range(*attempt..).for_each(|(_, failed)| kept |= &(failed & &unsettled_failures));
            if let Some(outstanding) = draft.outstanding.get(attempt) {
                kept |= outstanding;
            }
            *granted = &*granted & &kept;
        }
        for (attempt, indexes) in adopted {
            *draft.grants.entry(attempt).or_default() |= &indexes;
        }
    }
}

/// What the draft at `at` delivered without holding a grant for it, by the attempt it stands at elsewhere.
fn adoptions(work: &Work<'_>, at: usize) -> BTreeMap<u32, IndexSet> {
    let draft = &work.drafts[at];
    let mut left = draft.accepted.clone();
    draft.grants.values().for_each(|granted| left -= granted);
    let mut adopted = BTreeMap::<u32, IndexSet>::new();
    if left.is_empty() {
        return adopted;
    }
    for (attempt, granted) in work.drafts.iter().flat_map(|other| &other.grants) {
        let taken = &left & granted;
        left -= &taken;
        if !taken.is_empty() {
            *adopted.entry(*attempt).or_default() |= &taken;
        }
    }
    for (attempt, failed) in failures_by_attempt(&work.drafts).into_iter().rev() {
        let taken = &left & &failed;
        left -= &taken;
        if !taken.is_empty() {
            *adopted.entry(attempt + 1).or_default() |= &taken;
        }
    }
    if !left.is_empty() {
        *adopted.entry(1).or_default() |= &left;
    }
    adopted
}
