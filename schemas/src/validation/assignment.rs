//! Rules of an Assignment: what the plan may order, and what a node may claim to have done.

use super::{FieldError, FieldPath, names::subdomain_problem};
use crate::{
    AssignmentSpec, AssignmentStatus, IndexSet,
    assignment::{Failure, MergeOrder, Segment},
    limits::{FAILURE_GROUPS_MAX, MESSAGE_BYTES_MAX, SUBTASKS_MAX},
};

/// All that is wrong with an Assignment's spec.
pub fn validate_assignment(spec: &AssignmentSpec) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    for (field, text) in [("nodeName", &spec.node_name), ("job.name", &spec.job.name)] {
        errors.extend(subdomain_problem(text).map(|problem| FieldError::invalid(path.child(field), text, problem)));
    }
    for (field, text) in [("nodeUid", &spec.node_uid), ("job.uid", &spec.job.uid)] {
        if text.is_empty() {
            errors.push(FieldError::required(path.child(field), "must name one object for good"));
        }
    }
    let subtasks = spec.layout.as_ref().map(|layout| layout.subtasks);
    if let Some(subtasks) = subtasks.filter(|subtasks| *subtasks > SUBTASKS_MAX) {
        let rule = format!("must be less than or equal to {SUBTASKS_MAX}");
        errors.push(FieldError::invalid(path.child("layout").child("subtasks"), subtasks, rule));
    }
    if subtasks.is_none() && (spec.merge.is_some() || !spec.grants.is_empty()) {
        errors.push(FieldError::required(path.child("layout"), "indexes can be granted once the job is planned"));
    }
    errors.extend(validate_grants(spec, subtasks, &path.child("grants")));
    errors.extend(validate_check_parts(spec, &path.child("checkParts")));
    errors.extend(spec.merge.iter().flat_map(|order| validate_merge(order, subtasks, &path.child("merge"))));
    errors
}

/// All that is wrong with a status, given the spec it answers. A foreign node UID is a conflict, not a
/// field error: the registry looks at it first.
pub fn validate_assignment_status(spec: &AssignmentSpec, status: &AssignmentStatus) -> Vec<FieldError> {
    let path = FieldPath::new("status");
    let subtasks = spec.layout.as_ref().map(|layout| layout.subtasks);
    let mut errors = validate_segments(&status.segments, subtasks, &path.child("segments"));
    let completed = status.completed().count();
    if errors.is_empty() && status.succeeded != completed {
        let rule = format!("must be the number of indexes in segments, which is {completed}");
        errors.push(FieldError::invalid(path.child("succeeded"), status.succeeded, rule));
    }
    errors.extend(validate_failures(&status.failures, subtasks, &path.child("failures")));
    errors
}

fn validate_grants(spec: &AssignmentSpec, subtasks: Option<u64>, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut granted = IndexSet::new();
    let mut attempt_before = 0;
    for (position, grant) in spec.grants.iter().enumerate() {
        let path = path.index(position);
        if grant.attempt <= attempt_before {
            let rule = format!("attempts must ascend from 1; the one before is {attempt_before}");
            errors.push(FieldError::invalid(path.child("attempt"), grant.attempt, rule));
        }
        attempt_before = grant.attempt;
        let path = path.child("indexes");
        errors.extend(outside(&grant.indexes, subtasks, &path));
        errors.extend(overlap(&granted, &grant.indexes, &path));
        granted |= &grant.indexes;
    }
    if !granted.is_superset(&spec.checks) {
        let rule = format!("[{}] is not granted", &spec.checks - &granted);
        errors.push(FieldError::invalid("spec.checks", &spec.checks, rule));
    }
    errors
}

fn validate_check_parts(spec: &AssignmentSpec, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut named = IndexSet::new();
    for (position, part) in spec.check_parts.iter().enumerate() {
        let path = path.index(position).child("indexes");
        if !spec.checks.is_superset(&part.indexes) {
            let rule = format!("[{}] is not to be checked", &part.indexes - &spec.checks);
            errors.push(FieldError::invalid(path.clone(), &part.indexes, rule));
        }
        errors.extend(overlap(&named, &part.indexes, &path));
        named |= &part.indexes;
    }
    errors
}

fn validate_merge(order: &MergeOrder, subtasks: Option<u64>, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if order.attempt == 0 {
        errors.push(FieldError::invalid(path.child("attempt"), 0, "must be greater than or equal to 1"));
    }
    let mut merged = IndexSet::new();
    for (position, part) in order.parts.iter().enumerate() {
        let path = path.child("parts").index(position).child("indexes");
        errors.extend(outside(&part.indexes, subtasks, &path));
        errors.extend(overlap(&merged, &part.indexes, &path));
        merged |= &part.indexes;
    }
    errors
}

/// Segments are disjoint and lie within the job.
pub(super) fn validate_segments(segments: &[Segment], subtasks: Option<u64>, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut held = IndexSet::new();
    for (position, segment) in segments.iter().enumerate() {
        let path = path.index(position).child("indexes");
        errors.extend(outside(&segment.indexes, subtasks, &path));
        errors.extend(overlap(&held, &segment.indexes, &path));
        held |= &segment.indexes;
    }
    errors
}

