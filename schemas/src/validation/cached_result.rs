//! Rules of a CachedResult: its outputs fit its layout, so that a job can take them over unread.

use super::{FieldError, FieldPath, assignment::validate_segments};
use crate::{CachedResultSpec, limits::SUBTASKS_MAX};

/// All that is wrong with a CachedResult. Whether its artifacts are there is the API server's question.
pub fn validate_cached_result(name: &str, spec: &CachedResultSpec) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    if name != spec.key.hex() {
        errors.push(FieldError::invalid("metadata.name", name, "must be the digits of spec.key"));
    }
    let subtasks = spec.layout.subtasks;
    if subtasks > SUBTASKS_MAX {
        let rule = format!("must be less than or equal to {SUBTASKS_MAX}");
        errors.push(FieldError::invalid(path.child("layout").child("subtasks"), subtasks, rule));
    }
    let outputs = path.child("outputs");
    errors.extend(validate_segments(&spec.outputs.segments, Some(subtasks), &outputs.child("segments")));
    let indexes = spec.outputs.indexes();
    if errors.is_empty() && spec.count != indexes.count() {
        let rule = format!("must be the number of indexes in outputs.segments, which is {}", indexes.count());
        errors.push(FieldError::invalid(path.child("count"), spec.count, rule));
    }
    if spec.outputs.merged.as_ref().is_some_and(|merged| !indexes.is_superset(&merged.indexes)) {
        let rule = "must be indexes that outputs.segments hold";
        errors.push(FieldError::invalid(outputs.child("merged").child("indexes"), "", rule));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Digest;

    fn errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let key = Digest::of(b"key");
        let mut spec = json!({
            "key": key, "job": "j", "count": 4, "bytes": 9, "lastUsed": "2026-01-01T00:00:00Z",
            "layout": {"subtasks": 10, "mediaType": "text/plain"},
            "outputs": {"segments": [{"digest": key, "size": 9, "indexes": "0-3"}]},
        });
        change(&mut spec);
        let spec = serde_json::from_value(spec).expect("a spec");
        validate_cached_result(&key.hex(), &spec).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn outputs_fit_the_layout_and_the_name_is_the_key() {
        assert_eq!(errors(|_| {}), Vec::<String>::new());
        assert_eq!(errors(|spec| spec["key"] = Digest::of(b"other").to_string().into()), ["metadata.name"]);
        assert_eq!(errors(|spec| spec["layout"]["subtasks"] = 3.into()), ["spec.outputs.segments[0].indexes"]);
        assert_eq!(errors(|spec| spec["count"] = 5.into()), ["spec.count"]);
        let merged = json!({"indexes": "0-4", "result": {"artifact": Digest::of(b"r"), "size": 1, "mediaType": "x/y"}});
        assert_eq!(errors(|spec| spec["outputs"]["merged"] = merged), ["spec.outputs.merged.indexes"]);
    }
}
