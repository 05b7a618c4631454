//! Subtasks: the view of one index, computed from Job and Assignments on each read.
//!
//! In: interval sets. Out: a page of objects. A job may have 10^8 indexes: nothing here is ever
//! proportional to them, only to the page and to the number of intervals.

use std::collections::BTreeMap;

use schemas::{
    Assignment, IndexSet, Job, SubtaskStatus,
    assignment::{Failure, Running},
    subtask::Phase,
    well_known::{LABEL_JOB, LABEL_NODE},
};
use serde_json::{Value, json};

use super::{
    call::{Call, text},
    error::ApiError,
    kinds::{self, Rules},
    registry::{self, Continue, ListResult},
    selectors::Selection,
};
use crate::store::Page;

/// Most Subtasks of one answer, whatever limit was asked for: 5,000 of about 400 bytes are 2 MB.
const PAGE_MAX: usize = 5_000;
/// Most indexes looked at for one answer when a selector leaves most of them out: under a second.
const SCAN_MAX: usize = 100_000;
const PHASES: [(Phase, &str); 5] = [
    (Phase::Pending, "Pending"),
    (Phase::Assigned, "Assigned"),
    (Phase::Running, "Running"),
    (Phase::Succeeded, "Succeeded"),
    (Phase::Failed, "Failed"),
];

/// One node's part in a job.
struct Share {
    node: String,
    /// Attempt and indexes of each grant.
    grants: Vec<(u32, IndexSet)>,
    completed: IndexSet,
    failures: Vec<Failure>,
    running: BTreeMap<u64, Running>,
}

/// A job as sets of indexes.
struct View {
    job: Value,
    name: String,
    all: IndexSet,
    succeeded: IndexSet,
    failed: IndexSet,
    running: IndexSet,
    granted: IndexSet,
    shares: Vec<Share>,
}

impl View {
    fn new(job: Value, assignments: &[Assignment]) -> Option<Self> {
        let typed: Job = serde_json::from_value(job.clone()).ok()?;
        let status = typed.status.unwrap_or_default();
        let uid = typed.metadata.uid.unwrap_or_default();
        let name = typed.metadata.name.unwrap_or_default();
        let of_job = assignments.iter().filter(|assignment| assignment.spec.job.uid == uid);
        let shares: Vec<Share> = of_job.map(share).collect();
        let union = |part: fn(&Share) -> IndexSet| -> IndexSet {
            shares.iter().map(part).fold(IndexSet::new(), |all, set| &all | &set)
        };
        let succeeded = &union(|share| share.completed.clone()) | &status.completed_indexes;
        let failed = &status.failed_indexes - &succeeded;
        let settled = &succeeded | &failed;
        let running = &union(|share| share.running.keys().copied().collect()) - &settled;
        let granted = union(|share| share.grants.iter().fold(IndexSet::new(), |all, (_, set)| &all | set));
        let total = status.layout.map_or(status.subtasks.total, |layout| layout.subtasks);
        Some(Self { job, name, all: IndexSet::first(total), succeeded, failed, running, granted, shares })
    }

    /// The indexes in a phase.
    fn indexes(&self, phase: Phase) -> IndexSet {
        let settled = &self.succeeded | &self.failed;
        let set = match phase {
            Phase::Succeeded => self.succeeded.clone(),
            Phase::Failed => self.failed.clone(),
            Phase::Running => self.running.clone(),
            Phase::Assigned => &(&self.granted - &settled) - &self.running,
            Phase::Pending => &(&(&self.all - &settled) - &self.running) - &self.granted,
        };
        &set - &(&set - &self.all)
    }

    fn phase(&self, index: u64) -> Phase {
        if self.succeeded.contains(index) {
            Phase::Succeeded
        } else if self.failed.contains(index) {
            Phase::Failed
        } else if self.running.contains(index) {
            Phase::Running
        } else if self.granted.contains(index) {
            Phase::Assigned
        } else {
            Phase::Pending
        }
    }

    /// The indexes that a selection can match, before labels and odd terms are asked one by one.
    fn candidates(&self, selection: &Selection) -> IndexSet {
        let mut set = match selection.required("status.phase") {
            Some(name) => {
                let phase = PHASES.iter().find(|(_, text)| *text == name);
                phase.map_or_else(IndexSet::new, |(phase, _)| self.indexes(*phase))
            }
            None => self.all.clone(),
        };
        if let Some(name) = selection.name() {
            let index = name.strip_prefix(&format!("{}-", self.name)).and_then(|index| index.parse::<u64>().ok());
            set = index.filter(|index| set.contains(*index)).into_iter().collect();
        }
        if let Some(node) = selection.required_label(LABEL_NODE) {
            let of_node = self.shares.iter().filter(|share| share.node == node);
            let touched = of_node.fold(IndexSet::new(), |all, share| &all | &share.touched());
            set = &set - &(&set - &touched);
        }
        set
    }

