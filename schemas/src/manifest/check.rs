//! What can be said of one document without asking a server.

use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Document, ManifestError, inputs,
    tree::{Node, Source},
};
use crate::{
    validation::{
        FieldError, default_job, default_queue, default_token,
        structural::{self, nearest},
        validate_assignment, validate_job, validate_job_name, validate_metadata, validate_queue, validate_token,
    },
    well_known::{GROUP, VERSION},
};

/// One document as an object, or all that is wrong with it.
pub(super) fn check(source: &Source<'_>, object: Value, node: Option<Node>) -> Result<Document, Vec<ManifestError>> {
    let document = Document::new(source, object, node);
    let mut errors = check_identity(&document);
    if errors.is_empty() && document.api_version == our_version() {
        errors = check_ours(&document);
    }
    if errors.is_empty() {
        return Ok(document);
    }
    errors.sort_by_key(|error| error.span.as_ref().map(|span| span.start));
    Err(errors)
}

fn our_version() -> String {
    format!("{GROUP}/{VERSION}")
}

/// apiVersion, kind, name: what every object has, whoever serves it.
fn check_identity(document: &Document) -> Vec<ManifestError> {
    if !document.object.is_object() {
        let message = "a manifest is a mapping with apiVersion, kind, metadata and spec";
        return vec![document.error("", message)];
    }
    let mut errors = Vec::new();
    for (field, text) in [("apiVersion", &document.api_version), ("kind", &document.kind)] {
        if text.is_empty() {
            let help = match field {
                "apiVersion" => format!("write `apiVersion: {}`", our_version()),
                _ => "write for example `kind: Job`".to_owned(),
            };
            let given = document.object.get(field).filter(|value| !value.is_null() && !value.is_string());
            let message = given.map_or("Required value", |_| "must be a string");
            errors.push(document.error(field, message).with_help(help));
        }
    }
    if errors.is_empty() {
        errors.extend(check_kind(document));
    }
    let metadata = document.object.get("metadata");
    let has_name = |field: &str| metadata.and_then(|metadata| metadata.get(field)).is_some_and(|name| !name.is_null());
    if !has_name("name") && !has_name("generateName") {
        errors.push(document.error("metadata.name", "Required value").with_help("give the object a metadata.name"));
    }
    errors
}

/// Our kinds under other versions, and versions of ours with other kinds.
fn check_kind(document: &Document) -> Option<ManifestError> {
    let (version, kind) = (document.api_version.as_str(), document.kind.as_str());
    let is_kind_ours = structural::schema(kind).is_some();
    if version == our_version() {
        if is_kind_ours {
            return None;
        }
        let help = match nearest(kind, structural::kinds()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => {
                format!("the kinds of {} are {}", our_version(), structural::kinds().collect::<Vec<_>>().join(", "))
            }
        };
        return Some(document.error("kind", format!("unknown kind `{kind}`")).with_help(help));
    }
    let group = version.split('/').next().unwrap_or_default();
    let is_meant = is_kind_ours || nearest(group, [GROUP]).is_some();
    let message = format!("unknown apiVersion `{version}` for kind `{kind}`");
    is_meant.then(|| document.error("apiVersion", message).with_help(format!("write `apiVersion: {}`", our_version())))
}

/// A kind of ours: fields, types, and every rule that needs no server.
fn check_ours(document: &Document) -> Vec<ManifestError> {
    let kind = document.kind.as_str();
    let Some(schema) = structural::schema(kind) else { return Vec::new() };
    let is_job = kind == "Job";
    let object = if is_job { inputs::with_digests(&document.object) } else { document.object.clone() };
    let unknown = structural::unknown_fields(schema, &object);
    let mut errors: Vec<_> = unknown.iter().map(|field| document.unknown_field(field)).collect();
    let mut wrong = structural::type_errors(schema, &object);
    // The rules need a typed object; what the walk has said already is not said again.
    let is_said = |error: &FieldError, said: &[FieldError]| said.iter().any(|known| known.field == error.field);
    let rules = check_rules(kind, object, !wrong.is_empty());
    let news: Vec<FieldError> = rules.into_iter().filter(|error| !is_said(error, &wrong)).collect();
    wrong.extend(news);
    errors.extend(wrong.iter().map(|error| field_error(document, error)));
    errors
}

fn field_error(document: &Document, wrong: &FieldError) -> ManifestError {
    let mut error = document.error(&wrong.field, wrong.message.clone());
    if document.kind == "Job" && wrong.field.starts_with("spec.task.inputs[") {
        error.help = Some("an input is the path of a local file, or the digest of an artifact".into());
    }
    error
}

/// The rules of a kind. They are skipped where the object cannot be read as its type; that this is an error
/// is said only when the walk over its types has found none (`has_type_errors`).
fn check_rules(kind: &str, mut object: Value, has_type_errors: bool) -> Vec<FieldError> {
    let is_namespaced = structural::is_namespaced(kind).unwrap_or(true);
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    let mut errors =
        read("metadata", metadata, has_type_errors, |metadata: &ObjectMeta| validate_metadata(metadata, is_namespaced));
    match kind {
        "Job" => {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).filter(|_| errors.is_empty());
            errors.extend(name.into_iter().flat_map(validate_job_name));
            default_job(&mut object);
            errors.extend(read("spec", take_spec(&mut object), has_type_errors, validate_job));
        }
        "Queue" => {
            default_queue(&mut object);
            errors.extend(read("spec", take_spec(&mut object), has_type_errors, validate_queue));
        }
        "Token" => {
            default_token(&mut object);
            errors.extend(read("spec", take_spec(&mut object), has_type_errors, validate_token));
        }
        "Assignment" => errors.extend(read("spec", take_spec(&mut object), has_type_errors, validate_assignment)),
        _ => {}
    }
    errors
}

fn take_spec(object: &mut Value) -> Value {
    object.get_mut("spec").map(Value::take).unwrap_or_default()
}

fn read<T: DeserializeOwned>(
    field: &str,
    value: Value,
    has_type_errors: bool,
    rules: impl Fn(&T) -> Vec<FieldError>,
) -> Vec<FieldError> {
    match serde_json::from_value::<T>(value) {
        Ok(typed) => rules(&typed),
        Err(_) if has_type_errors => Vec::new(),
        Err(error) => vec![FieldError::type_invalid(field, "a mapping", error)],
    }
}
