//! The schemas of our kinds, as their CRDs state them, with `apiVersion`, `kind` and `metadata` spelt out.

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{Assignment, CachedResult, Job, ManifestSource, Queue, Subtask, Task, Token};

/// The schema of one of our kinds, by its name: `Job`.
pub fn schema(kind: &str) -> Option<&'static Value> {
    SCHEMAS.get(kind).map(|kind| &kind.schema)
}

/// True for a kind of ours that lives in a namespace; none for a kind that is not ours.
pub fn is_namespaced(kind: &str) -> Option<bool> {
    SCHEMAS.get(kind).map(|kind| kind.is_namespaced)
}

/// The names of our kinds.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    SCHEMAS.keys().map(String::as_str)
}

/// What the walks need to know of a kind.
struct Kind {
    schema: Value,
    is_namespaced: bool,
}

static SCHEMAS: LazyLock<BTreeMap<String, Kind>> = LazyLock::new(|| {
    let definitions = [
        Job::crd(),
        Task::crd(),
        Assignment::crd(),
        Subtask::crd(),
        Queue::crd(),
        CachedResult::crd(),
        ManifestSource::crd(),
        Token::crd(),
    ];
    definitions.into_iter().map(|crd| (crd.spec.names.kind.clone(), Kind::of(crd))).collect()
});

impl Kind {
    fn of(crd: CustomResourceDefinition) -> Self {
        let is_namespaced = crd.spec.scope == "Namespaced";
        let version = crd.spec.versions.into_iter().next();
        let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
        let mut schema = serde_json::to_value(schema).expect("invariant: a schema is JSON");
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("apiVersion".into(), json!({"type": "string", "description": "Group and version."}));
            properties.insert("kind".into(), json!({"type": "string", "description": "The kind of this object."}));
            properties.insert("metadata".into(), metadata());
        }
        Self { schema, is_namespaced }
    }
}

/// ObjectMeta, as far as its fields' names and types go.
fn metadata() -> Value {
    let text = json!({"type": "string", "nullable": true});
    let time = json!({"type": "string", "format": "date-time", "nullable": true});
    let number = json!({"type": "integer", "format": "int64", "nullable": true});
    let flag = json!({"type": "boolean", "nullable": true});
    let texts = json!({"type": "object", "nullable": true, "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "description": "Name, labels and what else every object has.",
        "properties": {
            "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text,
            "resourceVersion": text, "generation": number, "creationTimestamp": time, "deletionTimestamp": time,
            "deletionGracePeriodSeconds": number, "labels": texts, "annotations": texts,
            "finalizers": {"type": "array", "nullable": true, "items": {"type": "string"}},
            "ownerReferences": {"type": "array", "nullable": true, "items": {
                "type": "object",
                "required": ["apiVersion", "kind", "name", "uid"],
                "properties": {
                    "apiVersion": text, "kind": text, "name": text, "uid": text,
                    "controller": flag, "blockOwnerDeletion": flag,
                },
            }},
            "managedFields": {"type": "array", "nullable": true, "items": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema() {
        assert_eq!(
            kinds().collect::<Vec<_>>(),
            ["Assignment", "CachedResult", "Job", "ManifestSource", "Queue", "Subtask", "Task", "Token"]
        );
        for kind in kinds() {
            let schema = schema(kind).expect("a schema");
            assert!(schema["properties"]["spec"]["properties"].is_object(), "{kind}");
        }
        assert_eq!(is_namespaced("Token"), Some(false));
        assert_eq!(is_namespaced("Job"), Some(true));
        assert_eq!(is_namespaced("Pod"), None);
    }
}
