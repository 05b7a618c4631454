//! How the time of one plan grows with nodes, jobs and intervals: real plans of snapshots that are made up.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use pd_plan::{JobFacts, Memory, NodeFacts, Policy, Readiness, Snapshot, assignment_name, plan};
use schemas::{
    Assignment, AssignmentSpec, AssignmentStatus, Digest, IndexSet, Job,
    assignment::{Grant, JobRef, Segment, Work},
};
use serde_json::json;

/// Nodes of one slot, jobs, and intervals that each node has done of its job.
const ROWS: [(u64, u64, u64); 9] = [
    (10, 1, 10),
    (100, 1, 10),
    (1000, 1, 10),
    (1000, 1, 100),
    (1000, 10, 10),
    (1000, 100, 10),
    (1000, 100, 100),
    (4000, 100, 10),
    (4000, 400, 100),
];
/// Indexes of one interval, and what lies between it and the next: another node's.
const INTERVAL: u64 = 8;
/// Plans of one row.
const PLANS: usize = 41;
/// When all this is.
const NOW_SECONDS: i64 = 1_700_000_000;

/// Prints the table.
pub(crate) fn print() -> Result<()> {
    println!("| nodes | jobs | assignments | intervals | median, ms | most, ms |");
    println!("|---|---|---|---|---|---|");
    let (now, policy) = (Timestamp::from_second(NOW_SECONDS)?, Policy::default());
    for (nodes, jobs, intervals) in ROWS {
        let snapshot = snapshot(nodes, jobs, intervals, now)?;
        let mut took: Vec<f64> = Vec::new();
        for _ in 0..PLANS {
            let started = Instant::now();
            std::hint::black_box(plan(&snapshot, now, &policy));
            took.push(started.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let assignments: usize = snapshot.jobs.iter().map(|facts| facts.assignments.len()).sum();
        let all = assignments as u64 * intervals;
        println!("| {nodes} | {jobs} | {assignments} | {all} | {:.2} | {:.2} |", took[PLANS / 2], took[PLANS - 1]);
    }
    Ok(())
}

/// A cluster in the middle of its work: every node is busy with one job, has done `intervals` stretches of it, and has
/// one more to do. Half of each job is not given out.
fn snapshot(nodes: u64, jobs: u64, intervals: u64, now: Timestamp) -> Result<Snapshot> {
    let per_job = nodes / jobs;
    let facts = |number: u64| NodeFacts {
        name: format!("n{number}"),
        uid: format!("00000000-0000-0000-0000-{number:012}"),
        slots: 1,
        ready: Readiness::True,
        schedulable: true,
        seen: now,
        heard: Some(now),
        ..NodeFacts::default()
    };
    let nodes: Vec<NodeFacts> = (0..nodes).map(facts).collect();
    let mut open = Vec::new();
    for (number, nodes) in nodes.chunks(per_job as usize).enumerate() {
        let subtasks = 2 * per_job * (intervals + 1) * INTERVAL;
        let job = job(number, subtasks, now)?;
        let assignments = nodes.iter().enumerate().map(|(place, node)| {
            let all: Vec<u64> = (0..=intervals).map(|round| (round * per_job + place as u64) * INTERVAL).collect();
            assignment(&job, node, &all, now).map(Arc::new)
        });
        let assignments = assignments.collect::<Result<_>>()?;
        open.push(JobFacts { job: Arc::new(job), assignments, memory: Memory::default() });
    }
    Ok(Snapshot { watching_since: Some(now), nodes, jobs: open, ..Snapshot::default() })
}

fn job(number: usize, subtasks: u64, now: Timestamp) -> Result<Job> {
    let task = json!({"name": "made-up", "module": Digest::of(b"made up").to_string(), "params": {}});
    let met = |type_: &str| json!({"type": type_, "status": "True", "reason": type_, "message": "", "lastTransitionTime": now.to_string()});
    let object = json!({
        "apiVersion": "processdistro.dev/v1",
        "kind": "Job",
        "metadata": {"name": format!("j{number}"), "namespace": "default", "uid": format!("j{number}"), "generation": 1},
        "spec": {"task": task},
        "status": {
            "conditions": [met("Planned")],
            "startTime": now.to_string(),
            "layout": {"subtasks": subtasks, "mediaType": "text/plain"},
        },
    });
    serde_json::from_value(object).context("a made-up job")
}

/// What a node has of a job: stretches that begin at `starts`, of which all but the last are done.
fn assignment(job: &Job, node: &NodeFacts, starts: &[u64], now: Timestamp) -> Result<Assignment> {
    let set = |starts: &[u64]| -> IndexSet { starts.iter().map(|start| *start..=start + INTERVAL - 1).collect() };
    let (granted, done) = (set(starts), set(&starts[..starts.len() - 1]));
    let spec = &job.spec;
    let job_ref = JobRef {
        name: job.metadata.name.clone().context("a job without a name")?,
        uid: job.metadata.uid.clone().context("a job without a UID")?,
    };
    let metadata = ObjectMeta {
        name: Some(assignment_name(&job_ref, &node.uid)),
        creation_timestamp: Some(Time(now)),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    let work = Work {
        module: spec.task.module.context("a job without a module")?,
        params: spec.task.params.clone(),
        inputs: BTreeMap::new(),
        memory: spec.resources.memory,
        subtask_timeout: spec.subtask_timeout,
        cpu_time: spec.resources.cpu_time,
        isolation: spec.sandbox.isolation,
        bitwise: false,
        host_kernels: false,
    };
    let status = AssignmentStatus {
        node_uid: node.uid.clone(),
        observed_generation: 1,
        succeeded: done.count(),
        started: done.count(),
        segments: vec![Segment {
            digest: Digest::of(node.name.as_bytes()),
            size: 1,
            indexes: done.clone(),
            logs: None,
        }],
        rate: 10.0,
        busy_seconds: done.count() as f64 / 10.0,
        ..AssignmentStatus::default()
    };
    let spec = AssignmentSpec {
        job: job_ref,
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        work,
        plan: false,
        plan_attempt: 0,
        layout: job.status.as_ref().and_then(|status| status.layout.clone()),
        grants: vec![Grant { attempt: 1, indexes: granted }],
        recalled: IndexSet::new(),
        copies: IndexSet::new(),
        checks: IndexSet::new(),
        check_parts: vec![],
        slots: None,
        merge: None,
    };
    Ok(Assignment { metadata, spec, status: Some(status) })
}
