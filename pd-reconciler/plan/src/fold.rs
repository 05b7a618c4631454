//! Fold the reports: from what each node was told and what it answered, where every index stands.
//!
//! Exactly once: of several outputs of one index the one counts that stands in its node's grants, and the
//! grants change in our own writes only. So the first accepted output stays canonical across restarts.
//! O(intervals) in time and memory.

use std::collections::BTreeMap;

use schemas::{IndexSet, job::Layout};

use crate::{
    agreement, failure_policy,
    job::{Draft, Stage, Work},
    nodes::State,
    retry,
    verify::{self, Verify},
};

/// Where the indexes of a job stand. `all` is the disjoint union of `done`, what is delivered and not done,
/// `outstanding`, `waiting` and `failed`.
#[derive(Default)]
pub(crate) struct Fold {
    pub(crate) all: IndexSet,
    /// An output was accepted.
    pub(crate) delivered: IndexSet,
    /// It counts: where outputs are verified, enough of them agree.
    pub(crate) done: IndexSet,
    /// Expected from a node, or recalled from one that has not answered.
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
        one(work);
        if work.stage == Stage::Finished {
            work.drafts.iter_mut().for_each(Draft::stop);
        } else {
            settle(work);
        }
    }
}

/// Folds the reports of one job.
pub(crate) fn one(work: &mut Work<'_>) {
    if work.stage != Stage::Finished {
        verify::weigh(work);
    }
    let layout = work.layout;
    fold(work, layout);
}

