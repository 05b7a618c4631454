//! Values of the wrong type or form, and required fields that are missing.

use serde_json::Value;

use super::{FINDINGS_MAX, property};
use crate::{
    ByteSize, Digest, Duration, IndexSet, digest, index_set, units,
    validation::{FieldError, FieldPath},
};

/// Every value that does not fit the schema; at most 64. A null counts as absent.
pub fn type_errors(schema: &Value, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    visit(schema, value, &FieldPath::default(), &mut errors);
    errors.truncate(FINDINGS_MAX);
    errors
}

fn visit(schema: &Value, value: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if errors.len() >= FINDINGS_MAX {
        return;
    }
    let text = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        errors.extend(check_int_or_string(value, text("pattern"), path));
        return;
    }
    match (text("type"), value) {
        (Some("object"), Value::Object(_)) => visit_object(schema, value, path, errors),
        (Some("array"), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                visit(schema.get("items").unwrap_or(&Value::Null), item, &path.index(index), errors);
            }
        }
        (Some("string"), Value::String(value)) => errors.extend(check_text(schema, value, path)),
        (Some("integer"), Value::Number(number)) if !number.is_f64() => {
            errors.extend(check_integer(schema, value, path));
        }
        (Some("number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some(wanted), _) => errors.push(wrong_type(wanted, text("pattern"), value, path)),
    }
}

fn visit_object(schema: &Value, value: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Value::Object(fields) = value else { return };
    let is_given = |name: &str| fields.get(name).is_some_and(|field| !field.is_null());
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str).filter(|name| !is_given(name)) {
        let description = property(schema, name).and_then(|schema| schema.get("description")?.as_str());
        let purpose = description.and_then(|text| text.lines().next()).unwrap_or("must be given");
        errors.push(FieldError::required(path.child(name), purpose));
    }
    errors.extend(check_alternatives(schema, is_given, path));
    let is_map = schema.get("additionalProperties").is_some();
    for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
        let path = if is_map { path.key(name) } else { path.child(name) };
        if let Some(schema) = property(schema, name) {
            visit(schema, field, &path, errors);
        }
    }
}

/// `oneOf` over required names: how an enum with values looks in a structural schema.
fn check_alternatives(schema: &Value, is_given: impl Fn(&str) -> bool, path: &FieldPath) -> Option<FieldError> {
    let alternatives = schema.get("oneOf")?.as_array()?;
    let names: Option<Vec<&str>> = alternatives.iter().map(|one| one.get("required")?.get(0)?.as_str()).collect();
    let names = names?;
    let given = names.iter().filter(|name| is_given(name)).count();
    (given != 1).then(|| FieldError::required(path, format!("exactly one of {}", names.join(", "))))
}

fn check_integer(schema: &Value, value: &Value, path: &FieldPath) -> Option<FieldError> {
    let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))?;
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64).map(|bound| bound as i128);
    let (format_min, format_max) = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("uint64") => (0, i128::from(u64::MAX)),
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    let min = bound("minimum").unwrap_or(format_min).max(format_min);
    let max = bound("maximum").unwrap_or(format_max).min(format_max);
    match number {
        _ if number < min => Some(FieldError::invalid(path, number, format!("must be greater than or equal to {min}"))),
        _ if number > max => Some(FieldError::invalid(path, number, format!("must be less than or equal to {max}"))),
        _ => None,
    }
}

fn check_text(schema: &Value, text: &str, path: &FieldPath) -> Option<FieldError> {
    let allowed = schema.get("enum").and_then(Value::as_array);
    if let Some(allowed) = allowed {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        return (!allowed.contains(&text)).then(|| FieldError::not_supported(path, text, &allowed));
    }
    if schema.get("format").and_then(Value::as_str) == Some("date-time") {
        let is_time = text.parse::<jiff::Timestamp>().is_ok();
        return (!is_time).then(|| FieldError::invalid(path, text, "must be a time like `2026-01-31T12:00:00Z`"));
    }
    let form = Form::of(schema.get("pattern")?.as_str()?)?;
    form.problem(text).map(|problem| FieldError::invalid(path, text, problem))
}

fn check_int_or_string(value: &Value, pattern: Option<&str>, path: &FieldPath) -> Option<FieldError> {
    match value {
        Value::Number(number) if number.is_u64() => None,
        Value::Number(_) => Some(FieldError::invalid(path, value, "must not be negative or a fraction")),
        Value::String(text) => {
            let problem = Form::of(pattern?)?.problem(text)?;
            Some(FieldError::invalid(path, text, problem))
        }
        _ => Some(wrong_type("string", pattern, value, path)),
    }
}

fn wrong_type(wanted: &str, pattern: Option<&str>, value: &Value, path: &FieldPath) -> FieldError {
    let form = pattern.and_then(Form::of);
    let detail = match (wanted, value, form) {
        (_, _, Some(form)) => format!("must be {}", form.description()),
        ("string", Value::Number(_) | Value::Bool(_), None) => "must be a string: put it in quotes".to_owned(),
        ("integer" | "number", Value::String(text), None) if text.parse::<f64>().is_ok() => {
            format!("must be {}: write it without quotes", noun(wanted))
        }
        ("boolean", Value::String(_), None) => "must be true or false, without quotes".to_owned(),
        (wanted, value, None) => format!("must be {}, not {}", noun(wanted), kind_of(value)),
    };
    let shown = match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
        other => other.to_string(),
    };
    FieldError::type_invalid(path, shown, detail)
}