    fn object(&self, index: u64, revision: u64) -> Value {
        let status = self.status(index);
        let metadata = &self.job["metadata"];
        let uid = text(&metadata["uid"]);
        let mut labels = json!({LABEL_JOB: self.name});
        if let Some(node) = &status.node {
            labels[LABEL_NODE] = node.as_str().into();
        }
        json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Subtask",
            "metadata": {
                "name": format!("{}-{index}", self.name), "namespace": metadata["namespace"],
                "uid": format!("{uid}-{index}"), "resourceVersion": revision.to_string(),
                "creationTimestamp": metadata["creationTimestamp"], "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "processdistro.dev/v1", "kind": "Job", "name": self.name, "uid": uid,
                    "controller": true,
                }],
            },
            "spec": {"job": self.name, "index": index},
            "status": status,
        })
    }

    fn status(&self, index: u64) -> SubtaskStatus {
        let phase = self.phase(index);
        let mut status = SubtaskStatus { phase, ..SubtaskStatus::default() };
        for share in &self.shares {
            let granted = share.grants.iter().filter(|(_, set)| set.contains(index)).map(|(attempt, _)| *attempt).max();
            let failure = share.failures.iter().filter(|f| f.indexes.contains(index)).max_by_key(|f| f.attempt);
            let running = share.running.get(&index);
            let newest = [granted, failure.map(|f| f.attempt), running.map(|r| r.attempt)].into_iter().flatten().max();
            let is_owner = share.completed.contains(index) || newest.is_some_and(|attempt| attempt >= status.attempt);
            if is_owner && !(phase == Phase::Succeeded && status.node.is_some() && !share.completed.contains(index)) {
                status.node = Some(share.node.clone());
            }
            if let Some(failure) =
                failure.filter(|failure| failure.attempt >= status.attempt && phase != Phase::Succeeded)
            {
                status.outcome = Some(failure.outcome);
                status.message = Some(failure.message.clone());
            }
            status.attempt = status.attempt.max(newest.unwrap_or_default());
            if let Some(running) = running.filter(|_| phase == Phase::Running) {
                status.node = Some(share.node.clone());
                status.started_at = Some(running.started_at);
                status.progress = running.progress;
            }
        }
        status
    }
}

impl Share {
    /// Every index that this node has or had.
    fn touched(&self) -> IndexSet {
        let granted = self.grants.iter().fold(self.completed.clone(), |all, (_, set)| &all | set);
        let failed = self.failures.iter().fold(granted, |all, failure| &all | &failure.indexes);
        &failed | &self.running.keys().copied().collect()
    }
}

fn share(assignment: &Assignment) -> Share {
    let status = assignment.status.clone().unwrap_or_default();
    Share {
        node: assignment.spec.node_name.clone(),
        grants: assignment.spec.grants.iter().map(|grant| (grant.attempt, grant.indexes.clone())).collect(),
        completed: status.completed(),
        running: status.running.iter().map(|running| (running.index, running.clone())).collect(),
        failures: status.failures,
    }
}

/// One Subtask by its name, `<job>-<index>`.
pub(crate) fn get(call: &Call) -> Result<Value, ApiError> {
    let target = &call.target;
    let parts = target.name.rsplit_once('-').and_then(|(job, index)| Some((job, index.parse::<u64>().ok()?)));
    let (job, index) = parts.ok_or_else(|| target.not_found())?;
    let revision = call.state.store.revision();
    let stored = registry::find(&*call.state.store, kinds::by_rules(Rules::Job), &target.namespace, job)?;
    let job = stored.ok_or_else(|| target.not_found())?.object;
    let view = View::new(job, &assignments(call, &target.namespace)?).ok_or_else(|| target.not_found())?;
    if view.all.contains(index) { Ok(view.object(index, revision)) } else { Err(target.not_found()) }
}

/// A page of Subtasks: of one job when the label selector names it, else of all.
pub(crate) fn list(call: &Call) -> Result<ListResult, ApiError> {
    let (target, options) = (&call.target, &call.options);
    let selection = Selection::parse(target.kind, &options.label_selector, &options.field_selector)?;
    let revision = call.state.store.revision();
    let limit = if options.limit == 0 { PAGE_MAX } else { options.limit.min(PAGE_MAX) };
    let start = match options.continue_token.as_str() {
        "" => None,
        token => Some(position(&Continue::decode(token)?.after)?),
    };
    let assignments = assignments(call, &target.namespace)?;
    let mut result = ListResult { revision, ..ListResult::default() };
    let mut scanned = 0;
    let next = |job: &Value, index: u64| {
        let (namespace, name) = (text(&job["metadata"]["namespace"]), text(&job["metadata"]["name"]));
        Continue { revision, after: format!("{namespace}/{name}/{index}") }.encode()
    };
    for (key, job) in jobs(call, &selection, start.as_ref())? {
        let Some(view) = View::new(job, &assignments) else { continue };
        let mut left = view.candidates(&selection);
        if let Some((_, index)) = start.as_ref().filter(|(started, _)| *started == key) {
            left -= &IndexSet::first(index + 1);
        }
        for index in left.iter() {
            let object = view.object(index, revision);
            scanned += 1;
            if selection.matches(&object) {
                result.objects.push(object);
            }
            if result.objects.len() == limit || scanned == SCAN_MAX {
                result.next = next(&view.job, index);
                return Ok(result);
            }
        }
    }
    Ok(result)
}

