//! `pdctl trace job/x`: the job's way as a Chrome trace, which Perfetto opens: its phases, its nodes, what runs.
//!
//! The cluster keeps sets of indexes and not a record of each, so a node is one span with its figures; the
//! subtasks that run now are spans of their own.

use std::path::PathBuf;

use jiff::Timestamp;
use schemas::{Assignment, Job, JobStatus};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow, kinds, output,
    verbs::results,
};

const EXAMPLES: &str = "\
Open it at https://ui.perfetto.dev or in chrome://tracing.

Examples:
  pdctl trace job/mandelbrot -o mandelbrot.trace.json";

/// Of which job.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB", add = crate::complete::jobs())]
    job: String,
    /// Write it to this file; default: stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The one process of the trace.
const JOB: u64 = 1;
/// The row of the job's phases; the nodes' rows follow.
const PHASES: u64 = 0;

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let job = results::job(&cluster, name).await?;
    let listed = follow::assignments(&cluster, &cluster.namespace).await;
    let mut assignments = listed.map_err(cluster.failed("cannot list the job's assignments"))?;
    assignments.retain(|assignment| Some(&assignment.spec.job.uid) == job.metadata.uid.as_ref());
    assignments.sort_by(|a, b| a.spec.node_name.cmp(&b.spec.node_name));
    let trace = trace(&job, &assignments, Timestamp::now());
    let text = output::json_text(&trace) + "\n";
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).map_err(Error::file("write", path))?;
            output::note(&format!("wrote {}; open it at https://ui.perfetto.dev", path.display()));
            Ok(())
        }
        None => output::print(&text),
    }
}

/// The whole trace.
fn trace(job: &Job, assignments: &[Assignment], now: Timestamp) -> Value {
    let status = job.status.clone().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let end = status.completion_time.unwrap_or(now);
    let mut events =
        vec![named("process_name", PHASES, &format!("job/{name}")), named("thread_name", PHASES, "phases")];
    events.extend(phases(job, &status, end));
    for (row, assignment) in (1..).zip(assignments) {
        events.push(named("thread_name", row, &assignment.spec.node_name));
        events.extend(of_node(assignment, row, &status, end, now));
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

/// From creation to the end, cut where a condition came true.
fn phases(job: &Job, status: &JobStatus, end: Timestamp) -> Vec<Value> {
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let Some(created) = created else { return Vec::new() };
    let at = |type_: &str| {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True");
        found.map(|condition| condition.last_transition_time)
    };
    let cuts = [
        ("waiting", Some(created)),
        ("planning", status.start_time),
        ("running", at("Planned")),
        ("merging", at("SuccessCriteriaMet")),
        ("ending", at("FailureTarget")),
    ];
    let mut cuts: Vec<(&str, Timestamp)> = cuts.into_iter().filter_map(|(name, at)| Some((name, at?))).collect();
    cuts.sort_by_key(|(_, at)| *at);
    let ends = cuts.iter().skip(1).map(|(_, at)| *at).chain([end]).collect::<Vec<_>>();
    let spans = cuts.iter().zip(ends).map(|((name, from), to)| span(name, PHASES, *from, to, json!({})));
    let instants = status.conditions.iter().filter(|condition| condition.status == "True").map(|condition| {
        json!({"name": condition.type_, "ph": "i", "s": "p", "pid": JOB, "tid": PHASES,
            "ts": micros(condition.last_transition_time),
            "args": {"reason": condition.reason, "message": condition.message}})
    });
    spans.chain(instants).collect()
}

/// What a node did, and what it runs now.
fn of_node(assignment: &Assignment, row: u64, job: &JobStatus, end: Timestamp, now: Timestamp) -> Vec<Value> {
    let status = assignment.status.clone().unwrap_or_default();
    let created = assignment.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let Some(from) = created.or(job.start_time) else { return Vec::new() };
    let failed: u64 = status.failures.iter().map(|failure| failure.indexes.count()).sum();
    let figures = json!({"granted": assignment.spec.granted().to_string(), "done": status.completed().to_string(),
        "succeeded": status.succeeded, "failedAttempts": failed, "ratePerSlot": status.rate,
        "busySeconds": status.busy_seconds, "segments": status.segments.len()});
    let whole = span("assignment", row, from, end, figures);
    let running = status.running.iter().map(|running| {
        let name = format!("index {}", running.index);
        span(&name, row, running.started_at, now, json!({"attempt": running.attempt, "progress": running.progress}))
    });
    std::iter::once(whole).chain(running).collect()
}

fn named(what: &str, row: u64, name: &str) -> Value {
    json!({"name": what, "ph": "M", "pid": JOB, "tid": row, "args": {"name": name}})
}

fn span(name: &str, row: u64, from: Timestamp, to: Timestamp, args: Value) -> Value {
    let duration = (micros(to) - micros(from)).max(0);
    json!({"name": name, "ph": "X", "pid": JOB, "tid": row, "ts": micros(from), "dur": duration, "args": args})
}

fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_nodes_are_spans() {
        let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"name": "x", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"task": {"name": "noop"}},
            "status": {"startTime": "2026-01-01T00:00:01Z", "completionTime": "2026-01-01T00:00:09Z", "conditions": [
                {"type": "Planned", "status": "True", "reason": "Planned", "message": "", "lastTransitionTime": "2026-01-01T00:00:02Z"},
                {"type": "Complete", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": "2026-01-01T00:00:09Z"}]}});
        let assignment = json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment",
            "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:02Z"},
            "spec": {"job": {"name": "x", "uid": "u"}, "nodeName": "n", "nodeUid": "nu",
                "grants": [{"attempt": 1, "indexes": "0-9"}],
                "work": {"module": schemas::Digest::of(b""), "memory": "64Mi", "subtaskTimeout": "5m"}},
            "status": {"succeeded": 10, "rate": 2.0}});
        let job: Job = serde_json::from_value(job).expect("a job");
        let assignment: Assignment = serde_json::from_value(assignment).expect("an assignment");
        let trace = trace(&job, &[assignment], "2026-01-01T00:01:00Z".parse().expect("a time"));
        let spans: Vec<(&str, i64)> = trace["traceEvents"]
            .as_array()
            .expect("events")
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| (event["name"].as_str().unwrap_or_default(), event["dur"].as_i64().unwrap_or_default()))
            .collect();
        let expected =
            [("waiting", 1_000_000), ("planning", 1_000_000), ("running", 7_000_000), ("assignment", 7_000_000)];
        assert_eq!(spans, expected);
    }
}
