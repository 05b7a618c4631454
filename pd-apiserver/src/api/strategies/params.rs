//! A job's params against the JSON Schema of its task: every error at once, with the field's path.

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::super::{
    error::{Cause, reasons},
    schema::nearest,
};

/// Errors shown of one job's params; a wrong list of a million items has a million errors.
const ERRORS_MAX: usize = 32;
const ROOT: &str = "spec.task.params";

pub(super) fn check(schema: &Value, params: &Map<String, Value>) -> Vec<Cause> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("Invalid value: the task's own params schema is no JSON Schema: {error}");
            return vec![Cause::new(reasons::INVALID, ROOT, message)];
        }
    };
    let params = super::job::as_value(params);
    validator.iter_errors(&params).take(ERRORS_MAX).flat_map(|error| causes(schema, &error)).collect()
}

fn causes(schema: &Value, error: &jsonschema::ValidationError<'_>) -> Vec<Cause> {
    let pointer = error.instance_path().to_string();
    let field = field(&pointer);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_properties(schema, &error.schema_path().to_string());
            unexpected.iter().map(|name| unknown(&field, name, &known)).collect()
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Cause::required(format!("{field}.{name}"), "")]
        }
        ValidationErrorKind::Type { .. } => {
            vec![Cause::new(reasons::TYPE_INVALID, field, format!("Invalid value: {error}"))]
        }
        ValidationErrorKind::Enum { .. } => {
            vec![Cause::new(reasons::NOT_SUPPORTED, field, format!("Unsupported value: {error}"))]
        }
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::AnyOf { .. } => {
            let named = named_values(schema.pointer(&error.schema_path().to_string()));
            let value = error.instance();
            let message = match named.split_last() {
                Some((last, [])) => format!("{value} is not {last}"),
                Some((last, others)) => format!("{value} is neither {} nor {last}", others.join(", ")),
                None => return vec![Cause::new(reasons::INVALID, field, format!("Invalid value: {error}"))],
            };
            vec![Cause::new(reasons::NOT_SUPPORTED, field, format!("Unsupported value: {message}"))]
        }
        _ => vec![Cause::new(reasons::INVALID, field, format!("Invalid value: {error}"))],
    }
}

/// The alternatives of a `oneOf` or an `anyOf`, as JSON, when each is values by name: how an enum with documented variants
/// looks. Else none.
fn named_values(alternatives: Option<&Value>) -> Vec<String> {
    let of_one = |one: &Value| -> Option<Vec<String>> {
        match (one.get("const"), one.get("enum").and_then(Value::as_array)) {
            (Some(value), _) => Some(vec![value.to_string()]),
            (None, Some(values)) => Some(values.iter().map(Value::to_string).collect()),
            (None, None) => None,
        }
    };
    let alternatives = alternatives.and_then(Value::as_array).into_iter().flatten();
    alternatives.map(of_one).collect::<Option<Vec<_>>>().unwrap_or_default().concat()
}

/// `/bounds/0/x` as `spec.task.params.bounds[0].x`.
fn field(pointer: &str) -> String {
    let steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
    steps.fold(ROOT.to_owned(), |path, step| {
        if step.bytes().all(|b| b.is_ascii_digit()) { format!("{path}[{step}]") } else { format!("{path}.{step}") }
    })
}

/// The properties beside the `additionalProperties` at a schema path.
fn known_properties(schema: &Value, schema_path: &str) -> Vec<String> {
    let parent = schema_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema.pointer(parent).and_then(|schema| schema["properties"].as_object());
    properties.into_iter().flat_map(Map::keys).cloned().collect()
}

fn unknown(field: &str, name: &str, known: &[String]) -> Cause {
    let help = match nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => format!("the task knows {}", known.join(", ")),
    };
    Cause::new(reasons::NOT_SUPPORTED, format!("{field}.{name}"), format!("Unsupported value: unknown param: {help}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_wrong_param_is_reported_with_its_path() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["width"],
            "properties": {
                "width": {"type": "integer", "minimum": 1},
                "tileSize": {"type": "integer"},
                "bounds": {"type": "array", "items": {"type": "number"}},
                "palette": {"enum": ["fire", "ice"]},
                "order": {"oneOf": [{"const": "rows", "description": "one by one"}, {"enum": ["tiles", "bands"]}]},
            },
        });
        let params = json!({"tileSzie": 3, "tileSize": "x", "bounds": [1, "y"], "palette": "mud", "order": "none"});
        let found = check(&schema, params.as_object().expect("an object"));
        let mut fields: Vec<_> = found.iter().map(|cause| cause.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "spec.task.params.bounds[1]",
                "spec.task.params.order",
                "spec.task.params.palette",
                "spec.task.params.tileSize",
                "spec.task.params.tileSzie",
                "spec.task.params.width"
            ]
        );
        let order = found.iter().find(|cause| cause.field.ends_with("order")).expect("the order");
        assert_eq!(order.message, r#"Unsupported value: "none" is neither "rows", "tiles" nor "bands""#);
        let typo = found.iter().find(|cause| cause.field.ends_with("tileSzie")).expect("the typo");
        assert!(typo.message.contains("did you mean \"tileSize\"?"), "{}", typo.message);
        assert!(check(&schema, json!({"width": 1}).as_object().expect("an object")).is_empty());
    }
}
