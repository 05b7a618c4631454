//! Field errors in Kubernetes' form: path, machine-readable reason, and the message kubectl prints.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest excerpt of a wrong value that a message repeats.
const VALUE_CHARS_MAX: usize = 96;

/// One thing that is wrong with one field: a cause of a 422 `Invalid` Status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// Path of the field: `spec.task.name`.
    pub field: String,
    /// The kind of error.
    pub reason: Reason,
    /// In Kubernetes' wording: `Invalid value: "x": must be ...`.
    pub message: String,
}

/// The kinds of field errors, under the names that Kubernetes' clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// It must be there.
    #[serde(rename = "FieldValueRequired")]
    Required,
    /// Its value breaks a rule.
    #[serde(rename = "FieldValueInvalid")]
    Invalid,
    /// Its value has the wrong type.
    #[serde(rename = "FieldValueTypeInvalid")]
    TypeInvalid,
    /// It stands there twice.
    #[serde(rename = "FieldValueDuplicate")]
    Duplicate,
    /// Its value is none of those allowed.
    #[serde(rename = "FieldValueNotSupported")]
    NotSupported,
    /// It must not be there, or must not change.
    #[serde(rename = "FieldValueForbidden")]
    Forbidden,
    /// Its value is too long.
    #[serde(rename = "FieldValueTooLong")]
    TooLong,
    /// What it names does not exist.
    #[serde(rename = "FieldValueNotFound")]
    NotFound,
}

impl Reason {
    /// The name under which clients know it: `FieldValueRequired`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FieldError {
    /// `Required value: detail`.
    pub fn required(field: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(field, Reason::Required, format!("Required value: {detail}"))
    }

    /// `Invalid value: "value": detail`.
    pub fn invalid(field: impl fmt::Display, value: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(field, Reason::Invalid, format!("Invalid value: {}: {detail}", quoted(value)))
    }

    /// `Invalid value: "value": detail`, for a value of the wrong type.
    pub fn type_invalid(field: impl fmt::Display, value: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(field, Reason::TypeInvalid, format!("Invalid value: {}: {detail}", quoted(value)))
    }

    /// `Duplicate value: "value"`.
    pub fn duplicate(field: impl fmt::Display, value: impl fmt::Display) -> Self {
        Self::new(field, Reason::Duplicate, format!("Duplicate value: {}", quoted(value)))
    }

    /// `Unsupported value: "value": supported values: "a", "b"`.
    pub fn not_supported(field: impl fmt::Display, value: impl fmt::Display, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(quoted).collect();
        let message = format!("Unsupported value: {}: supported values: {}", quoted(value), supported.join(", "));
        Self::new(field, Reason::NotSupported, message)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(field, Reason::Forbidden, format!("Forbidden: {detail}"))
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: impl fmt::Display, bytes_max: usize) -> Self {
        Self::new(field, Reason::TooLong, format!("Too long: may not be more than {bytes_max} bytes"))
    }

    /// `Not found: "value"`, with what to do about it when there is something.
    pub fn not_found(field: impl fmt::Display, value: impl fmt::Display, help: Option<&str>) -> Self {
        let help = help.map(|text| format!(": {text}")).unwrap_or_default();
        Self::new(field, Reason::NotFound, format!("Not found: {}{help}", quoted(value)))
    }

    fn new(field: impl fmt::Display, reason: Reason, message: String) -> Self {
        Self { field: field.to_string(), reason, message }
    }
}

/// In double quotes, cut when long.
fn quoted(value: impl fmt::Display) -> String {
    let text = value.to_string();
    let mut excerpt: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    format!("{excerpt:?}")
}

/// A field path under construction: `spec.grants[2].indexes`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(String);

impl FieldPath {
    /// Starts at a top-level field; the empty text is the object itself.
    pub fn new(field: &str) -> Self {
        Self(field.to_owned())
    }

    /// A field of the object at this path.
    #[must_use]
    pub fn child(&self, field: &str) -> Self {
        if self.0.is_empty() { Self(field.to_owned()) } else { Self(format!("{}.{field}", self.0)) }
    }

    /// An entry of the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// An element of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<root>" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_worded_as_kubernetes_words_them() {
        let path = FieldPath::new("spec").child("grants").index(2).child("a").key("x/y");
        assert_eq!(path.to_string(), "spec.grants[2].a[x/y]");
        let error = FieldError::not_supported(&path, "b", &["c", "d"]);
        assert_eq!(error.message, r#"Unsupported value: "b": supported values: "c", "d""#);
        assert_eq!(FieldError::required("spec.a", "say it").to_string(), "spec.a: Required value: say it");
        assert_eq!(FieldError::not_found("a", "b", None).message, r#"Not found: "b""#);
    }

    #[test]
    fn a_reason_reads_the_same_as_json_and_as_text() {
        for reason in [Reason::Required, Reason::TypeInvalid, Reason::NotFound, Reason::TooLong] {
            assert_eq!(serde_json::to_value(reason).expect("encodes"), reason.as_str());
        }
    }

    #[test]
    fn an_enormous_value_is_cut() {
        assert!(FieldError::invalid("a", "x".repeat(10_000), "no").message.len() < 200);
    }
}
