//! Why a job stands where it stands: from its status, its Assignments and the nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemas::{
    Assignment, JobStatus,
    assignment::Failure,
    job::{conditions, waiting},
};
use serde_json::Value;

use super::{Answer, because, closed, condition, is_true, name, slots};
use crate::{age, progress, text};

/// Ways to fail that are told; the rest is in the logs.
const FAILURES_SHOWN: usize = 5;
/// Nodes that are told one by one.
const NODES_SHOWN: usize = 8;

/// All that can be said.
pub(super) fn explain(job: &Value, nodes: &[Value], assignments: &[Assignment], now: Timestamp) -> Answer {
    let status: JobStatus = serde_json::from_value(job["status"].clone()).unwrap_or_default();
    let mut answer = Answer { subject: format!("job/{}", name(job)), ..Answer::default() };
    let has = |type_: &str| condition(job, type_).filter(|condition| is_true(condition));
    if let Some(complete) = has(conditions::COMPLETE) {
        answer.verdict = format!("is complete: {}", because(complete));
        answer.because.extend(span(&status).map(|span| format!("it took {span}")));
        answer.because.extend(efficiency(&status));
        answer.next.push(format!("pdctl results job/{} -o FILE", name(job)));
    } else if let Some(failed) = has(conditions::FAILED).or_else(|| has(conditions::FAILURE_TARGET)) {
        answer.verdict = format!("failed: {}", because(failed));
        answer.next.push(format!("pdctl logs job/{} --failed", name(job)));
    } else {
        unfinished(&mut answer, job, &status, nodes, now);
        answer.because.extend(at_work(assignments, now));
    }
    answer.because.extend(failures(assignments));
    answer
}

/// A job that has not ended: what it waits for, or how far it is.
fn unfinished(answer: &mut Answer, job: &Value, status: &JobStatus, nodes: &[Value], now: Timestamp) {
    let counts = status.subtasks;
    let progress = match counts.total {
        0 => "it is not planned yet: how many subtasks it has is not known".to_owned(),
        total => format!(
            "{} of {} done, {} running, {} pending",
            counts.succeeded,
            text::counted(total, "subtask"),
            counts.running,
            counts.pending
        ),
    };
    let obstacles = obstacles(job, nodes);
    let waits = &job["status"]["waiting"];
    answer.verdict = if job["spec"]["suspend"] == true {
        answer.next.push(format!("pdctl resume job/{}", name(job)));
        "is suspended by its user".to_owned()
    } else if waits.is_object() {
        answer.next.extend(remedy(waits["reason"].as_str().unwrap_or_default()));
        format!("is waiting: {}", because(waits))
    } else if counts.running > 0 {
        "is running".to_owned()
    } else if let Some((verdict, _)) = &obstacles {
        format!("is waiting: {verdict}")
    } else {
        let state = status.state.as_deref().unwrap_or("Waiting").to_lowercase();
        format!("is {state}")
    };
    answer.because.push(progress);
    if let Some(then) = status.start_time {
        answer.because.push(format!("it started {} ago", age::since(then, now)));
    }
    let rate = status.throughput.filter(|rate| *rate > 0.0).map(progress::rate);
    let eta = status.estimated_completion_time.filter(|eta| *eta > now);
    match (rate, eta) {
        (Some(rate), Some(eta)) => {
            let left = age::human(eta.as_second() - now.as_second());
            answer.because.push(format!("at {rate} the rest takes about {left}"));
        }
        (Some(rate), None) => answer.because.push(format!("its rate is {rate}")),
        _ => {}
    }
    if let Some((_, reasons)) = obstacles.filter(|_| counts.running == 0) {
        answer.because.extend(reasons);
        let next = "pdctl get nodes".to_owned();
        if !answer.next.contains(&next) {
            answer.next.push(next);
        }
    }
}

/// Why no node can take the job: in a word, and node by node. Absent when one can.
pub(super) fn obstacles(job: &Value, nodes: &[Value]) -> Option<(String, Vec<String>)> {
    let mut reasons = Vec::new();
    for node in nodes {
        reasons.push(format!("{} {}", name(node), obstacle(job, node)?));
    }
    if nodes.is_empty() {
        return None;
    }
    let more = reasons.len().saturating_sub(NODES_SHOWN);
    reasons.truncate(NODES_SHOWN);
    if more > 0 {
        reasons.push(format!("{} more likewise", text::counted(more as u64, "node")));
    }
    Some((format!("none of {} can take it", text::counted(nodes.len() as u64, "node")), reasons))
}

/// Why one node cannot take the job; absent when it can.
pub(super) fn obstacle(job: &Value, node: &Value) -> Option<String> {
    let selector = job.pointer("/spec/placement/nodeSelector").and_then(Value::as_object);
    let is_missing = |(key, value): &(&String, &Value)| node["metadata"]["labels"][key.as_str()] != **value;
    if let Some(reason) = closed(node) {
        return Some(reason);
    }
    if let Some((key, value)) = selector.into_iter().flatten().find(is_missing) {
        return Some(format!("does not carry the label {key}={}", value.as_str().unwrap_or_default()));
    }
    if let Some(taint) = untolerated(job, node) {
        return Some(format!("has the taint {}", taint["key"].as_str().unwrap_or_default()));
    }
    (slots(node) == 0).then(|| "offers no slots".to_owned())
}

