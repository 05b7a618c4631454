//! From client-side to server-side apply and back: the annotation in which kubectl keeps what it applied last.
//!
//! In: objects. Out: which fields somebody who applies by kubectl has anyway, and an annotation that knows of the newest
//! apply. As upstream, for the manager `kubectl` alone.

use serde_json::Value;

use super::{
    Writer,
    compare::changed,
    fields::{FieldSet, canonical},
    shape::fields_of,
};

/// The annotation.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The only manager whose applies are those of the annotation.
const MANAGER: &str = "kubectl";

/// Whether `writer` goes on with what was applied by the client.
fn goes_on(writer: &Writer<'_>) -> bool {
    writer.manager == MANAGER && writer.subresource.is_empty()
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str().filter(|text| !text.is_empty())
}

/// The fields of `live` that `writer` has applied on the client's side and nobody has changed since: taking them over is
/// no conflict.
pub(super) fn own_fields(schema: &Value, live: &Value, writer: &Writer<'_>) -> FieldSet {
    let last = annotation(live).filter(|_| goes_on(writer)).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(last) = last.filter(|last| last["apiVersion"] == live["apiVersion"]) else { return FieldSet::default() };
    fields_of(schema, &last).difference(&changed(schema, &last, live))
}

/// Has the annotation of `merged`, if there is one, say what `writer` applies: the next client-side apply then knows
/// what it may take away.
pub(super) fn renew(merged: &mut Value, applied: &Value, writer: &Writer<'_>) {
    if annotation(merged).is_none() || !goes_on(writer) {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    merged["metadata"]["annotations"][ANNOTATION] = format!("{}\n", canonical(&applied)).into();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{apply, properties::*, track_create};
    use super::*;
    use crate::api::apply::Operation;

    /// An object that kubectl applied from the client's side, with `a` and `b`.
    fn applied_by_client() -> Value {
        let mut object = empty();
        object["spec"] = json!({"a": 1, "b": 2});
        let text = canonical(&object);
        object["metadata"]["annotations"] = json!({ANNOTATION: text});
        let client = Writer { operation: Operation::Update, ..writer("kubectl-client-side-apply") };
        track_create(&schema(), &mut object, &client);
        object
    }

    fn with(spec: Value) -> Value {
        let mut object = empty();
        object["spec"] = spec;
        object
    }

    #[test]
    fn what_was_applied_by_the_client_is_taken_over_without_a_conflict() {
        let (live, wanted) = (applied_by_client(), with(json!({"a": 5})));
        let merged = apply(&schema(), &live, &wanted, &writer("kubectl"), false).expect("its own field");
        assert_eq!(merged["spec"]["a"], 5);
        assert!(apply(&schema(), &live, &wanted, &writer("somebody"), false).is_err());
    }

    #[test]
    fn what_somebody_has_changed_since_is_a_conflict() {
        let mut live = applied_by_client();
        live["spec"]["b"] = json!(7);
        let conflicts = apply(&schema(), &live, &with(json!({"a": 5, "b": 6})), &writer("kubectl"), false);
        let fields: Vec<String> = conflicts.expect_err("a conflict").into_iter().map(|cause| cause.field).collect();
        assert_eq!(fields, [".spec.b"]);
    }

    #[test]
    fn the_annotation_says_what_was_applied_last() {
        let (live, wanted) = (applied_by_client(), with(json!({"a": 1, "nested": {"x": 3}})));
        let merged = apply(&schema(), &live, &wanted, &writer("kubectl"), false).expect("no conflict");
        let last: Value = serde_json::from_str(annotation(&merged).expect("the annotation")).expect("JSON");
        assert_eq!(last, wanted);
        let other = apply(&schema(), &live, &with(json!({"nested": {"y": 1}})), &writer("somebody"), false);
        assert_eq!(annotation(&other.expect("no conflict")), annotation(&live));
    }
}