fn fold(work: &mut Work<'_>, layout: Option<&Layout>) {
    let all = layout.map_or_else(IndexSet::new, |layout| IndexSet::first(layout.subtasks));
    work.drafts.iter_mut().for_each(|draft| read(draft, &all));
    let taken_over = work.cached.as_ref().map(|cached| &cached.outputs);
    let delivered =
        accept(&mut work.drafts, &taken_over.map_or_else(IndexSet::new, |outputs| &outputs.indexes() & &all));
    let outstanding = claim(&mut work.drafts, &all, &delivered, work.verify.as_ref());
    let permanent = failure_policy::hopeless(work.job, &work.drafts);
    let verify = work.verify.as_ref();
    let mut found = found(&work.drafts, layout, verify.filter(|verify| verify.is_strict).map_or(1, |v| v.agree));
    if let Some(outputs) = taken_over {
        found |= &outputs.found;
    }
    let done = verify.map_or_else(|| delivered.clone(), |verify| verify.counts(&delivered));
    let mut fold = Fold { all, delivered, done, outstanding, found, ..Fold::default() };
    fold.failed.clone_from(&verify.map(|verify| &verify.status.unresolved & &fold.delivered).unwrap_or_default());
    fold.retries = work.drafts.iter().map(granted_retries).sum();
    let mut unowned = &(&fold.all - &fold.delivered) - &fold.outstanding;
    for (attempt, failed) in failures_by_attempt(&work.drafts).into_iter().rev() {
        let here = &failed & &unowned;
        unowned -= &here;
        fold.retries += u64::from(attempt.saturating_sub(1)) * here.count();
        let hopeless = &retry::exhausted(work.job, attempt, &here) | &(&here & &permanent);
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
    draft.completed = within(status.completed(), all);
    for failure in &status.failures {
        *draft.failed.entry(failure.attempt).or_default() |= &(&failure.indexes & all);
    }
    draft.failed.values_mut().for_each(|failed| *failed -= &draft.completed);
}

/// What of `indexes` is among the job's, which are the first so many.
fn within(indexes: IndexSet, all: &IndexSet) -> IndexSet {
    if indexes.max() <= all.max() { indexes } else { &indexes & all }
}

/// Decides whose output of each index counts: first what was taken over, then those whose node it was granted to,
/// then those who computed it as a check, then the others.
fn accept(drafts: &mut [Draft<'_>], taken_over: &IndexSet) -> IndexSet {
    for draft in drafts.iter_mut() {
        draft.accepted = &draft.completed & &IndexSet::join(draft.grants.values());
        draft.accepted -= &draft.checks;
    }
    let mut done = IndexSet::join(drafts.iter().map(|draft| &draft.accepted).chain([taken_over]));
    if done.count() < taken_over.count() + drafts.iter().map(|draft| draft.accepted.count()).sum::<u64>() {
        // Two have delivered the same: the elder's counts.
        done = taken_over.clone();
        for draft in drafts.iter_mut() {
            draft.accepted -= &done;
            done |= &draft.accepted;
        }
    }
    for draft in drafts.iter_mut().filter(|draft| !draft.checks.is_empty()) {
        let checked = &(&draft.completed & &draft.checks) - &done;
        draft.checks -= &checked;
        draft.accepted |= &checked;
        draft.is_late = !checked.is_empty();
        done |= &checked;
    }
    for draft in drafts.iter_mut().filter(|draft| draft.accepted != draft.completed) {
        let late = &draft.completed - &done;
        draft.is_late |= !late.is_empty();
        draft.accepted |= &late;
        done |= &late;
    }
    done
}

/// Decides who is expected to deliver each index that is not done. A lost node is expected to deliver nothing;
/// a draining one only what it has started. Owners come first, then what was recalled and may have started,
/// then copies: one whose owner is gone becomes the owner. Two reconcilers that did not know of each other may have copied
/// an index each: the first copy stays, the other one is called off.
fn claim(drafts: &mut [Draft<'_>], all: &IndexSet, done: &IndexSet, verify: Option<&Verify>) -> IndexSet {
    let mut claimed = done.clone();
    for draft in drafts.iter_mut().filter(|draft| draft.is_live) {
        let started = is_leaving(draft).then(|| draft.running());
        for (attempt, granted) in &draft.grants {
            let mut open = &(&(&open_of(draft, *attempt, granted, all) - &draft.copies) - &draft.checks) - &claimed;
            if let Some(started) = &started {
                draft.recalled |= &(&open - started);
                open = &open & started;
            }
            claimed |= &open;
            if !open.is_empty() {
                draft.outstanding.insert(*attempt, open);
            }
        }
    }
    for draft in drafts.iter_mut().filter(|draft| draft.is_live) {
        claim_recalled(draft, all, &mut claimed);
    }
    let mut copied = IndexSet::new();
    for draft in drafts.iter_mut().filter(|draft| draft.is_live) {
        claim_copies(draft, all, done, &mut claimed, &mut copied);
        claim_checks(draft, all, verify, &mut claimed);
    }
    &claimed - done
}

/// What of a grant has not failed here.
fn open_of(draft: &Draft<'_>, attempt: u32, granted: &IndexSet, all: &IndexSet) -> IndexSet {
    let mut open = within(granted.clone(), all);
    draft.failed.range(attempt..).for_each(|(_, failed)| open -= failed);
    open
}

/// What was recalled and may have started, and what had.
fn claim_recalled(draft: &mut Draft<'_>, all: &IndexSet, claimed: &mut IndexSet) {
    let reported = draft.status().map(|status| &status.retained).filter(|retained| !retained.is_empty());
    if draft.recalled.is_empty() && reported.is_none() {
        return;
    }
    let recalled = &(&draft.recalled & all) - claimed;
    let mut retained = reported.map_or_else(IndexSet::new, |reported| reported & all);
    retained -= &*claimed;
    // It may have failed here before: a node retains what runs, not what has ended.
    retained -= &recalled;
    // Given to it anew since it said so.
    retained -= &draft.copies;
    retained -= &draft.checks;
    *claimed |= &recalled;
    *claimed |= &retained;
    draft.recalled = recalled;
    draft.retained = retained;
}

/// What runs here as well as elsewhere, or only here by now.
fn claim_copies(
    draft: &mut Draft<'_>,
    all: &IndexSet,
    done: &IndexSet,
    claimed: &mut IndexSet,
    copied_before: &mut IndexSet,
) {
    if draft.copies.is_empty() {
        return;
    }
    let mut copies = IndexSet::new();
    let mut needless = IndexSet::new();
    for (attempt, granted) in &draft.grants {
        let open = &(&open_of(draft, *attempt, granted, all) & &draft.copies) - done;
        let inherited = &open - &*claimed;
        let mut copied = &open - &inherited;
        needless |= &(&copied & &*copied_before);
        copied -= &*copied_before;
        if !inherited.is_empty() {
            *claimed |= &inherited;
            *draft.outstanding.entry(*attempt).or_default() |= &inherited;
        }
        if !copied.is_empty() {
            copies |= &copied;
            draft.copying.insert(*attempt, copied);
        }
    }
    draft.grants.values_mut().for_each(|granted| *granted -= &needless);
    *copied_before |= &copies;
    draft.copies = copies;
}

/// What is to be compared with what another node delivers, while that is not settled. What nobody else has any more
/// is this node's own.
fn claim_checks(draft: &mut Draft<'_>, all: &IndexSet, verify: Option<&Verify>, claimed: &mut IndexSet) {
    let Some(verify) = verify else { return };
    let started = is_leaving(draft).then(|| draft.running());
    let mut kept = &draft.completed & &draft.checks;
    for (attempt, granted) in &draft.grants {
        let mut open = &(&open_of(draft, *attempt, granted, all) & &draft.checks) - &draft.completed;
        open -= &verify.status.verified;
        open -= &verify.status.unresolved;
        if let Some(started) = &started {
            open = &open & started;
        }
        let inherited = &open - &*claimed;
        let checked = &open - &inherited;
        kept |= &checked;
        *claimed |= &inherited;
        if !inherited.is_empty() {
            *draft.outstanding.entry(*attempt).or_default() |= &inherited;
        }
        if !checked.is_empty() {
            draft.checking.insert(*attempt, checked);
        }
    }
    draft.checks = kept;
}

/// True when what the node has not started should go elsewhere.
fn is_leaving(draft: &Draft<'_>) -> bool {
    draft.node.is_some_and(|node| node.state == State::Ready && node.facts.draining)
}

/// What failed, by attempt, on whatever node.
fn failures_by_attempt(drafts: &[Draft<'_>]) -> BTreeMap<u32, IndexSet> {
    let mut failures = BTreeMap::<u32, IndexSet>::new();
    for (attempt, failed) in drafts.iter().flat_map(|draft| &draft.failed) {
        *failures.entry(*attempt).or_default() |= failed;
    }
    failures
}

/// Targets that at least so many nodes have found, cut to the job's goal.
fn found(drafts: &[Draft<'_>], layout: Option<&Layout>, least: usize) -> IndexSet {
    let targets = IndexSet::first(layout.and_then(|layout| layout.goal).unwrap_or(0));
    let mut levels = agreement::ladder(targets, least + 1);
    drafts.iter().filter_map(Draft::status).for_each(|status| agreement::climb(&mut levels, &status.found));
    levels.pop().unwrap_or_default()
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
        if is_settled(draft) {
            continue;
        }
        for (attempt, granted) in &mut draft.grants {
            let mut kept = draft.accepted.clone();
            draft.failed.range(*attempt..).for_each(|(_, failed)| kept |= &(failed & &unsettled_failures));
            kept |= &(&draft.completed & &draft.checks);
            for expected in [&draft.outstanding, &draft.copying, &draft.checking] {
                if let Some(expected) = expected.get(attempt) {
                    kept |= expected;
                }
            }
            *granted = &*granted & &kept;
        }
        for (attempt, indexes) in adopted {
            *draft.grants.entry(attempt).or_default() |= &indexes;
        }
    }
}

/// True when its grants hold no more than what counts and what is expected: nothing of it failed, nothing is there to be
/// compared, and nothing came that was not granted.
fn is_settled(draft: &Draft<'_>) -> bool {
    let count = |grants: &BTreeMap<u32, IndexSet>| grants.values().map(IndexSet::count).sum::<u64>();
    let expected = count(&draft.outstanding) + count(&draft.copying);
    draft.grants.len() <= 1
        && draft.failed.is_empty()
        && !draft.is_late
        && draft.checks.is_empty()
        && draft.accepted.count() + expected == count(&draft.grants)
}

/// What the draft at `at` delivered without holding a grant for it, by the attempt it stands at elsewhere.
fn adoptions(work: &Work<'_>, at: usize) -> BTreeMap<u32, IndexSet> {
    let draft = &work.drafts[at];
    if !draft.is_late {
        return BTreeMap::new();
    }
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
