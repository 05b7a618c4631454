//! Cache: what an earlier job of the namespace has computed of the same work is taken over, and what a job leaves is
//! kept for the next one.
//!
//! A job takes over once, when nothing stands in its way any more and before anything of it is given out; from then on
//! its own status names the outputs, so nothing depends on the CachedResult any longer. Only outputs that were
//! accepted are kept: of a job that failed or was cancelled those that it had, never what failed. A merged result goes
//! with the indexes that it was merged of, so the result of a search that ended early is never taken for the whole.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemas::{
    CachedResult, CachedResultSpec, Digest, IndexSet,
    assignment::Segment,
    cached_result::{self, Merged, Outputs},
    job::{CacheUse, JobResult},
};

use crate::{
    action::{Action, Plan},
    fold,
    job::{Draft, Stage, Work},
    policy::Policy,
    snapshot::{CacheFacts, CacheKey, Snapshot},
    time::{after, since, to_millis},
};

/// Segments and intervals of indexes in one CachedResult: 170 and 20 bytes each, so that it, and the status of a job
/// that takes it over, stay below 1 MiB.
const SEGMENTS_MAX: usize = 2_000;
const INTERVALS_MAX: usize = 20_000;

/// Names the work of a job whose outputs may be shared.
pub(crate) fn key(work: &Work<'_>) -> Option<Digest> {
    if work.job.spec.cache { cached_result::key(&work.job.spec, &work.inputs) } else { None }
}

/// Lets a job that is about to begin take over what there is of its work. True when there was something.
pub(crate) fn adopt<'a>(work: &mut Work<'a>, cache: &'a CacheFacts, now: Timestamp, plan: &mut Plan) -> bool {
    if work.stage != Stage::Planning || work.has_begun() {
        return false;
    }
    let Some(entry) = key(work).and_then(|key| cache.whole(&place(work, key))) else { return false };
    let spec = &entry.spec;
    work.layout = Some(&spec.layout);
    work.cached = Some(CacheUse { job: spec.job.clone(), count: spec.count, outputs: spec.outputs.clone() });
    fold::one(work);
    let what = if result(work).is_some() { " and the result" } else { "" };
    let message = format!(
        "{} of {} subtasks{what} were computed by job {} and are taken over",
        spec.count, spec.layout.subtasks, spec.job
    );
    plan.counts.cached_indexes += spec.count;
    plan.actions.push(Action::UseCachedResult {
        entry: Arc::clone(entry),
        at: to_millis(now),
        job_uid: work.uid().to_owned(),
    });
    plan.event(work.about(), false, "Cached", message);
    true
}

/// The result that was taken over, if it is of exactly what is done.
pub(crate) fn result(work: &Work<'_>) -> Option<JobResult> {
    let merged = work.cached.as_ref()?.outputs.merged.as_ref()?;
    (merged.indexes == work.fold.done).then(|| merged.result.clone())
}

/// Keeps what a job that ends has accepted, with what is kept of the same work already.
pub(crate) fn keep(work: &Work<'_>, cache: &CacheFacts, now: Timestamp, plan: &mut Plan) {
    let begun_with = work.job.status.as_ref().and_then(|status| status.cache_key);
    // A sandbox that was changed while the job ran leaves outputs of two kinds.
    let (Some(key), Some(layout)) = (key(work).filter(|key| begun_with == Some(*key)), work.layout) else { return };
    let before = cache.entries().get(&place(work, key));
    let known = before.filter(|entry| entry.spec.layout == *layout && !cache.is_broken(entry));
    let known = known.map(|entry| &entry.spec.outputs);
    let outputs = union(accepted(work), known);
    if outputs.segments.is_empty() || known == Some(&outputs) || !fits(&outputs) {
        return;
    }
    let metadata = before.map_or_else(
        || ObjectMeta {
            name: Some(key.hex()),
            namespace: work.job.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |entry| entry.metadata.clone(),
    );
    let spec = CachedResultSpec {
        key,
        job: work.job.metadata.name.clone().unwrap_or_default(),
        task: work.job.spec.task.name.clone(),
        layout: layout.clone(),
        count: outputs.indexes().count(),
        bytes: outputs.bytes(),
        outputs,
        last_used: to_millis(now),
    };
    plan.actions.push(Action::WriteCachedResult(Box::new(CachedResult { metadata, spec })));
}

/// What counts of a job's outputs.
fn accepted(work: &Work<'_>) -> Outputs {
    let taken_over = work.cached.as_ref().map(|cached| cached.outputs.clone()).unwrap_or_default();
    let mut left = &work.fold.done - &taken_over.indexes();
    let mut segments = taken_over.segments;
    for draft in &work.drafts {
        let here = &left & &draft.accepted;
        left -= &here;
        segments.extend(cut(draft.status().iter().flat_map(|status| &status.segments), here));
    }
    Outputs { segments, found: work.fold.found.clone(), merged: merged(work).or(taken_over.merged) }
}

/// Segments that together hold `left`, each index once.
fn cut<'s>(segments: impl IntoIterator<Item = &'s Segment>, mut left: IndexSet) -> Vec<Segment> {
    let mut found = Vec::new();
    for segment in segments {
        let indexes = &segment.indexes & &left;
        if !indexes.is_empty() {
            left -= &indexes;
            found.push(Segment { indexes, ..segment.clone() });
        }
    }
    found
}

