//! Patches: the live object and a document that says how it should change.
//!
//! In: JSON and JSON. Out: JSON, or what is wrong with the document. Pure.

mod strategic;

use serde_json::Value;

use super::{
    call::Target,
    error::{ApiError, Cause, reasons},
};

pub(crate) use strategic::strategic;

/// RFC 6902.
pub(crate) fn json(target: &Target, live: &Value, operations: &Value) -> Result<Value, ApiError> {
    let operations: json_patch::Patch = serde_json::from_value(operations.clone())
        .map_err(|error| ApiError::BadRequest(format!("error decoding the JSON patch: {error}")))?;
    let mut patched = live.clone();
    json_patch::patch(&mut patched, &operations).map_err(|error| {
        let message = format!("the server rejected our request due to an error in our request: {error}");
        ApiError::Invalid {
            subject: target.subject(),
            causes: vec![Cause::new(reasons::INVALID, error.path.to_string(), message)],
        }
    })?;
    Ok(patched)
}

/// RFC 7386.
pub(crate) fn merge(live: &Value, document: &Value) -> Result<Value, ApiError> {
    if !document.is_object() {
        return Err(ApiError::BadRequest(
            "a merge patch must be a JSON object; send a list of operations as application/json-patch+json".to_owned(),
        ));
    }
    let mut patched = live.clone();
    json_patch::merge(&mut patched, document);
    Ok(patched)
}
