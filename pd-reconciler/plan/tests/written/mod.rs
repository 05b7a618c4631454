//! Snapshots as a person writes them: only what matters, everything else filled in.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test uses a part; a helper of tests may unwrap

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use pd_plan::{Cohort, JobFacts, Memory, NodeFacts, Readiness, Snapshot, assignment_name};
use schemas::{
    Assignment, AssignmentSpec, AssignmentStatus, Condition, Digest, IndexSet, Job, JobStatus,
    assignment::{Failure, FailureOutcome, Grant, JobRef, MergeOrder, MergeReport, PlanReport, Segment, Work},
    job::{JobResult, Layout},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// A snapshot and the moment of it, in seconds from an arbitrary start.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    pub about: String,
    pub now: f64,
    /// Since when leases are watched; -1: they are not.
    #[serde(default)]
    pub watching_since: f64,
    #[serde(default)]
    pub nodes: Vec<WrittenNode>,
    #[serde(default)]
    pub jobs: Vec<WrittenJob>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenNode {
    pub name: String,
    #[serde(default = "two")]
    pub slots: u32,
    /// Default: just now.
    pub heard: Option<f64>,
    #[serde(default)]
    pub ready: Option<String>,
    #[serde(default)]
    pub cordoned: bool,
    #[serde(default)]
    pub draining: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenJob {
    pub name: String,
    /// Beside `task`, which is filled in.
    #[serde(default)]
    pub spec: serde_json::Map<String, Value>,
    /// Number of subtasks, once the plan call has answered and the job's status says so.
    pub planned: Option<u64>,
    pub goal: Option<u64>,
    /// True conditions beyond Planned, by type: the reason.
    #[serde(default)]
    pub conditions: BTreeMap<String, String>,
    #[serde(default)]
    pub created: f64,
    #[serde(default)]
    pub started: f64,
    #[serde(default)]
    pub state: Option<String>,
    /// Failures seen: `[attempt, seconds, indexes]`.
    #[serde(default)]
    pub seen: Vec<(u32, f64, IndexSet)>,
    pub status_ordered: Option<f64>,
    #[serde(default)]
    pub assignments: Vec<WrittenAssignment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenAssignment {
    pub node: String,
    #[serde(default)]
    pub plan: bool,
    #[serde(default)]
    pub grants: BTreeMap<u32, IndexSet>,
    pub slots: Option<u32>,
    /// Attempt of a merge order.
    pub merge: Option<u32>,
    /// False when the node has not reported.
    #[serde(default = "yes")]
    pub reported: bool,
    pub answers_plan: Option<u64>,
    pub plan_fails: Option<FailureOutcome>,
    #[serde(default)]
    pub done: IndexSet,
    #[serde(default = "size")]
    pub bytes: u64,
    /// `[attempt, outcome, indexes]`.
    #[serde(default)]
    pub failed: Vec<(u32, FailureOutcome, IndexSet)>,
    #[serde(default)]
    pub running: IndexSet,
    #[serde(default)]
    pub retained: IndexSet,
    #[serde(default)]
    pub found: IndexSet,
    #[serde(default)]
    pub rate: f64,
    #[serde(default)]
    pub busy: f64,
    pub merged: Option<u32>,
    pub merge_failed: Option<u32>,
}

fn two() -> u32 {
    2
}

fn yes() -> bool {
    true
}

fn size() -> u64 {
    100
}

/// `seconds` after the start of the case's time.
pub fn at(seconds: f64) -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_secs_f64(seconds)
}

impl Case {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            watching_since: (self.watching_since >= 0.0).then(|| at(self.watching_since)),
            nodes: self.nodes.iter().map(|node| node.facts(self.now)).collect(),
            jobs: self.jobs.iter().map(WrittenJob::facts).collect(),
        }
    }
}

impl WrittenNode {
    fn facts(&self, now: f64) -> NodeFacts {
        NodeFacts {
            name: self.name.clone(),
            uid: format!("uid-{}", self.name),
            labels: self.labels.clone(),
            slots: self.slots,
            ready: match self.ready.as_deref() {
                None | Some("True") => Readiness::True,
                Some("False") => Readiness::False,
                Some("Unknown") => Readiness::Unknown,
                Some(_) => Readiness::Absent,
            },
            schedulable: !self.cordoned,
            draining: self.draining,
            seen: at(0.0),
            heard: Some(at(self.heard.unwrap_or(now))),
        }
    }
}

/// The layout that every written plan call answers.
pub fn layout(subtasks: u64, goal: Option<u64>) -> Layout {
    Layout { subtasks, media_type: "text/plain".into(), goal, state: None }
}

/// A job with `spec` over the defaults.
pub fn job(name: &str, spec: &serde_json::Map<String, Value>, created: f64) -> Job {
    let mut full = json!({"task": {"module": Digest::of(b"module")}});
    full.as_object_mut().unwrap().extend(spec.clone());
    let mut job = Job::new(name, serde_json::from_value(full).unwrap());
    job.metadata.namespace = Some("default".into());
    job.metadata.uid = Some(format!("uid-{name}"));
    job.metadata.generation = Some(1);
    job.metadata.creation_timestamp = Some(Time(at(created)));
    job
}