/// A taint that keeps the job off the node.
fn untolerated<'v>(job: &Value, node: &'v Value) -> Option<&'v Value> {
    let tolerations = job.pointer("/spec/placement/tolerations").and_then(Value::as_array);
    let taints = node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten();
    let mut keeping = taints.filter(|taint| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute");
    keeping.find(|taint| !tolerations.into_iter().flatten().any(|toleration| tolerates(toleration, taint)))
}

/// As Kubernetes has it: what a toleration does not say fits all.
fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let fits =
        |field: &str| toleration[field].as_str().is_none_or(|wanted| wanted.is_empty() || taint[field] == wanted);
    let exists = toleration["operator"] == "Exists";
    let value = |object: &Value| object["value"].as_str().unwrap_or_default().to_owned();
    fits("key") && fits("effect") && (exists || value(toleration) == value(taint))
}

/// What each node does of it.
fn at_work(assignments: &[Assignment], now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = assignments.iter().filter_map(|assignment| node_line(assignment, now)).collect();
    let more = lines.len().saturating_sub(NODES_SHOWN);
    lines.truncate(NODES_SHOWN);
    if more > 0 {
        lines.push(format!("and {} more", text::counted(more as u64, "node")));
    }
    lines
}

fn node_line(assignment: &Assignment, now: Timestamp) -> Option<String> {
    let status = assignment.status.clone().unwrap_or_default();
    let node = &assignment.spec.node_name;
    if assignment.spec.plan && status.plan.is_none() {
        return Some(format!("{node} makes its plan call"));
    }
    let answered = status.merge.as_ref().map_or(0, |merge| merge.attempt);
    if assignment.spec.merge.as_ref().is_some_and(|merge| merge.attempt > answered) {
        return Some(format!("{node} merges the outputs"));
    }
    let longest = status.running.iter().min_by_key(|running| running.started_at);
    let longest =
        longest.map(|running| format!(", index {} since {}", running.index, age::since(running.started_at, now)));
    let granted = assignment.spec.granted().count();
    (granted > 0).then(|| {
        format!(
            "{node} runs {}, has done {} of {granted} given to it{}",
            status.running.len(),
            status.succeeded,
            longest.unwrap_or_default()
        )
    })
}

/// How attempts failed, the most frequent first.
fn failures(assignments: &[Assignment]) -> Vec<String> {
    let mut groups: BTreeMap<(String, String), (u64, Vec<String>, schemas::IndexSet)> = BTreeMap::new();
    for assignment in assignments {
        let failures = assignment.status.iter().flat_map(|status| &status.failures);
        for Failure { outcome, message, indexes, .. } in failures {
            let entry = groups.entry((format!("{outcome:?}"), message.clone())).or_default();
            entry.0 += indexes.count();
            if !entry.1.contains(&assignment.spec.node_name) {
                entry.1.push(assignment.spec.node_name.clone());
            }
            indexes.ranges().for_each(|range| entry.2.insert_range(range));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (count, _, _))| std::cmp::Reverse(*count));
    let line = |((outcome, message), (count, mut nodes, indexes)): (
        (String, String),
        (u64, Vec<String>, schemas::IndexSet),
    )| {
        let attempts = text::counted(count, "attempt");
        nodes.sort();
        format!("{attempts} failed on {} ({outcome}: {message}), indexes {indexes}", nodes.join(", "))
    };
    groups.into_iter().take(FAILURES_SHOWN).map(line).collect()
}

/// What to look at, by what the job waits for.
fn remedy(reason: &str) -> Option<String> {
    let next = match reason {
        waiting::DEPENDENCY => "pdctl get jobs",
        waiting::QUEUE_NOT_FOUND | waiting::QUOTA => "pdctl get queues",
        waiting::NO_NODE => "pdctl get nodes",
        waiting::NO_SLOT => "pdctl top jobs -A",
        _ => return None,
    };
    Some(next.to_owned())
}

/// How well the slots were used, and where the rest went, the largest part first.
fn efficiency(status: &JobStatus) -> Option<String> {
    let efficiency = status.efficiency.as_ref()?;
    let loss = status.efficiency_loss.unwrap_or_default();
    let mut parts = [
        ("queueing", loss.queueing),
        ("transfer", loss.transfer),
        ("stealing", loss.stealing),
        ("tail", loss.tail),
        ("lost nodes", loss.lost_nodes),
    ];
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    // Less than this is rounded away.
    const PERCENT_MIN: f64 = 0.5;
    let told: Vec<String> = parts
        .iter()
        .filter(|(_, percent)| *percent >= PERCENT_MIN)
        .map(|(name, percent)| format!("{name} {percent:.0}%"))
        .collect();
    let rest = if told.is_empty() { String::new() } else { format!("; the rest went into {}", told.join(", ")) };
    Some(format!("its efficiency was {efficiency}{rest}"))
}

