//! OpenAPI v3: one document a group and version, made from the kinds' schemas. `kubectl apply`, `create`,
//! `edit` and `explain` read it.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemas::Digest;
use serde_json::{Map, Value, json};

use super::{
    kinds::{self, KINDS, Kind},
    schema::OBJECT_META,
};

const OBJECT_META_NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// A document's URL carries its hash, so a client may keep it for as long as it likes: a year, in seconds.
const CACHE_FOR_EVER: &str = "public, max-age=31536000, immutable";

/// One rendered document.
struct Document {
    hash: String,
    bytes: Bytes,
}

/// Documents by their path: `api/v1`, `apis/GROUP/VERSION`.
static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(|| {
    let versions = kinds::group_versions().into_iter();
    versions
        .map(|(group, version)| {
            let bytes = document(group, version).to_string().into_bytes();
            let hash = Digest::of(&bytes).hex()[..32].to_uppercase();
            (root(group, version), Document { hash, bytes: bytes.into() })
        })
        .collect()
});

/// `GET /openapi/v3`.
pub(crate) fn index() -> Value {
    let paths: Map<String, Value> = DOCUMENTS
        .iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// `GET /openapi/v3/PATH`.
pub(crate) fn get(path: &str, asked: &HeaderMap) -> Option<Response> {
    let document = DOCUMENTS.get(path.trim_end_matches('/'))?;
    let tag = format!("\"{}\"", document.hash);
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = if known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        document.bytes.clone().into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_FOR_EVER));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Some(response)
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn document(group: &str, version: &str) -> Value {
    let of_group: Vec<_> = KINDS.iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let mut schemas = Map::new();
    schemas.insert(OBJECT_META_NAME.to_owned(), OBJECT_META.clone());
    let mut paths = Map::new();
    for kind in of_group {
        schemas.insert(schema_name(kind), schema(kind));
        schemas.insert(format!("{}List", schema_name(kind)), list_schema(kind));
        add_paths(kind, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "ProcessDistro", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// `dev.processdistro.v1.Job`.
fn schema_name(kind: &Kind) -> String {
    match kind.group {
        "" => format!("io.k8s.api.core.{}.{}", kind.version, kind.name),
        group => {
            let reversed: Vec<_> = group.split('.').rev().collect();
            format!("{}.{}.{}", reversed.join("."), kind.version, kind.name)
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn group_version_kind(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.name})
}

fn schema(kind: &Kind) -> Value {
    let mut schema = kind.schema.clone();
    schema["properties"]["metadata"] = json!({
        "description": "Standard object's metadata.", "allOf": [reference(OBJECT_META_NAME)], "default": {},
    });
    schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind)]);
    schema
}

fn list_schema(kind: &Kind) -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "items": {"type": "array", "items": reference(&schema_name(kind))},
        },
        "x-kubernetes-group-version-kind":
            [{"group": kind.group, "version": kind.version, "kind": format!("{}List", kind.name)}],
    })
}

fn query(name: &str, type_: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": type_, "uniqueItems": true}})
}

fn write_parameters(action: &str) -> Vec<Value> {
    let mut parameters = vec![
        query("dryRun", "string", "`All`: do everything but store."),
        query("fieldManager", "string", "Who the fields of this write belong to."),
        query("fieldValidation", "string", "`Strict`, `Warn` or `Ignore`: what to do with unknown fields."),
    ];
    if action == "patch" {
        parameters.push(query("force", "boolean", "Take fields from other managers on apply."));
    }
    parameters
}

fn list_parameters() -> Vec<Value> {
    vec![
        query("labelSelector", "string", "Which labels to select."),
        query("fieldSelector", "string", "Which fields to select."),
        query("limit", "integer", "Most objects of one page."),
        query("continue", "string", "Token of the next page."),
        query("resourceVersion", "string", "From when on to watch."),
        query("watch", "boolean", "Watch instead of listing."),
        query("allowWatchBookmarks", "boolean", "Send bookmarks."),
        query("timeoutSeconds", "integer", "How long to watch."),
    ]
}

fn operation(kind: &Kind, action: &str, subject: &Value, parameters: Vec<Value>) -> Value {
    let has_body = matches!(action, "post" | "put" | "patch");
    let mut operation = json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(kind),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": subject}}}},
    });
    if has_body {
        let types: &[&str] = match action {
            "patch" => &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"],
            _ => &["application/json", "application/yaml"],
        };
        let body = if action == "patch" { json!({"type": "object"}) } else { subject.clone() };
        let content: Map<String, Value> =
            types.iter().map(|media_type| ((*media_type).to_owned(), json!({"schema": body}))).collect();
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

fn add_paths(kind: &Kind, paths: &mut Map<String, Value>) {
    let one = reference(&schema_name(kind));
    let list = reference(&format!("{}List", schema_name(kind)));
    let allows = |verb: &str| kind.verbs.contains(&verb);
    let path_parameter =
        |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let (scope, mut parameters) =
        if kind.namespaced { ("/namespaces/{namespace}", vec![path_parameter("namespace")]) } else { ("", Vec::new()) };
    let base = format!("/{}{scope}/{}", root(kind.group, kind.version), kind.plural);

    let mut collection = json!({"parameters": parameters});
    if allows("list") {
        collection["get"] = operation(kind, "list", &list, list_parameters());
    }
    if allows("create") {
        collection["post"] = operation(kind, "post", &one, write_parameters("post"));
    }
    if allows("deletecollection") {
        collection["delete"] = operation(kind, "deletecollection", &list, list_parameters());
    }
    paths.insert(base.clone(), collection);

    parameters.push(path_parameter("name"));
    let mut item = json!({"parameters": parameters});
    for (verb, method) in [("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")] {
        if allows(verb) {
            let parameters = if matches!(method, "put" | "patch") { write_parameters(method) } else { Vec::new() };
            item[method] = operation(kind, method, &one, parameters);
        }
    }
    if item.as_object().is_some_and(|item| item.len() > 1) {
        paths.insert(format!("{base}/{{name}}"), item);
    }
    if kind.has_status {
        let mut status = json!({"parameters": parameters});
        status["get"] = operation(kind, "get", &one, Vec::new());
        for method in ["put", "patch"] {
            status[method] = operation(kind, method, &one, write_parameters(method));
        }
        paths.insert(format!("{base}/{{name}}/status"), status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_kind_has_a_patch_that_kubectl_recognises() {
        for kind in KINDS.iter().filter(|kind| kind.verbs.contains(&"patch")) {
            let document = document(kind.group, kind.version);
            let paths = document["paths"].as_object().expect("paths");
            let patch = paths
                .values()
                .filter_map(|path| path.get("patch"))
                .find(|patch| patch["x-kubernetes-group-version-kind"] == group_version_kind(kind));
            let parameters = patch.expect("a patch operation")["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"), "{}", kind.name);
        }
    }

    #[test]
    fn the_index_names_every_group_version() {
        let index = index();
        for path in ["api/v1", "apis/processdistro.dev/v1", "apis/coordination.k8s.io/v1"] {
            assert!(index["paths"][path]["serverRelativeURL"].is_string(), "{path}");
            let first = get(path, &HeaderMap::new()).expect("a document");
            let tag = first.headers()[header::ETAG].clone();
            let again = get(path, &HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)])).expect("a document");
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        }
    }
}
