//! Snapshots as a person writes them: only what matters, everything else filled in.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test uses a part; a helper of tests may unwrap

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use pd_plan::{
    CacheFacts, Cohort, Compared, Effect, History, JobFacts, Memory, NodeFacts, NodeMemory, Progress, QueueFacts,
    Readiness, Snapshot, Taint, assignment_name,
};
use schemas::{
    Assignment, AssignmentSpec, AssignmentStatus, CachedResult, CachedResultSpec, Condition, Digest, IndexSet, Job,
    JobStatus,
    assignment::{Failure, FailureOutcome, Grant, JobRef, MergeOrder, MergeReport, PlanReport, Segment, Work},
    cached_result::{self, Merged, Outputs},
    job::{CacheUse, JobResult, Layout, Retried, UntrustedNode, VerificationStatus},
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
    /// Jobs that are over and that others depend on.
    #[serde(default)]
    pub finished: Vec<WrittenJob>,
    #[serde(default)]
    pub queues: Vec<WrittenQueue>,
    #[serde(default)]
    pub cached: Vec<WrittenCached>,
    /// `controller.work_stealing_enabled`.
    #[serde(default = "yes")]
    pub work_stealing_enabled: bool,
    /// Pairs of a job and a node from which on jobs have nodes of their own; default: the policy's.
    pub pairs_max: Option<usize>,
}

/// A CachedResult of the work that a job with `spec` asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenCached {
    /// The job that wrote it.
    pub by: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub spec: serde_json::Map<String, Value>,
    pub total: u64,
    pub goal: Option<u64>,
    pub done: IndexSet,
    #[serde(default)]
    pub found: IndexSet,
    /// The indexes that its result is of.
    pub merged: Option<IndexSet>,
    #[serde(default)]
    pub last_used: f64,
    #[serde(default = "size")]
    pub bytes: u64,
    /// True when its artifacts are gone.
    #[serde(default)]
    pub broken: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenQueue {
    pub name: String,
    #[serde(default = "one")]
    pub weight: u32,
    pub slots: Option<u32>,
    pub jobs: Option<u32>,
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
    /// `key=value:Effect`.
    #[serde(default)]
    pub taints: Vec<String>,
    /// Why it is idle, as its annotation says.
    pub idle_reason: Option<String>,
    /// The same, as the last plan remembered it, and since when.
    pub idle: Option<(String, f64)>,
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
    /// Of the spec; the status speaks of the first.
    #[serde(default = "first")]
    pub generation: i64,
    /// True conditions beyond Planned, by type: the reason.
    #[serde(default)]
    pub conditions: BTreeMap<String, String>,
    #[serde(default)]
    pub created: f64,
    #[serde(default)]
    pub started: f64,
    #[serde(default)]
    pub state: Option<String>,
    /// What has come of `spec.retry`, as its status says.
    pub retried: Option<Retried>,
    /// When it ended.
    pub ended: Option<f64>,
    /// True when its status and assignments are of other params than its spec.
    #[serde(default)]
    pub is_changed: bool,
    /// Inputs that its status says.
    #[serde(default)]
    pub inputs: BTreeMap<String, Digest>,
    /// Failures seen: `[attempt, seconds, indexes]`.
    #[serde(default)]
    pub seen: Vec<(u32, f64, IndexSet)>,
    /// What its status says was taken over from an earlier job, and of what the result is that came with it.
    #[serde(default)]
    pub took_over: IndexSet,
    pub took_over_merged: Option<IndexSet>,
    /// Indexes that its status says are verified.
    #[serde(default)]
    pub verified: IndexSet,
    /// Nodes that its status says are not trusted.
    #[serde(default)]
    pub untrusted: Vec<String>,
    /// What comparisons have shown: `[node, node, same, different]`.
    #[serde(default)]
    pub compared: Vec<(String, String, IndexSet, IndexSet)>,
    pub status_ordered: Option<f64>,
    /// By node: attempts that had ended there, and since when.
    #[serde(default)]
    pub progress: BTreeMap<String, (u64, f64)>,
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
    pub plan_attempt: u32,
    /// False when the node has not observed the spec yet.
    #[serde(default = "yes")]
    pub acknowledged: bool,
    #[serde(default)]
    pub recalled: IndexSet,
    #[serde(default)]
    pub copies: IndexSet,
    #[serde(default)]
    pub checks: IndexSet,
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

fn default_namespace() -> String {
    "default".into()
}

fn first() -> i64 {
    1
}

fn one() -> u32 {
    1
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
            finished: self.finished.iter().map(|job| job.facts().job).collect(),
            queues: self.queues.iter().map(WrittenQueue::facts).collect(),
            node_memories: self.nodes.iter().filter_map(WrittenNode::memory).collect(),
            history: History::default(),
            cache: Arc::new(self.cache()),
            sample_seed: 0,
        }
    }

    fn cache(&self) -> CacheFacts {
        let key = |written: &WrittenCached| (written.namespace.clone(), written.key().hex());
        let broken = self.cached.iter().filter(|written| written.broken).map(key).collect();
        let entries = self.cached.iter().map(|written| (key(written), Arc::new(written.entry())));
        CacheFacts::new(entries.collect(), broken)
    }
}