fn noun(schema_type: &str) -> &'static str {
    match schema_type {
        "object" => "a mapping",
        "array" => "a list",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "a string",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Our text types, known by the pattern their schemas state.
#[derive(Clone, Copy)]
enum Form {
    Duration,
    ByteSize,
    Digest,
    IndexSet,
}

impl Form {
    fn of(pattern: &str) -> Option<Self> {
        match pattern {
            units::DURATION_PATTERN => Some(Self::Duration),
            units::BYTE_SIZE_PATTERN => Some(Self::ByteSize),
            digest::PATTERN => Some(Self::Digest),
            index_set::PATTERN => Some(Self::IndexSet),
            _ => None,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Duration => "a duration like `300s`, `1m 30s` or `24h`",
            Self::ByteSize => "a size like `64Mi`, `1.5Gi` or a number of bytes",
            Self::Digest => "a digest: `sha256:` and 64 lower-case hexadecimal digits",
            Self::IndexSet => "a set of indexes like `0-511,600`",
        }
    }

    fn problem(self, text: &str) -> Option<String> {
        let is_legal = match self {
            Self::Duration => text.parse::<Duration>().is_ok(),
            Self::ByteSize => text.parse::<ByteSize>().is_ok(),
            Self::Digest => text.parse::<Digest>().is_ok(),
            Self::IndexSet => return text.parse::<IndexSet>().err().map(|error| error.to_string()),
        };
        (!is_legal).then(|| format!("must be {}", self.description()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validation::structural::schema;

    fn messages(kind: &str, value: &Value) -> Vec<String> {
        type_errors(schema(kind).expect("a kind"), value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_wrong_type_is_reported_at_once() {
        let found = messages(
            "Job",
            &json!({
                "metadata": {"labels": {"a": 1}},
                "spec": {
                    "task": {"name": 7, "params": [], "inputs": {"x": "words.txt"}},
                    "parallelism": "4", "backoffLimitPerIndex": -1, "timeout": 300, "subtaskTimeout": "soon",
                    "maxFailedIndexes": 1.5, "resources": {"memory": "64MB"}, "placement": null,
                    "successPolicy": {"succeededCount": 0},
                },
            }),
        );
        let expected = [
            r#"metadata.labels[a]: Invalid value: "1": must be a string: put it in quotes"#,
            r#"spec.task.name: Invalid value: "7": must be a string: put it in quotes"#,
            r#"spec.task.params: Invalid value: "a list": must be a mapping, not a list"#,
            r#"spec.task.inputs[x]: Invalid value: "words.txt": must be a digest: `sha256:` and 64 lower-case hexadecimal digits"#,
            r#"spec.parallelism: Invalid value: "4": must be an integer: write it without quotes"#,
            r#"spec.backoffLimitPerIndex: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.timeout: Invalid value: "300": must be a duration like `300s`, `1m 30s` or `24h`"#,
            r#"spec.subtaskTimeout: Invalid value: "soon": must be a duration like `300s`, `1m 30s` or `24h`"#,
            r#"spec.maxFailedIndexes: Invalid value: "1.5": must be an integer, not a fraction"#,
            r#"spec.resources.memory: Invalid value: "64MB": must be a size like `64Mi`, `1.5Gi` or a number of bytes"#,
            r#"spec.successPolicy.succeededCount: Invalid value: "0": must be greater than or equal to 1"#,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_required_is_said_with_its_purpose() {
        assert_eq!(messages("Job", &json!({}))[0], "spec: Required value: What a Job asks for.");
        assert_eq!(
            messages("Job", &json!({"spec": {"task": null}})),
            ["spec.task: Required value: Which task to run, on what."]
        );
        assert_eq!(
            messages("Token", &json!({"spec": {"role": "admin"}})),
            [r#"spec.role: Unsupported value: "admin": supported values: "Admin", "Edit", "View", "Metrics", "Join""#]
        );
    }

    #[test]
    fn what_serde_accepts_is_accepted() {
        let job = json!({"spec": {"task": {"name": "a"}, "resources": {"memory": 1_048_576}, "timeout": "1m 30s"}});
        assert_eq!(messages("Job", &job), [""; 0]);
        serde_json::from_value::<crate::JobSpec>(job["spec"].clone()).expect("a spec");
    }

    #[test]
    fn an_answer_is_one_of_its_alternatives() {
        let mut status = json!({"spec": {"job": {"name": "a", "uid": "b"}, "nodeName": "n", "nodeUid": "u", "work": {
            "module": format!("sha256:{}", "0".repeat(64)), "memory": "1Mi", "subtaskTimeout": "1s"}}, "status": {"plan": {}}});
        assert_eq!(messages("Assignment", &status), ["status.plan: Required value: exactly one of layout, failed"]);
        status["status"]["plan"] = json!({"layout": {"subtasks": 1, "mediaType": "a/b"}});
        assert_eq!(messages("Assignment", &status), [""; 0]);
    }
}