/// What this job's own merge came to, and of what.
fn merged(work: &Work<'_>) -> Option<Merged> {
    let Stage::Complete(_, result) = &work.stage else { return None };
    let is_it = |draft: &&Draft<'_>| {
        draft.merge_report().is_some_and(|report| {
            let is_answer = draft.spec.merge.as_ref().is_some_and(|order| order.attempt == report.attempt);
            is_answer && report.result.as_ref() == Some(result)
        })
    };
    let order = work.drafts.iter().find(is_it)?.spec.merge.as_ref()?;
    let indexes = order.parts.iter().flat_map(|part| part.indexes.ranges()).collect();
    Some(Merged { indexes, result: result.clone() })
}

/// `new`, and of `known` what it lacks. Of two results the one of more indexes.
fn union(mut new: Outputs, known: Option<&Outputs>) -> Outputs {
    let Some(known) = known else { return new };
    let lacking = &known.indexes() - &new.indexes();
    new.segments.extend(cut(&known.segments, lacking));
    new.found |= &known.found;
    let count = |merged: &Option<Merged>| merged.as_ref().map_or(0, |merged| merged.indexes.count());
    if count(&known.merged) > count(&new.merged) {
        new.merged.clone_from(&known.merged);
    }
    new
}

fn fits(outputs: &Outputs) -> bool {
    let intervals: usize = outputs.segments.iter().map(|segment| segment.indexes.intervals()).sum();
    outputs.segments.len() <= SEGMENTS_MAX && intervals <= INTERVALS_MAX
}

fn place(work: &Work<'_>, key: Digest) -> CacheKey {
    (work.job.metadata.namespace.clone().unwrap_or_default(), key.hex())
}

/// Drops what names artifacts that are gone, what nobody has used for long and, while there is too much, what was used
/// longest ago; never what this plan uses.
pub(crate) fn evict(snapshot: &Snapshot, now: Timestamp, policy: &Policy, plan: &mut Plan) {
    let cache = &*snapshot.cache;
    let Some(oldest) = cache.oldest() else { return };
    let is_expired = |used: Timestamp| since(used, now) >= policy.cache_unused_max;
    let is_full = cache.entries().len() > policy.cache_entries_max || cache.bytes() > policy.cache_bytes_max;
    if !is_full && !is_expired(oldest) && !cache.has_broken() {
        plan.wake(after(oldest, policy.cache_unused_max));
        return;
    }
    let in_use: BTreeSet<String> = plan.actions.iter().filter_map(in_use).collect();
    let mut newest_first: Vec<&Arc<CachedResult>> = cache.entries().values().collect();
    newest_first.sort_by_key(|entry| (std::cmp::Reverse(entry.spec.last_used), entry.metadata.name.clone()));
    let (mut entries, mut bytes) = (0, 0_u64);
    for entry in newest_first {
        let is_over = entries >= policy.cache_entries_max || bytes + entry.spec.bytes > policy.cache_bytes_max;
        let is_spared = in_use.contains(&entry.spec.key.hex());
        if is_spared || !(is_over || is_expired(entry.spec.last_used) || cache.is_broken(entry)) {
            entries += 1;
            bytes += entry.spec.bytes;
        } else {
            plan.actions.push(Action::DropCachedResult(Arc::clone(entry)));
        }
    }
}

/// The digits of the key that an action of this plan needs to stay.
fn in_use(action: &Action) -> Option<String> {
    match action {
        Action::UseCachedResult { entry, .. } => Some(entry.spec.key.hex()),
        Action::WriteCachedResult(entry) => Some(entry.spec.key.hex()),
        _ => None,
    }
}
