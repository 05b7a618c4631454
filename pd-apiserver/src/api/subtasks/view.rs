//! A job as sets of indexes, and its Subtasks out of them.
//!
//! In: one Job and its Assignments. Out: Subtasks as objects. Pure. Nothing here is proportional to the job's indexes,
//! only to those that are looked at and to the number of intervals.

use std::collections::BTreeMap;

use schemas::{
    Assignment, IndexSet, Job, SubtaskStatus,
    assignment::{Failure, Running},
    subtask::Phase,
    well_known::{LABEL_JOB, LABEL_NODE},
};
use serde_json::{Value, json};

use super::super::{call::text, selectors::Selection};

/// The field that most selectors ask for.
const PHASE_FIELD: &str = "status.phase";
const PHASES: [(Phase, &str); 5] = [
    (Phase::Pending, "Pending"),
    (Phase::Assigned, "Assigned"),
    (Phase::Running, "Running"),
    (Phase::Succeeded, "Succeeded"),
    (Phase::Failed, "Failed"),
];

/// A part of a page: the Subtasks of one job.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) objects: Vec<Value>,
    /// Indexes looked at: what the part has cost.
    pub(super) visited: usize,
    /// The last of them.
    pub(super) last: Option<u64>,
    /// True when the job may have more.
    pub(super) is_cut: bool,
}

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
pub(super) struct View {
    pub(super) job: Value,
    name: String,
    all: IndexSet,
    succeeded: IndexSet,
    failed: IndexSet,
    running: IndexSet,
    granted: IndexSet,
    shares: Vec<Share>,
}

impl View {
    /// Of a Job and the Assignments that may be its own; `None`: it does not decode.
    pub(super) fn new(job: Value, assignments: &[Assignment]) -> Option<Self> {
        let typed: Job = serde_json::from_value(job.clone()).ok()?;
        let status = typed.status.unwrap_or_default();
        let uid = typed.metadata.uid.unwrap_or_default();
        let name = typed.metadata.name.unwrap_or_default();
        let of_job = assignments.iter().filter(|assignment| assignment.spec.job.uid == uid);
        let shares: Vec<Share> = of_job.map(share).collect();
        let union = |part: fn(&Share) -> IndexSet| -> IndexSet {
            shares.iter().map(part).fold(IndexSet::new(), |all, set| &all | &set)
        };
        // What is delivered counts, unless it has to be verified first.
        let delivered = union(|share| share.completed.clone());
        let is_believed = typed.spec.verification.is_none();
        let succeeded =
            if is_believed { &delivered | &status.completed_indexes } else { status.completed_indexes.clone() };
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
        let in_phase = |name: &str| {
            let phase = PHASES.iter().find(|(_, text)| *text == name);
            phase.map_or_else(IndexSet::new, |(phase, _)| self.indexes(*phase))
        };
        let mut set = selection.required(PHASE_FIELD).map_or_else(|| self.all.clone(), in_phase);
        for name in selection.excluded(PHASE_FIELD) {
            set -= &in_phase(name);
        }
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

    /// The selected Subtasks after index `after`: at most `limit` of them, found among at most `visits` indexes.
    pub(super) fn page(
        &self,
        selection: &Selection,
        after: Option<u64>,
        (limit, visits): (usize, usize),
        revision: u64,
    ) -> Part {
        let mut left = self.candidates(selection);
        if let Some(after) = after {
            left -= &IndexSet::first(after + 1);
        }
        let mut part = Part::default();
        for index in left.iter() {
            if part.objects.len() == limit || part.visited == visits {
                part.is_cut = true;
                return part;
            }
            let object = self.object(index, revision);
            part.visited += 1;
            part.last = Some(index);
            if selection.matches(&object) {
                part.objects.push(object);
            }
        }
        part
    }

    /// One Subtask; `None`: the job has no such index.
    pub(super) fn get(&self, index: u64, revision: u64) -> Option<Value> {
        self.all.contains(index).then(|| self.object(index, revision))
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

    fn select(labels: &str, fields: &str) -> Selection {
        let kind = super::super::super::kinds::by_rules(super::super::super::kinds::Rules::Subtask);
        Selection::parse(kind, labels, fields).expect("a selector")
    }

    #[test]
    fn a_page_of_a_million_costs_a_page_whatever_is_selected() {
        let view = view();
        for (labels, fields) in [
            ("", ""),
            ("processdistro.dev/job=j", ""),
            ("", "status.phase=Pending"),
            ("", "status.phase!=Pending"),
            ("", "status.phase!=Succeeded,status.phase!=Failed"),
            ("", "metadata.name=j-777777"),
            ("processdistro.dev/node=n1", "status.phase=Running"),
        ] {
            let selection = select(labels, fields);
            let mut after = None;
            for _ in 0..3 {
                let part = view.page(&selection, after, (500, 5_000), 7);
                assert!(part.visited <= 500, "{labels} {fields}: {} indexes visited", part.visited);
                assert_eq!(part.objects.len(), part.visited, "{labels} {fields}: nothing is looked at in vain");
                after = part.last.or(after);
            }
        }
    }

    #[test]
    fn what_cannot_be_narrowed_down_is_bounded() {
        let part = view().page(&select("color=red", ""), None, (500, 5_000), 7);
        assert_eq!((part.objects.len(), part.visited, part.is_cut), (0, 5_000, true));
    }

    #[test]
    fn pages_together_are_the_whole() {
        let view = view();
        for (labels, fields) in [
            ("", "status.phase!=Pending"),
            ("processdistro.dev/node=n1", ""),
            ("processdistro.dev/job!=x", "status.phase!=Pending,metadata.name!=j-3"),
        ] {
            let selection = select(labels, fields);
            let expected: Vec<_> =
                (0..100).map(|i| view.object(i, 7)).filter(|object| selection.matches(object)).collect();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let part = view.page(&selection, after, (3, 4), 7);
                after = part.last;
                found.extend(part.objects);
                if !part.is_cut {
                    break;
                }
            }
            assert_eq!(found, expected, "{labels} {fields}");
            assert!(!found.is_empty());
        }
    }
}
