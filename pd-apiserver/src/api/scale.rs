//! `/scale`: a Job's parallelism as `autoscaling/v1 Scale`, for `kubectl scale`.

use serde_json::{Value, json};

use super::{
    call::{Call, Subresource, text},
    error::{ApiError, Cause},
    media::Document,
    patch,
    registry::{self, Change},
};

/// Reads the scale, or changes it first.
pub(crate) async fn answer(call: &Call, change: Option<Change>) -> Result<Value, ApiError> {
    let mut main = call.clone();
    main.target.subresource = Subresource::Main;
    let live = registry::get(&main)?.object;
    let Some(change) = change else { return Ok(scale_of(&live)) };
    let wanted = match &change {
        Change::Replace(document) => document.value.clone(),
        Change::JsonPatch(operations) => patch::json(&call.target, &scale_of(&live), operations)?,
        Change::MergePatch(document) | Change::StrategicPatch(document) | Change::Apply(document) => {
            patch::merge(&scale_of(&live), &document.value)?
        }
    };
    let replicas = &wanted["spec"]["replicas"];
    if *replicas == scale_of(&live)["spec"]["replicas"] && !matches!(change, Change::Replace(_)) {
        return Ok(scale_of(&live));
    }
    if !replicas.is_u64() {
        let message = "must be a whole number from 1 up: it becomes spec.parallelism";
        call.target.refuse_if_any(vec![Cause::invalid("spec.replicas", replicas, message)])?;
    }
    let mut patch = json!({"spec": {"parallelism": replicas}});
    // Only what the client sent: a patch is merged into a scale that has the live version.
    let version = match &change {
        Change::JsonPatch(_) => "",
        Change::Replace(document)
        | Change::MergePatch(document)
        | Change::StrategicPatch(document)
        | Change::Apply(document) => text(&document.value["metadata"]["resourceVersion"]),
    };
    if !version.is_empty() {
        patch["metadata"] = json!({"resourceVersion": version});
    }
    let change = Change::MergePatch(Document { value: patch, duplicates: Vec::new() });
    registry::update(&main, change).await.map(|written| scale_of(&written.object))
}

fn scale_of(job: &Value) -> Value {
    let metadata = &job["metadata"];
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": job["spec"]["parallelism"].as_u64().unwrap_or_default()},
        "status": {"replicas": job["status"]["subtasks"]["running"].as_u64().unwrap_or_default()},
    })
}
