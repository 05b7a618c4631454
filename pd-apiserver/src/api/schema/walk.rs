//! The walk over a structural schema: OpenAPI v3 as CRDs may use it.
//!
//! In: a schema and a value. Out: findings; the value loses its unknown fields and its nulls.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use super::{
    super::{
        error::{Cause, reasons},
        kinds::KINDS,
    },
    Findings,
};

/// Every pattern of every schema, compiled once.
static PATTERNS: LazyLock<BTreeMap<String, Regex>> = LazyLock::new(|| {
    fn collect(schema: &Value, found: &mut BTreeMap<String, Regex>) {
        match schema {
            Value::Object(map) => {
                let pattern = map.get("pattern").and_then(Value::as_str);
                if let Some((pattern, Ok(regex))) = pattern.map(|pattern| (pattern, Regex::new(pattern))) {
                    found.insert(pattern.to_owned(), regex);
                }
                map.values().for_each(|part| collect(part, found));
            }
            Value::Array(list) => list.iter().for_each(|part| collect(part, found)),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    KINDS.iter().for_each(|kind| collect(&kind.schema, &mut found));
    found
});

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub(super) fn walk(schema: &Value, value: &mut Value, path: &str, findings: &mut Findings) {
    if !has_right_type(schema, value) {
        let wanted = schema["type"].as_str().unwrap_or("integer or string");
        let message = format!("Invalid value: {}: must be of type {wanted}", brief(value));
        findings.causes.push(Cause::new(reasons::TYPE_INVALID, path, message));
        return;
    }
    match value {
        Value::Object(map) => walk_object(schema, map, path, findings),
        Value::Array(list) => walk_array(schema, list, path, findings),
        _ => check_scalar(schema, value, path, findings),
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    }
}

fn has_right_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => true,
    }
}

fn walk_object(schema: &Value, map: &mut Map<String, Value>, path: &str, findings: &mut Findings) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let additional = &schema["additionalProperties"];
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true || *additional == true;
    let keeps = preserves || additional.is_object();
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();

    map.retain(|key, value| {
        if let Some(schema) = properties.get(key) {
            if value.is_null() {
                return false;
            }
            walk(schema, value, &join(path, key), findings);
        } else if additional.is_object() {
            walk(additional, value, &format!("{path}[{key}]"), findings);
        } else if !keeps {
            findings.unknown(path, key, properties);
        }
        keeps || properties.contains_key(key)
    });
    for name in required {
        if !map.contains_key(name) {
            findings.causes.push(Cause::required(join(path, name), ""));
        }
    }
}

fn walk_array(schema: &Value, list: &mut [Value], path: &str, findings: &mut Findings) {
    if let Some(items) = schema.get("items") {
        for (at, item) in list.iter_mut().enumerate() {
            walk(items, item, &format!("{path}[{at}]"), findings);
        }
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let keys: Vec<&str> = keys.collect();
    if keys.is_empty() {
        return;
    }
    let mut seen: Vec<Vec<&Value>> = Vec::new();
    for (at, item) in list.iter().enumerate() {
        let key: Vec<_> = keys.iter().map(|key| &item[*key]).collect();
        if seen.contains(&key) {
            let message = format!("Duplicate value: {}", key.iter().copied().cloned().collect::<Value>());
            findings.causes.push(Cause::new(reasons::DUPLICATE, format!("{path}[{at}]"), message));
        }
        seen.push(key);
    }
}

fn check_scalar(schema: &Value, value: &Value, path: &str, findings: &mut Findings) {
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let names: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let mut message = format!("Unsupported value: {value}: supported values: {}", names.join(", "));
        let texts = allowed.iter().filter_map(Value::as_str);
        if let Some(nearest) = value.as_str().and_then(|word| super::nearest(word, texts)) {
            message.push_str("; did you mean \"");
            message.push_str(nearest);
            message.push_str("\"?");
        }
        findings.causes.push(Cause::new(reasons::NOT_SUPPORTED, path, message));
    }
    if let Some(number) = value.as_f64() {
        if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
            findings.causes.push(Cause::invalid(path, value, &format!("must be at least {least}")));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
            findings.causes.push(Cause::invalid(path, value, &format!("must be at most {most}")));
        }
    }
    if let (Some(text), Some(pattern)) = (value.as_str(), schema["pattern"].as_str())
        && PATTERNS.get(pattern).is_some_and(|regex| !regex.is_match(text))
    {
        findings.causes.push(Cause::invalid(path, value, &wanted_form(schema, pattern)));
    }
}

/// What a text should have looked like.
fn wanted_form(schema: &Value, pattern: &str) -> String {
    let form = match pattern {
        p if p.contains("sha256") => "a digest: `sha256:` and 64 lower-case hexadecimal digits",
        p if p.contains("Ki|Mi") => "a size: write it like `64Mi`, `1.5Gi` or a number of bytes",
        p if p.contains("ns|us|ms") => "a duration: write it like `300s`, `1m 30s` or `24h`",
        _ => return schema["description"].as_str().map_or_else(|| format!("must match {pattern}"), str::to_owned),
    };
    format!("must be {form}")
}
