//! Why a node does what it does: from its status and the Assignments that name it.

use jiff::Timestamp;
use schemas::{Assignment, well_known::ANNOTATION_IDLE_REASON};
use serde_json::Value;

use super::{Answer, closed, name, slots};
use crate::{age, text};

/// What runs and is told one by one.
const RUNNING_SHOWN: usize = 8;

/// All that can be said.
pub(super) fn explain(node: &Value, assignments: &[Assignment], now: Timestamp) -> Answer {
    let mut answer = Answer { subject: format!("node/{}", name(node)), ..Answer::default() };
    let slots = slots(node);
    let running: usize = assignments.iter().filter_map(|a| a.status.as_ref()).map(|status| status.running.len()).sum();
    let idle = node["metadata"]["annotations"][ANNOTATION_IDLE_REASON].as_str().filter(|reason| !reason.is_empty());
    answer.verdict = match (closed(node), running, idle) {
        (Some(closed), _, _) => {
            if closed.contains("cordoned") || closed.contains("drained") {
                answer.next.push(format!("pdctl uncordon {}", name(node)));
            }
            format!("gets no more work: it {closed}")
        }
        (None, 0, Some(reason)) => format!("is idle: {reason}"),
        (None, 0, None) => "is idle: no job has anything for it".to_owned(),
        (None, running, _) if (running as u64) < slots => {
            format!("is busy with {running} of {}", text::counted(slots, "slot"))
        }
        (None, _, _) => format!("is fully busy: {}", text::counted(slots, "slot")),
    };
    if running > 0
        && let Some(reason) = idle
    {
        answer.because.push(format!("its free slots get nothing: {reason}"));
    }
    for assignment in assignments {
        answer.because.extend(of_assignment(assignment, now));
    }
    if let Some(heartbeat) = heartbeat(node, now) {
        answer.because.push(heartbeat);
    }
    answer
}

fn of_assignment(assignment: &Assignment, now: Timestamp) -> Vec<String> {
    let Some(status) = assignment.status.as_ref().filter(|status| !status.running.is_empty()) else {
        return Vec::new();
    };
    let job = &assignment.spec.job.name;
    let more = status.running.len().saturating_sub(RUNNING_SHOWN);
    let line = |running: &schemas::assignment::Running| {
        let attempt = if running.attempt > 1 { format!(", attempt {}", running.attempt) } else { String::new() };
        let progress = running.progress.filter(|progress| progress.total > 0);
        let progress =
            progress.map_or_else(String::new, |progress| format!(", {} of {}", progress.done, progress.total));
        format!(
            "runs job/{job} index {} since {}{attempt}{progress}",
            running.index,
            age::since(running.started_at, now)
        )
    };
    let more = (more > 0).then(|| format!("and {more} more of job/{job}"));
    status.running.iter().take(RUNNING_SHOWN).map(line).chain(more).collect()
}

/// When its Ready condition last changed.
fn heartbeat(node: &Value, now: Timestamp) -> Option<String> {
    let ready = super::condition(node, "Ready")?;
    let since = ready["lastTransitionTime"].as_str()?.parse().ok()?;
    let state = if super::is_true(ready) { "ready" } else { "not ready" };
    Some(format!("it is {state} since {}", age::since(since, now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().expect("a time")
    }

    fn node(annotations: Value) -> Value {
        json!({"metadata": {"name": "n", "annotations": annotations}, "spec": {}, "status": {
            "capacity": {"processdistro.dev/slots": "2"},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    }

    fn busy() -> Assignment {
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": "a"},
            "spec": {"job": {"name": "x", "uid": "u"}, "nodeName": "n", "nodeUid": "nu", "grants": [],
                "work": {"module": schemas::Digest::of(b""), "memory": "64Mi", "subtaskTimeout": "5m"}},
            "status": {"running": [{"index": 7, "attempt": 2, "startedAt": "2026-01-01T00:00:30Z",
                "progress": {"done": 3, "total": 9}}]}});
        serde_json::from_value(object).expect("an assignment")
    }

    #[test]
    fn an_idle_node_says_what_the_reconciler_said() {
        let answer = explain(&node(json!({ANNOTATION_IDLE_REASON: "no job wants its label"})), &[], now());
        assert_eq!(answer.verdict, "is idle: no job wants its label");
        let answer = explain(&node(json!({})), &[], now());
        assert_eq!(answer.verdict, "is idle: no job has anything for it");
        assert_eq!(answer.because, ["it is ready since 60s"]);
    }

    #[test]
    fn a_busy_node_says_with_what() {
        let answer = explain(&node(json!({})), &[busy()], now());
        assert_eq!(answer.verdict, "is busy with 1 of 2 slots");
        assert_eq!(answer.because[0], "runs job/x index 7 since 30s, attempt 2, 3 of 9");
    }
}
