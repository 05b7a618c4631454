//! Assignments: a node reports only for itself, only while it is the node that was asked, and only what
//! it has uploaded.

use std::collections::BTreeSet;

use schemas::{AssignmentSpec, AssignmentStatus, Digest, assignment::PlanReport, validation};
use serde_json::Value;

use super::{
    super::{
        call::{Call, text},
        error::{ApiError, Cause, reasons},
    },
    causes, typed,
};

pub(super) fn validate_spec(object: &Value) -> Vec<Cause> {
    typed(object, "spec").map_or_else(Vec::new, |spec| causes(validation::validate_assignment(&spec)))
}

pub(super) fn validate_status(object: &Value) -> Vec<Cause> {
    match (typed::<AssignmentSpec>(object, "spec"), typed::<AssignmentStatus>(object, "status")) {
        (Some(spec), Some(status)) => causes(validation::validate_assignment_status(&spec, &status)),
        _ => Vec::new(),
    }
}

pub(super) async fn admit_status(call: &Call, object: &Value, old: Option<&Value>) -> Result<Vec<Cause>, ApiError> {
    let (asked, reporting) = (text(&object["spec"]["nodeUid"]), text(&object["status"]["nodeUid"]));
    if let Some(node) = call.node().filter(|node| *node != text(&object["spec"]["nodeName"])) {
        return Err(call.target.forbidden(format!("node `{node}` may report only on its own assignments")));
    }
    if asked != reporting {
        return Err(call.target.conflict(format!(
            "the report is from node UID `{reporting}`, the assignment is for `{asked}`: the node has joined anew since"
        )));
    }
    let known = old.and_then(|old| typed(old, "status")).map(|status| artifacts(&status)).unwrap_or_default();
    let reported = typed(object, "status").map(|status| artifacts(&status)).unwrap_or_default();
    let mut found = Vec::new();
    for (digest, field) in reported.difference(&known) {
        if call.state.artifacts.head(digest).await?.is_none() {
            let message = format!("Not found: \"{digest}\": upload the artifact before reporting it");
            found.push(Cause::new(reasons::NOT_FOUND, *field, message));
        }
    }
    Ok(found)
}

/// Every artifact that a status names, with the field that names it.
fn artifacts(status: &AssignmentStatus) -> BTreeSet<(Digest, &'static str)> {
    let mut found = BTreeSet::new();
    for segment in &status.segments {
        found.insert((segment.digest, "status.segments"));
        found.extend(segment.logs.map(|digest| (digest, "status.segments")));
    }
    for failure in &status.failures {
        found.extend(failure.logs.iter().map(|digest| (*digest, "status.failures")));
    }
    if let Some(PlanReport::Layout(layout)) = &status.plan {
        found.extend(layout.state.map(|digest| (digest, "status.plan.layout.state")));
    }
    if let Some(result) = status.merge.as_ref().and_then(|merge| merge.result.as_ref()) {
        found.insert((result.artifact, "status.merge.result.artifact"));
    }
    found
}