/// The job's key and the index that a page ended with.
fn position(after: &str) -> Result<(String, u64), ApiError> {
    let kind = kinds::by_rules(Rules::Job);
    let parts: Vec<&str> = after.split('/').collect();
    match parts.as_slice() {
        [namespace, job, index] => index.parse().ok().map(|index| (kind.key(namespace, job), index)),
        _ => None,
    }
    .ok_or_else(|| ApiError::BadRequest("continue key is not valid".to_owned()))
}

/// The jobs that may have selected Subtasks, by key, from the one where the last page ended.
fn jobs(call: &Call, selection: &Selection, start: Option<&(String, u64)>) -> Result<Vec<(String, Value)>, ApiError> {
    let kind = kinds::by_rules(Rules::Job);
    let namespace = &call.target.namespace;
    if let Some(job) = selection.required_label(LABEL_JOB).filter(|_| !namespace.is_empty()) {
        let found = registry::find(&*call.state.store, kind, namespace, job)?;
        return Ok(found.map(|stored| (kind.key(namespace, job), stored.object)).into_iter().collect());
    }
    let listing = call.state.store.list(&kind.prefix(namespace), &Page::default())?;
    let records = listing.records.into_iter().filter(|record| start.is_none_or(|(key, _)| record.key >= *key));
    records.map(|r| Ok((r.key.clone(), registry::decode(&r.key, &r.value, r.revision)?))).collect()
}

/// The Assignments of a namespace; an empty one means all.
fn assignments(call: &Call, namespace: &str) -> Result<Vec<Assignment>, ApiError> {
    let kind = kinds::by_rules(Rules::Assignment);
    let listing = call.state.store.list(&kind.prefix(namespace), &Page::default())?;
    let parsed = listing.records.iter().map(|record| {
        serde_json::from_slice(&record.value)
            .map_err(|error| ApiError::Internal(format!("the stored object `{}` does not decode: {error}", record.key)))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let job = json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"name": "j", "namespace": "default", "uid": "u"},
            "spec": {"task": {"name": "noop"}},
            "status": {
                "subtasks": {"total": 1_000_000}, "completedIndexes": "0-9", "failedIndexes": "10",
                "layout": {"subtasks": 1_000_000, "mediaType": "x/y"},
            },
        });
        let digest = format!("sha256:{}", "0".repeat(64));
        let assignment = json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": "a"},
            "spec": {
                "job": {"name": "j", "uid": "u"}, "nodeName": "n1", "nodeUid": "x",
                "work": {"module": digest, "params": {}, "memory": "64Mi", "subtaskTimeout": "5m"},
                "grants": [{"attempt": 1, "indexes": "0-19"}, {"attempt": 2, "indexes": "20-21"}],
            },
            "status": {
                "nodeUid": "x",
                "segments": [{"digest": digest, "size": 1, "indexes": "10-11"}],
                "running": [{"index": 20, "attempt": 2, "startedAt": "2026-01-01T00:00:00Z"}],
                "failures": [{"attempt": 1, "outcome": "Trap", "message": "boom", "indexes": "20"}],
            },
        });
        View::new(job, &[serde_json::from_value(assignment).expect("an assignment")]).expect("a job")
    }

    #[test]
    fn the_phases_divide_all_indexes() {
        let view = view();
        let sets: Vec<_> = PHASES.iter().map(|(phase, _)| view.indexes(*phase)).collect();
        assert_eq!(sets.iter().map(IndexSet::count).sum::<u64>(), 1_000_000);
        assert_eq!(view.indexes(Phase::Succeeded).to_string(), "0-11");
        assert_eq!(view.indexes(Phase::Running).to_string(), "20");
        assert_eq!(view.indexes(Phase::Assigned).to_string(), "12-19,21");
        for (phase, set) in PHASES.iter().map(|(phase, _)| (*phase, view.indexes(*phase))) {
            assert!(set.min().is_none_or(|index| view.phase(index) == phase));
        }
    }

    #[test]
    fn a_subtask_tells_of_its_newest_attempt() {
        let running = view().object(20, 7);
        assert_eq!(running["metadata"]["name"], "j-20");
        assert_eq!(running["status"]["phase"], "Running");
        assert_eq!(running["status"]["attempt"], 2);
        assert_eq!(running["status"]["node"], "n1");
        assert_eq!(running["status"]["startedAt"], "2026-01-01T00:00:00Z");
        assert_eq!(view().object(999_999, 7)["status"], json!({"phase": "Pending", "attempt": 0}));
    }
}