impl WrittenCached {
    fn key(&self) -> Digest {
        let spec = job("any", &self.spec, 0.0).spec;
        cached_result::key(&spec, &spec.task.inputs).unwrap()
    }

    fn entry(&self) -> CachedResult {
        let outputs = outputs(&self.done, self.bytes, &self.found, self.merged.as_ref());
        let spec = CachedResultSpec {
            key: self.key(),
            job: self.by.clone(),
            task: None,
            layout: layout(self.total, self.goal),
            count: self.done.count(),
            bytes: self.bytes,
            outputs,
            last_used: at(self.last_used),
        };
        let mut entry = CachedResult::new(&self.key().hex(), spec);
        entry.metadata.namespace = Some(self.namespace.clone());
        entry.metadata.resource_version = Some("7".into());
        entry
    }
}

/// One segment by an earlier job, and what it was merged into.
fn outputs(done: &IndexSet, bytes: u64, found: &IndexSet, merged: Option<&IndexSet>) -> Outputs {
    let segment = Segment { digest: Digest::of(b"earlier"), size: bytes, indexes: done.clone(), logs: None };
    Outputs {
        segments: vec![segment],
        found: found.clone(),
        merged: merged.map(|indexes| Merged { indexes: indexes.clone(), result: result() }),
    }
}

impl WrittenQueue {
    fn facts(&self) -> QueueFacts {
        QueueFacts { name: self.name.clone(), weight: self.weight, slots: self.slots, jobs: self.jobs }
    }
}

impl WrittenNode {
    fn memory(&self) -> Option<(String, NodeMemory)> {
        let (reason, since) = self.idle.clone()?;
        Some((format!("uid-{}", self.name), NodeMemory { idle: Some(reason), since: at(since) }))
    }

