//! Jobs whose Subtasks are listed: a page must cost a page, however many indexes its job has.

use std::fs;

use anyhow::{Context, Result};
use schemas::{Digest, well_known::ARTIFACTS_PATH};
use serde_json::{Value, json};

use super::wire::Wire;
use crate::binaries::Binaries;

const NAMESPACE: &str = "/apis/processdistro.dev/v1/namespaces/default";
/// Subtasks of the jobs: a page's worth twice, and the most that anybody has seen.
pub(super) const SIZES: [u64; 2] = [1_000, 1_000_000];
/// Intervals of what is done: half of each of so many parts of the job's first half.
const PARTS: u64 = 100;
/// Subtasks that have failed: the job's last ones.
const FAILED: u64 = 10;

/// Path of a page of the Subtasks of the job of so many.
pub(super) fn page(size: u64, limit: usize) -> String {
    format!("{NAMESPACE}/subtasks?limit={limit}&labelSelector=processdistro.dev%2Fjob%3D{}", name(size))
}

/// Path of a page of those that have failed.
pub(super) fn failed(size: u64) -> String {
    page(size, 500) + "&fieldSelector=status.phase%3DFailed"
}

fn name(size: u64) -> String {
    format!("of-{size}")
}

/// Creates the jobs as a user, and says as the reconciler how far they are.
pub(super) async fn prepare(user: &Wire, reconciler: &Wire) -> Result<()> {
    let (mut user, mut reconciler) = (user.connect().await?, reconciler.connect().await?);
    let path = Binaries::locate()?.task("noop");
    let module = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let digest = Digest::of(&module);
    user.send("PUT", &format!("{ARTIFACTS_PATH}/{digest}"), "application/wasm", module.into()).await?;
    let task = object("Task", "noop", json!({"module": digest}));
    user.send("POST", &format!("{NAMESPACE}/tasks"), "application/json", task).await?;
    for size in SIZES {
        let job = object("Job", &name(size), json!({"task": {"name": "noop", "params": {"count": size}}}));
        user.send("POST", &format!("{NAMESPACE}/jobs"), "application/json", job).await?;
        let path = format!("{NAMESPACE}/jobs/{}/status", name(size));
        let status = json!({"status": status(size)}).to_string();
        reconciler.send("PATCH", &path, "application/merge-patch+json", status.into()).await?;
    }
    Ok(())
}

fn object(kind: &str, name: &str, spec: Value) -> bytes::Bytes {
    let object = json!({"apiVersion": "processdistro.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    object.to_string().into()
}

/// A job that is a quarter done.
fn status(size: u64) -> Value {
    let part = size / 2 / PARTS;
    let done: Vec<String> = (0..PARTS).map(|at| format!("{}-{}", at * part, at * part + part / 2 - 1)).collect();
    let succeeded = PARTS * (part / 2);
    json!({
        "subtasks": {
            "total": size, "succeeded": succeeded, "failed": FAILED, "running": 0, "pending": size - succeeded - FAILED,
        },
        "layout": {"subtasks": size, "mediaType": "x/y"},
        "completedIndexes": done.join(","),
        "failedIndexes": format!("{}-{}", size - FAILED, size - 1),
    })
}
