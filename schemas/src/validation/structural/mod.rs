//! Walks over untyped objects by their schema: what serde would say one error at a time, said at once.
//!
//! In: a kind's structural schema (as in its CRD) and a JSON value. Out: unknown fields with the name that
//! was probably meant, values of the wrong type or form with their field paths, or the value with the
//! schema's defaults. Honours `x-kubernetes-preserve-unknown-fields` and `x-kubernetes-int-or-string`.

mod defaults;
mod kinds;
mod types;
mod unknown;

use serde_json::Value;

pub use defaults::{apply_defaults, default_value};
pub use kinds::{is_namespaced, kinds, schema};
pub use types::type_errors;
pub use unknown::{UnknownField, nearest, unknown_fields};

/// Most findings of one walk: a person reads no more, and a hostile object cannot make an answer of megabytes.
const FINDINGS_MAX: usize = 64;

/// The schema of one property, when the object's schema names it or allows any name.
fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let named = schema.get("properties").and_then(|properties| properties.get(name));
    named.or_else(|| schema.get("additionalProperties").filter(|any| any.is_object()))
}

/// True when the schema says nothing about the fields of its object, or wants to know nothing about them.
fn is_open(schema: &Value) -> bool {
    let says = |keyword: &str| schema.get(keyword) == Some(&Value::Bool(true));
    says("x-kubernetes-preserve-unknown-fields")
        || says("additionalProperties")
        || (schema.get("properties").is_none() && schema.get("additionalProperties").is_none())
}