fn validate_failures(failures: &[Failure], subtasks: Option<u64>, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if failures.len() > FAILURE_GROUPS_MAX {
        let rule = format!("must have at most {FAILURE_GROUPS_MAX} entries");
        errors.push(FieldError::invalid(path, failures.len(), rule));
    }
    for (position, failure) in failures.iter().enumerate() {
        let path = path.index(position);
        errors.extend(outside(&failure.indexes, subtasks, &path.child("indexes")));
        if failure.message.len() > MESSAGE_BYTES_MAX {
            errors.push(FieldError::too_long(path.child("message"), MESSAGE_BYTES_MAX));
        }
    }
    errors
}

/// Says when `indexes` reaches beyond the job's last index; says nothing when the job is not planned.
fn outside(indexes: &IndexSet, subtasks: Option<u64>, path: &FieldPath) -> Option<FieldError> {
    let (subtasks, last) = (subtasks?, indexes.max()?);
    let rule = || format!("index {last} is beyond the job's {subtasks} subtasks");
    (last >= subtasks).then(|| FieldError::invalid(path, indexes, rule()))
}

/// Says which indexes stand in more than one entry.
fn overlap(before: &IndexSet, indexes: &IndexSet, path: &FieldPath) -> Option<FieldError> {
    let both = before & indexes;
    (!both.is_empty()).then(|| FieldError::duplicate(path, both))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(change: impl FnOnce(&mut Value)) -> AssignmentSpec {
        let mut spec = json!({
            "job": {"name": "j", "uid": "1"}, "nodeName": "n", "nodeUid": "2",
            "work": {"module": format!("sha256:{}", "0".repeat(64)), "memory": "64Mi", "subtaskTimeout": "5m"},
            "layout": {"subtasks": 10, "mediaType": "text/plain"},
            "grants": [{"attempt": 1, "indexes": "0-4"}, {"attempt": 2, "indexes": "5-9"}],
        });
        change(&mut spec);
        serde_json::from_value(spec).expect("a spec")
    }

    #[test]
    fn grants_ascend_are_disjoint_and_stay_inside_the_job() {
        assert!(validate_assignment(&spec(|_| ())).is_empty());
        let cases: [(Value, &str); 4] = [
            (json!([{"attempt": 0, "indexes": "0"}]), "spec.grants[0].attempt"),
            (json!([{"attempt": 2, "indexes": "0"}, {"attempt": 1, "indexes": "1"}]), "spec.grants[1].attempt"),
            (json!([{"attempt": 1, "indexes": "0-4"}, {"attempt": 2, "indexes": "4"}]), "spec.grants[1].indexes"),
            (json!([{"attempt": 1, "indexes": "9-10"}]), "spec.grants[0].indexes"),
        ];
        for (grants, field) in cases {
            let errors = validate_assignment(&spec(|spec| spec["grants"] = grants));
            assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), [field]);
        }
    }

    #[test]
    fn outputs_to_check_are_named_once_and_for_checks_only() {
        let part = |indexes: &str| json!({"segment": format!("sha256:{}", "0".repeat(64)), "indexes": indexes});
        let checking = |parts: Value| {
            spec(|spec| {
                spec["checks"] = json!("2-5");
                spec["checkParts"] = parts;
            })
        };
        let good = checking(json!([part("2-3"), part("5")]));
        assert!(validate_assignment(&good).is_empty());
        assert_eq!(good.checkable().to_string(), "2-3,5");
        for parts in [json!([part("2"), part("2-3")]), json!([part("3"), part("5-6")])] {
            let errors = validate_assignment(&checking(parts));
            assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["spec.checkParts[1].indexes"]);
        }
    }

    #[test]
    fn nothing_is_granted_before_the_job_is_planned() {
        let errors = validate_assignment(&spec(|spec| spec["layout"] = Value::Null));
        assert_eq!(errors[0].field, "spec.layout");
    }

    #[test]
    fn a_status_claims_each_index_once() {
        let segment =
            |indexes: &str| json!({"digest": format!("sha256:{}", "0".repeat(64)), "size": 1, "indexes": indexes});
        let status = |json| serde_json::from_value::<AssignmentStatus>(json).expect("a status");
        let spec = spec(|_| ());
        let good = status(json!({"segments": [segment("0-2"), segment("3")], "succeeded": 4}));
        assert!(validate_assignment_status(&spec, &good).is_empty());
        for (wrong, field) in [
            (json!({"segments": [segment("0-2"), segment("2")], "succeeded": 3}), "status.segments[1].indexes"),
            (json!({"segments": [segment("10")], "succeeded": 1}), "status.segments[0].indexes"),
            (json!({"segments": [segment("0-2")], "succeeded": 2}), "status.succeeded"),
        ] {
            assert_eq!(validate_assignment_status(&spec, &status(wrong))[0].field, field);
        }
    }
}
