//! Fields that the schema does not know, each with the name that was probably meant.

use std::fmt;

use serde_json::Value;

use super::{FINDINGS_MAX, is_open, property};
use crate::validation::FieldPath;

/// A field that the schema does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Its path: `spec.tsk`.
    pub path: String,
    /// The known name beside it that looks most like it, or the path where the same name is known.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown field {:?}", self.path)?;
        self.suggestion.as_ref().map_or(Ok(()), |known| write!(f, ", did you mean {known:?}?"))
    }
}

/// Every field of `value` that `schema` does not know; at most 64.
pub fn unknown_fields(schema: &Value, value: &Value) -> Vec<UnknownField> {
    let mut walk = Walk { root: schema, found: Vec::new() };
    walk.visit(schema, value, &FieldPath::default());
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    found: Vec<UnknownField>,
}

impl Walk<'_> {
    fn visit(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        match value {
            Value::Object(fields) if schema.get("additionalProperties").is_some_and(Value::is_object) => {
                for (name, field) in fields {
                    if let Some(schema) = property(schema, name) {
                        self.visit(schema, field, &path.key(name));
                    }
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    match property(schema, name) {
                        Some(schema) => self.visit(schema, field, &path.child(name)),
                        None if is_open(schema) => {}
                        None => self.report(schema, name, path),
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.visit(schema, item, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn report(&mut self, schema: &Value, name: &str, path: &FieldPath) {
        if self.found.len() >= FINDINGS_MAX {
            return;
        }
        let siblings = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let sibling = nearest(name, siblings.map(|(name, _)| name.as_str()));
        let elsewhere = || {
            let mut places = Vec::new();
            places_of(name, self.root, &FieldPath::default(), &mut places);
            places.into_iter().find(|place| !place.starts_with("status"))
        };
        let suggestion = sibling.map(str::to_owned).or_else(elsewhere);
        self.found.push(UnknownField { path: path.child(name).to_string(), suggestion });
    }
}

/// The known name that looks most like `name`, if one does: case, dashes and underscores do not count.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let wanted = plain(name);
    let distance_max = (wanted.len() / 3).max(1);
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(&wanted, &plain(known)), known));
    distances.filter(|(distance, _)| *distance <= distance_max).min().map(|(_, known)| known)
}

/// Paths under which the schema knows a field of exactly this name.
fn places_of(name: &str, schema: &Value, path: &FieldPath, places: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (known, property) in properties.into_iter().flatten() {
        let path = path.child(known);
        if known == name {
            places.push(path.to_string());
        }
        places_of(name, property, &path, places);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validation::structural::schema;

    #[test]
    fn unknown_fields_come_with_what_was_meant() {
        let job = json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Job", "metdata": {},
            "metadata": {"name": "x", "label": {}, "labels": {"any": "thing"}},
            "spec": {
                "task": {"name": "noop", "params": {"whatever": {"is": "fine"}}, "input": {}},
                "paralelism": 3, "subtask_timeout": "1s", "params": {}, "zebra": 1,
            },
        });
        let found: Vec<String> =
            unknown_fields(schema("Job").expect("Job"), &job).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                r#"unknown field "metdata", did you mean "metadata"?"#,
                r#"unknown field "metadata.label", did you mean "labels"?"#,
                r#"unknown field "spec.task.input", did you mean "inputs"?"#,
                r#"unknown field "spec.paralelism", did you mean "parallelism"?"#,
                r#"unknown field "spec.subtask_timeout", did you mean "subtaskTimeout"?"#,
                r#"unknown field "spec.params", did you mean "spec.task.params"?"#,
                r#"unknown field "spec.zebra""#,
            ]
        );
    }

    #[test]
    fn a_flood_is_cut() {
        let fields: serde_json::Map<String, Value> = (0..10_000).map(|n| (format!("f{n}"), Value::Null)).collect();
        let found = unknown_fields(schema("Job").expect("Job"), &json!({"spec": fields}));
        assert_eq!(found.len(), FINDINGS_MAX);
    }
}
