//! Answers: objects and lists in the form that the client asked for.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    call::{Call, text},
    error::ApiError,
    media::Form,
    print::{self, Item, Look, list_metadata},
    registry::{Deleted, ListResult, RecordPage, Written},
    table::IncludeObject,
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
pub(crate) fn object(call: &Call, form: Form, item: Item<'_>) -> Result<Response, ApiError> {
    let mut out = Vec::new();
    print::object(&mut out, call.target.kind, item, look(call, form), jiff::Timestamp::now())?;
    Ok(text_of(StatusCode::OK, out))
}

/// Computed objects as a list in the client's form.
pub(crate) fn list(call: &Call, form: Form, list: &ListResult) -> Result<Response, ApiError> {
    let items: Vec<_> = list.objects.iter().map(Item::Parsed).collect();
    items_list(call, form, &items, &list_metadata(list.revision, list.next.as_deref(), list.remaining))
}

/// Stored objects as a list in the client's form.
pub(crate) fn records(call: &Call, form: Form, page: &RecordPage) -> Result<Response, ApiError> {
    let items = page.records.iter().map(Item::of).collect::<Result<Vec<_>, _>>()?;
    items_list(call, form, &items, &list_metadata(page.revision, page.next.as_deref(), page.remaining))
}

fn items_list(call: &Call, form: Form, items: &[Item<'_>], metadata: &Value) -> Result<Response, ApiError> {
    let mut out = Vec::new();
    print::list(&mut out, call.target.kind, items, metadata, look(call, form), jiff::Timestamp::now())?;
    Ok(text_of(StatusCode::OK, out))
}

fn look(call: &Call, form: Form) -> Look {
    Look { form, include: IncludeObject::parse(&call.options.include_object) }
}

fn text_of(code: StatusCode, text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a create, update or patch answers.
pub(crate) fn written(call: &Call, form: Form, written: &Written) -> Result<Response, ApiError> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let item = written.stored.as_ref().map_or(Ok(Item::Parsed(&written.object)), Item::of)?;
    let mut response = object(call, form, item)?;
    *response.status_mut() = code;
    for warning in &written.warnings {
        let quoted: String = warning.chars().take(WARNING_BYTES_MAX).flat_map(escaped).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(response)
}

/// A character as it may stand in a quoted string of a header.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let is_special = matches!(character, '"' | '\\');
    let shown = if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    is_special.then_some('\\').into_iter().chain(std::iter::once(shown))
}

/// What a delete answers.
pub(crate) fn deleted(call: &Call, form: Form, deleted: &Deleted) -> Result<Response, ApiError> {
    match deleted {
        Deleted::Pending(pending) => object(call, form, Item::Parsed(pending)),
        Deleted::Gone(gone) => {
            let kind = call.target.kind;
            let mut details = json!({
                "name": call.target.name, "kind": kind.plural, "uid": text(&gone["metadata"]["uid"]),
            });
            if !kind.group.is_empty() {
                details["group"] = kind.group.into();
            }
            Ok(json(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                "code": 200,
            })))
        }
    }
}