fn span(status: &JobStatus) -> Option<String> {
    let (start, end) = status.start_time.zip(status.completion_time)?;
    Some(age::exact(end.duration_since(start).as_millis()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().expect("a time")
    }

    fn node(name: &str, is_cordoned: bool) -> Value {
        json!({"metadata": {"name": name, "labels": {"disk": "ssd"}}, "spec": {"unschedulable": is_cordoned},
            "status": {"capacity": {"processdistro.dev/slots": "2"}, "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn job(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "x"}, "spec": spec, "status": status})
    }

    #[test]
    fn a_job_that_no_node_can_take_says_why_node_by_node() {
        let job = job(json!({"placement": {"nodeSelector": {"disk": "nvme"}}}), json!({}));
        let answer = explain(&job, &[node("a", true), node("b", false)], &[], now());
        assert_eq!(answer.verdict, "is waiting: none of 2 nodes can take it");
        assert!(answer.because.contains(&"a is cordoned".to_owned()), "{answer:?}");
        assert!(answer.because.contains(&"b does not carry the label disk=nvme".to_owned()), "{answer:?}");
        assert_eq!(answer.next, ["pdctl get nodes"]);
    }

    #[test]
    fn a_taint_keeps_a_job_off_unless_it_is_tolerated() {
        let mut node = node("a", false);
        node["spec"]["taints"] = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
        assert_eq!(obstacle(&job(json!({}), json!({})), &node).as_deref(), Some("has the taint gpu"));
        for (toleration, is_tolerated) in [
            (json!({"key": "gpu", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "gpu", "value": "yes"}), true),
            (json!({"key": "gpu", "value": "no"}), false),
            (json!({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}), false),
        ] {
            let job = job(json!({"placement": {"tolerations": [toleration]}}), json!({}));
            assert_eq!(obstacle(&job, &node).is_none(), is_tolerated, "{job}");
        }
    }

    #[test]
    fn a_complete_job_says_where_its_time_went() {
        let status = json!({"efficiency": "80%", "efficiencyLoss": {"tail": 12.0, "transfer": 7.6, "queueing": 0.1},
            "conditions": [{"type": "Complete", "status": "True", "reason": "Done", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let answer = explain(&job(json!({}), status), &[], &[], now());
        assert_eq!(answer.because, ["its efficiency was 80%; the rest went into tail 12%, transfer 8%"]);
    }

    #[test]
    fn what_the_reconciler_says_goes_first() {
        let status = json!({"waiting": {"reason": "QuotaExhausted", "message": "queue `a` has 4 of 4 slots"}});
        let answer = explain(&job(json!({}), status), &[node("a", true)], &[], now());
        assert_eq!(answer.verdict, "is waiting: QuotaExhausted: queue `a` has 4 of 4 slots");
        assert_eq!(answer.next, ["pdctl get queues", "pdctl get nodes"]);
        let answer = explain(&job(json!({"suspend": true}), json!({})), &[], &[], now());
        assert_eq!(answer.verdict, "is suspended by its user");
        assert_eq!(answer.next, ["pdctl resume job/x"]);
    }

    #[test]
    fn a_running_job_says_how_far_it_is() {
        let status = json!({"state": "Running", "throughput": 2.0, "startTime": "2026-01-01T00:00:00Z",
            "estimatedCompletionTime": "2026-01-01T00:01:30Z",
            "subtasks": {"total": 100, "succeeded": 40, "failed": 0, "running": 4, "pending": 56}});
        let answer = explain(&job(json!({}), status), &[node("a", false)], &[], now());
        assert_eq!(answer.verdict, "is running");
        let expected = [
            "40 of 100 subtasks done, 4 running, 56 pending",
            "it started 60s ago",
            "at 2.0/s the rest takes about 30s",
        ];
        assert_eq!(answer.because, expected);
    }

    #[test]
    fn a_failed_job_names_how_its_attempts_failed() {
        let status = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "IndexesFailed",
            "message": "1 index is out of retries", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let digest = schemas::Digest::of(b"");
        let assignment = json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": "a"},
            "spec": {"job": {"name": "x", "uid": "u"}, "nodeName": "n", "nodeUid": "nu",
                "grants": [{"attempt": 1, "indexes": "0-9"}],
                "work": {"module": digest, "memory": "64Mi", "subtaskTimeout": "5m"}},
            "status": {"failures": [{"attempt": 1, "outcome": "Trap", "message": "panicked", "indexes": "3"},
                {"attempt": 2, "outcome": "Trap", "message": "panicked", "indexes": "3"}]}});
        let assignment: Assignment = serde_json::from_value(assignment).expect("an assignment");
        let answer = explain(&job(json!({}), status), &[], &[assignment], now());
        assert_eq!(answer.verdict, "failed: IndexesFailed: 1 index is out of retries");
        assert_eq!(answer.because, ["2 attempts failed on n (Trap: panicked), indexes 3"]);
    }
}
