//! Structure: does a JSON object have the shape of its kind?
//!
//! In: a kind and an object that somebody sent. Out: the object without the fields that its kind does not
//! have, the names of those, and every field of the wrong shape. Meaning is the strategies' business.

mod core;
mod object_meta;
mod walk;

use serde_json::{Map, Value};

use super::{
    error::{ApiError, Cause},
    kinds::{Kind, Rules},
    options::FieldValidation,
};

pub(crate) use object_meta::OBJECT_META;

/// What a structural check found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Messages on fields that the kind does not have; they were dropped from the object.
    pub(crate) unknown: Vec<String>,
    /// Fields of the wrong shape.
    pub(crate) causes: Vec<Cause>,
}

impl Findings {
    fn unknown(&mut self, path: &str, key: &str, known: &Map<String, Value>) {
        let path = walk::join(path, key);
        let nearest = nearest(key, known.keys().map(String::as_str));
        self.unknown.push(match nearest {
            Some(name) => format!("unknown field \"{path}\" (did you mean \"{name}\"?)"),
            None => format!("unknown field \"{path}\""),
        });
    }
}

/// Similarity from which on a name is worth suggesting; `paralelism` and `parallelism` are at 0.98.
const SUGGESTION_SIMILARITY_MIN: f64 = 0.8;

/// Nothing, or nothing in it.
pub(crate) fn holds_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The name that `word` was most likely meant to be.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= SUGGESTION_SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Checks `object` against its kind and drops what the kind does not have.
pub(crate) fn check(kind: &Kind, object: &mut Value) -> Result<Findings, ApiError> {
    let mut findings = Findings::default();
    if !kind.is_ours() {
        core::check(kind, object, &mut findings)?;
        return Ok(findings);
    }
    if !object.is_object() {
        return Err(ApiError::BadRequest("the body must be one object".to_owned()));
    }
    walk::walk(&kind.schema, object, "", &mut findings);
    if findings.causes.is_empty() {
        findings.causes.extend(typed_cause(kind, object));
    }
    Ok(findings)
}

/// What the typed kind says of parts that the schema cannot express.
fn typed_cause(kind: &Kind, object: &Value) -> Option<Cause> {
    fn part<T: serde::de::DeserializeOwned>(object: &Value, field: &str) -> Option<Cause> {
        let value = object.get(field)?;
        T::deserialize(value).err().map(|error| {
            let message = format!("Invalid value: {error}");
            Cause::new(super::error::reasons::INVALID, field, message)
        })
    }
    match kind.rules {
        Rules::Job => part::<schemas::JobSpec>(object, "spec").or_else(|| part::<schemas::JobStatus>(object, "status")),
        Rules::Task => {
            part::<schemas::TaskSpec>(object, "spec").or_else(|| part::<schemas::TaskStatus>(object, "status"))
        }
        Rules::Assignment => part::<schemas::AssignmentSpec>(object, "spec")
            .or_else(|| part::<schemas::AssignmentStatus>(object, "status")),
        Rules::Token => {
            part::<schemas::TokenSpec>(object, "spec").or_else(|| part::<schemas::TokenStatus>(object, "status"))
        }
        _ => None,
    }
}

/// Refuses or warns of unknown and duplicate fields, as the request asks. Answers the warnings.
pub(crate) fn judge(
    validation: FieldValidation,
    unknown: Vec<String>,
    duplicates: &[String],
) -> Result<Vec<String>, ApiError> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    let messages: Vec<String> = unknown.into_iter().chain(duplicates).collect();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(messages),
        FieldValidation::Strict if messages.is_empty() => Ok(messages),
        FieldValidation::Strict => Err(ApiError::BadRequest(format!("strict decoding error: {}", messages.join(", ")))),
    }
}
