//! Answers: objects and lists in the form that the client asked for.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    call::{Call, text},
    media::Form,
    registry::{Deleted, ListResult, Written},
    table::{IncludeObject, partial, table},
};

/// Most bytes of one `Warning` header; longer ones are cut.
const WARNING_BYTES_MAX: usize = 1_024;

/// 200 with a document.
pub(crate) fn json(value: Value) -> Response {
    axum::Json(value).into_response()
}

/// 201 with a document.
pub(crate) fn created(value: Value) -> Response {
    (StatusCode::CREATED, axum::Json(value)).into_response()
}

/// One object in the client's form.
pub(crate) fn object(call: &Call, form: Form, object: &Value) -> Response {
    axum::Json(shaped(call, form, object)).into_response()
}

fn shaped<'a>(call: &Call, form: Form, object: &'a Value) -> Cow<'a, Value> {
    match form {
        Form::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let include = IncludeObject::parse(&call.options.include_object);
            let now = jiff::Timestamp::now();
            Cow::Owned(table(call.target.kind, std::slice::from_ref(object), metadata, include, now))
        }
        Form::Partial => Cow::Owned(partial(object)),
        Form::Json | Form::Discovery(_) => Cow::Borrowed(object),
    }
}

/// A list in the client's form.
pub(crate) fn list(call: &Call, form: Form, list: &ListResult) -> Response {
    let kind = call.target.kind;
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if let Some(next) = &list.next {
        metadata["continue"] = next.as_str().into();
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let include = IncludeObject::parse(&call.options.include_object);
    json(match form {
        Form::Table => table(kind, &list.objects, metadata, include, jiff::Timestamp::now()),
        Form::Partial => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": list.objects.iter().map(partial).collect::<Vec<_>>(),
        }),
        Form::Json | Form::Discovery(_) => json!({
            "kind": format!("{}List", kind.name), "apiVersion": kind.api_version(), "metadata": metadata,
            "items": list.objects,
        }),
    })
}

/// What a create, update or patch answers.
pub(crate) fn written(call: &Call, form: Form, written: &Written) -> Response {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (code, axum::Json(shaped(call, form, &written.object))).into_response();
    for warning in &written.warnings {
        let quoted: String = warning.chars().take(WARNING_BYTES_MAX).flat_map(escaped).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    response
}

/// A character as it may stand in a quoted string of a header.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let is_special = matches!(character, '"' | '\\');
    let shown = if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    is_special.then_some('\\').into_iter().chain(std::iter::once(shown))
}

/// What a delete answers.
pub(crate) fn deleted(call: &Call, form: Form, deleted: &Deleted) -> Response {
    match deleted {
        Deleted::Pending(pending) => object(call, form, pending),
        Deleted::Gone(gone) => {
            let kind = call.target.kind;
            let mut details = json!({
                "name": call.target.name, "kind": kind.plural, "uid": text(&gone["metadata"]["uid"]),
            });
            if !kind.group.is_empty() {
                details["group"] = kind.group.into();
            }
            json(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                "code": 200,
            }))
        }
    }
}
