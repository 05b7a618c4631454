//! An attempt in the form of a Pod.

use schemas::{
    Digest,
    well_known::{LABEL_JOB, LABEL_NODE},
};
use serde_json::{Value, json};

use super::{
    Source,
    attempts::{Attempt, State},
};
use crate::api::registry::seconds;

/// Name of the only container.
pub(super) const CONTAINER: &str = "subtask";
/// Label: the index, as Kubernetes' own indexed Jobs have it.
const LABEL_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Label: the attempt.
const LABEL_ATTEMPT: &str = "processdistro.dev/attempt";

/// `<job>-<index>-<attempt>`.
pub(super) fn parse_name(name: &str) -> Option<(&str, u64, u32)> {
    let (rest, attempt) = name.rsplit_once('-')?;
    let (job, index) = rest.rsplit_once('-')?;
    Some((job, index.parse().ok()?, attempt.parse().ok()?))
}

/// True when `pod` tells of a later state than `other` of the same name.
pub(super) fn is_newer(pod: &Value, other: &Value) -> bool {
    let rank = |pod: &Value| {
        let revision: u64 = super::text(&pod["metadata"]["resourceVersion"]).parse().unwrap_or_default();
        (pod["status"]["phase"] == "Running", revision)
    };
    rank(pod) > rank(other)
}

pub(super) fn pod(source: &Source, attempt: &Attempt) -> Value {
    let spec = &source.assignment.spec;
    let metadata = &source.assignment.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    let started = match attempt.state {
        State::Running { started_at, .. } => Some(started_at),
        _ => None,
    };
    let image = format!("{}@{}", spec.job.name, spec.work.module);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{}-{}-{}", spec.job.name, attempt.index, attempt.number),
            "namespace": source.namespace,
            "uid": uid(source, attempt),
            "resourceVersion": source.revision.to_string(),
            "creationTimestamp": started.or(created).map(seconds),
            "labels": {
                LABEL_JOB: spec.job.name, LABEL_NODE: spec.node_name,
                LABEL_INDEX: attempt.index.to_string(), LABEL_ATTEMPT: attempt.number.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": "processdistro.dev/v1", "kind": "Job", "name": spec.job.name, "uid": spec.job.uid,
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            // `kubectl debug` looks into the security context of every pod.
            "nodeName": spec.node_name, "restartPolicy": "Never", "securityContext": {},
            "containers": [{
                "name": CONTAINER, "image": image,
                "resources": {
                    "limits": {"cpu": "1", "memory": spec.work.memory.to_string()},
                    "requests": {"cpu": "1", "memory": spec.work.memory.to_string()},
                },
            }],
        },
        "status": status(attempt, &image, started.map(seconds)),
    })
}

/// The same for the same attempt on the same node, for as long as its Assignment lives.
fn uid(source: &Source, attempt: &Attempt) -> String {
    let of = source.assignment.metadata.uid.as_deref().unwrap_or(&source.key);
    let hex = Digest::of(format!("{of}/{}/{}", attempt.index, attempt.number).as_bytes()).hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

fn status(attempt: &Attempt, image: &str, started: Option<String>) -> Value {
    let (phase, state, message) = match &attempt.state {
        State::Running { progress, .. } => {
            let message = progress.map(|progress| format!("{} of {}", progress.done, progress.total));
            ("Running", json!({"running": {"startedAt": started}}), message)
        }
        State::Succeeded { .. } => ("Succeeded", ended(0, "Completed", ""), None),
        State::Failed { outcome, message, .. } => {
            ("Failed", ended(1, &format!("{outcome:?}"), message), Some(message.clone()))
        }
    };
    let is_running = phase == "Running";
    let word = if is_running { "True" } else { "False" };
    let mut status = json!({
        "phase": phase,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": word},
            {"type": "ContainersReady", "status": word},
        ],
        "containerStatuses": [{
            "name": CONTAINER, "image": image, "imageID": image, "ready": is_running, "started": is_running,
            "restartCount": attempt.number.saturating_sub(1), "state": state,
        }],
    });
    for (key, value) in [("startTime", started), ("message", message)] {
        if let Some(value) = value {
            status[key] = value.into();
        }
    }
    if let State::Failed { outcome, .. } = &attempt.state {
        status["reason"] = format!("{outcome:?}").into();
    }
    status
}

fn ended(code: u8, reason: &str, message: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "message": message}})
}
