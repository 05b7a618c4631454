//! The schema of `metadata`, which is the same for every kind.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// `io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta`.
pub(crate) static OBJECT_META: LazyLock<Value> = LazyLock::new(|| {
    let text = |description: &str| json!({"type": "string", "description": description});
    let texts = |description: &str| json!({"type": "object", "additionalProperties": {"type": "string"}, "description": description});
    json!({
        "description": "ObjectMeta is metadata that all persisted resources must have.",
        "type": "object",
        "properties": {
            "name": text("Name must be unique within a namespace. Cannot be updated."),
            "generateName": text("Prefix from which the server makes a unique name when name is empty."),
            "namespace": text("Namespace defines the space within which each name must be unique."),
            "selfLink": text("Deprecated: no longer filled in by the system."),
            "uid": text("UID is unique in time and space. Set by the server."),
            "resourceVersion": text("Opaque version of the object; for equality and watches only."),
            "generation": {"type": "integer", "format": "int64", "description": "Counts the changes of the desired state."},
            "creationTimestamp": {"type": "string", "format": "date-time", "description": "When the object was created."},
            "deletionTimestamp": {"type": "string", "format": "date-time", "description": "When deletion was asked for."},
            "deletionGracePeriodSeconds": {"type": "integer", "format": "int64", "description": "Grace period of the deletion."},
            "labels": texts("Labels organise and select objects."),
            "annotations": texts("Annotations keep whatever tools need to remember."),
            "ownerReferences": {
                "description": "Objects this object depends on; when all are gone it is deleted.",
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
                "items": {
                    "type": "object",
                    "required": ["apiVersion", "kind", "name", "uid"],
                    "properties": {
                        "apiVersion": text("API version of the owner."),
                        "kind": text("Kind of the owner."),
                        "name": text("Name of the owner."),
                        "uid": text("UID of the owner."),
                        "controller": {"type": "boolean", "description": "True for the managing controller."},
                        "blockOwnerDeletion": {
                            "type": "boolean",
                            "description": "True: a foreground deletion of the owner waits for this object.",
                        },
                    },
                },
            },
            "finalizers": {
                "description": "Must be empty before the object is removed from the registry.",
                "type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"},
            },
            "managedFields": {
                "description": "Which manager owns which fields; kept by the server.",
                "type": "array", "x-kubernetes-list-type": "atomic",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        },
    })
});