impl WrittenJob {
    fn facts(&self) -> JobFacts {
        let mut job = job(&self.name, &self.spec, self.created);
        job.status = self.status();
        let cohorts = self.seen.iter().cloned();
        let memory = Memory {
            failed: cohorts.map(|(attempt, seen, indexes)| Cohort { attempt, seen: at(seen), indexes }).collect(),
            merge_failed: None,
            status_ordered: self.status_ordered.map(at),
        };
        let assignments = self.assignments.iter().enumerate();
        let assignments = assignments.map(|(number, written)| Arc::new(written.assignment(self, number))).collect();
        JobFacts { job: Arc::new(job), assignments, memory }
    }

    fn status(&self) -> Option<JobStatus> {
        let subtasks = self.planned?;
        let condition = |type_: &str, reason: &str| Condition {
            type_: type_.into(),
            status: "True".into(),
            reason: reason.into(),
            message: "as written".into(),
            last_transition_time: at(self.started),
            observed_generation: Some(1),
        };
        let mut conditions = vec![condition("Planned", "Planned")];
        conditions.extend(self.conditions.iter().map(|(type_, reason)| condition(type_, reason)));
        Some(JobStatus {
            observed_generation: Some(1),
            state: Some(self.state.clone().unwrap_or_else(|| "Running".into())),
            conditions,
            layout: Some(layout(subtasks, self.goal)),
            start_time: Some(at(self.started)),
            ..JobStatus::default()
        })
    }
}

impl WrittenAssignment {
    fn assignment(&self, job: &WrittenJob, number: usize) -> Assignment {
        let job_ref = JobRef { name: job.name.clone(), uid: format!("uid-{}", job.name) };
        let node_uid = format!("uid-{}", self.node);
        let spec = super::written::job(&job.name, &job.spec, 0.0).spec;
        Assignment {
            metadata: ObjectMeta {
                name: Some(assignment_name(&job_ref, &node_uid)),
                namespace: Some("default".into()),
                uid: Some(format!("uid-{}-{}", job.name, self.node)),
                generation: Some(1),
                resource_version: Some("7".into()),
                creation_timestamp: Some(Time(at(number as f64))),
                ..ObjectMeta::default()
            },
            spec: AssignmentSpec {
                job: job_ref,
                node_name: self.node.clone(),
                node_uid: node_uid.clone(),
                work: Work {
                    module: spec.task.module.unwrap(),
                    params: spec.task.params,
                    inputs: spec.task.inputs,
                    memory: spec.resources.memory,
                    subtask_timeout: spec.subtask_timeout,
                },
                plan: self.plan,
                layout: job.planned.map(|subtasks| layout(subtasks, job.goal)),
                grants: self.grants.iter().map(|(n, set)| Grant { attempt: *n, indexes: set.clone() }).collect(),
                slots: self.slots,
                merge: self.merge.map(|attempt| MergeOrder { parts: vec![], attempt }),
            },
            status: self.reported.then(|| self.status(job, node_uid)),
        }
    }

    fn status(&self, job: &WrittenJob, node_uid: String) -> AssignmentStatus {
        let failed = CallFailureText::of;
        let answered = self.answers_plan.map(|subtasks| PlanReport::Layout(layout(subtasks, job.goal)));
        let segment = (!self.done.is_empty()).then(|| Segment {
            digest: Digest::of(self.node.as_bytes()),
            size: self.bytes,
            indexes: self.done.clone(),
            logs: None,
        });
        let failures = self.failed.iter().map(|(attempt, outcome, indexes)| Failure {
            attempt: *attempt,
            outcome: *outcome,
            message: "as written".into(),
            indexes: indexes.clone(),
            logs: vec![],
        });
        let ended: u64 = self.done.count() + self.failed.iter().map(|(_, _, set)| set.count()).sum::<u64>();
        AssignmentStatus {
            node_uid,
            observed_generation: 1,
            plan: answered.or_else(|| self.plan_fails.map(|outcome| PlanReport::Failed(failed(outcome)))),
            segments: segment.into_iter().collect(),
            succeeded: self.done.count(),
            failures: failures.collect(),
            retained: self.retained.clone(),
            running: self.running.iter().map(running).collect(),
            found: self.found.clone(),
            merge: self.merge_report(),
            started: ended,
            rate: self.rate,
            busy_seconds: self.busy,
        }
    }

    fn merge_report(&self) -> Option<MergeReport> {
        let result = JobResult { artifact: Digest::of(b"result"), size: 5, media_type: "text/plain".into() };
        let merged = self.merged.map(|attempt| MergeReport { attempt, result: Some(result), failure: None });
        let failure = CallFailureText::of(FailureOutcome::Trap);
        merged
            .or_else(|| self.merge_failed.map(|attempt| MergeReport { attempt, result: None, failure: Some(failure) }))
    }
}

/// Makes call failures.
struct CallFailureText;

impl CallFailureText {
    fn of(outcome: FailureOutcome) -> schemas::assignment::CallFailure {
        schemas::assignment::CallFailure { outcome, message: "as written".into(), log: String::new() }
    }
}

fn running(index: u64) -> schemas::assignment::Running {
    schemas::assignment::Running { index, attempt: 1, started_at: at(0.0), progress: None }
}