    fn taint(text: &str) -> Taint {
        let (key, rest) = text.split_once('=').unwrap();
        let (value, effect) = rest.split_once(':').unwrap();
        let effect = match effect {
            "NoSchedule" => Effect::NoSchedule,
            "PreferNoSchedule" => Effect::PreferNoSchedule,
            _ => Effect::NoExecute,
        };
        Taint { key: key.into(), value: value.into(), effect }
    }

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
            taints: self.taints.iter().map(|taint| Self::taint(taint)).collect(),
            idle_reason: self.idle_reason.clone(),
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
        job.status = self.status(&job);
        job.metadata.generation = Some(self.generation);
        if self.is_changed {
            job.metadata.generation = Some(2);
            job.spec.task.params.clone_from(json!({"changed": true}).as_object().unwrap());
        }
        let cohorts = self.seen.iter().cloned();
        let memory = Memory {
            failed: cohorts.map(|(attempt, seen, indexes)| Cohort { attempt, seen: at(seen), indexes }).collect(),
            status_ordered: self.status_ordered.map(at),
            progress: self
                .progress
                .iter()
                .map(|(node, (ended, since))| (format!("uid-{node}"), Progress { ended: *ended, since: at(*since) }))
                .collect(),
            compared: self.compared.iter().map(compared).collect(),
            ..Memory::default()
        };
        let assignments = self.assignments.iter().enumerate();
        let assignments = assignments.map(|(number, written)| Arc::new(written.assignment(self, number))).collect();
        JobFacts { job: Arc::new(job), assignments, memory }
    }

    fn verification(&self) -> VerificationStatus {
        let untrusted =
            self.untrusted.iter().map(|name| UntrustedNode { name: name.clone(), uid: format!("uid-{name}") });
        VerificationStatus {
            verified: self.verified.clone(),
            untrusted: untrusted.collect(),
            ..VerificationStatus::default()
        }
    }

    fn status(&self, job: &Job) -> Option<JobStatus> {
        if self.planned.is_none() && self.conditions.is_empty() {
            return None;
        }
        let layout = self.planned.map(|subtasks| layout(subtasks, self.goal));
        let condition = |type_: &str, reason: &str| Condition {
            type_: type_.into(),
            status: "True".into(),
            reason: reason.into(),
            message: "as written".into(),
            last_transition_time: at(self.started),
            observed_generation: Some(1),
        };
        let mut conditions = Vec::from_iter(layout.is_some().then(|| condition("Planned", "Planned")));
        conditions.extend(self.conditions.iter().map(|(type_, reason)| condition(type_, reason)));
        let took_over = (!self.took_over.is_empty()).then(|| CacheUse {
            job: "earlier".into(),
            count: self.took_over.count(),
            outputs: outputs(&self.took_over, size(), &IndexSet::new(), self.took_over_merged.as_ref()),
        });
        Some(JobStatus {
            cached: took_over,
            verification: job.spec.verification.as_ref().map(|_| self.verification()),
            cache_key: if job.spec.cache { cached_result::key(&job.spec, &self.inputs) } else { None },
            observed_generation: Some(1),
            state: Some(self.state.clone().unwrap_or_else(|| "Running".into())),
            conditions,
            start_time: layout.is_some().then(|| at(self.started)),
            completion_time: self.ended.map(at),
            result: self.conditions.contains_key("Complete").then(result),
            layout,
            task_digest: Some(job.spec.task.digest()),
            inputs: self.inputs.clone(),
            retried: self.retried.clone(),
            ..JobStatus::default()
        })
    }
}

/// Outputs of a node are one segment, named after it.
fn compared((left, right, same, differ): &(String, String, IndexSet, IndexSet)) -> Compared {
    let segment = |node: &str| Digest::of(node.as_bytes());
    Compared { left: segment(left), right: segment(right), same: same.clone(), differ: differ.clone() }
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
                    cpu_time: spec.resources.cpu_time,
                    isolation: spec.sandbox.isolation,
                    bitwise: spec.verification.is_some(),
                    host_kernels: spec.sandbox.host_kernels && spec.verification.is_none(),
                },
                plan: self.plan,
                plan_attempt: self.plan_attempt,
                layout: job.planned.map(|subtasks| layout(subtasks, job.goal)),
                grants: self.grants.iter().map(|(n, set)| Grant { attempt: *n, indexes: set.clone() }).collect(),
                recalled: self.recalled.clone(),
                copies: self.copies.clone(),
                checks: self.checks.clone(),
                check_parts: vec![],
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
            observed_generation: i64::from(self.acknowledged),
            plan_attempt: if self.plan_fails.is_some() { self.plan_attempt } else { 0 },
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
        let merged = self.merged.map(|attempt| MergeReport { attempt, result: Some(result()), failure: None });
        let failure = CallFailureText::of(FailureOutcome::Trap);
        merged
            .or_else(|| self.merge_failed.map(|attempt| MergeReport { attempt, result: None, failure: Some(failure) }))
    }
}

/// What every merge answers.
fn result() -> JobResult {
    JobResult { artifact: Digest::of(b"result"), size: 5, media_type: "text/plain".into() }
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
