//! The params of a Job from the command line: `--params JSON|@FILE` first, `--param KEY=VALUE` over it.

use std::{fs, sync::Arc};

use serde_json::{Map, Value};

use crate::errors::{Diagnosis, Error, Result};

/// All params together.
pub(crate) fn collect(json: Option<&str>, pairs: &[String]) -> Result<Map<String, Value>> {
    let mut params = json.map(from_json).transpose()?.unwrap_or_default();
    for pair in pairs {
        let (key, value) = pair.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| Error::Usage {
            message: format!("--param `{pair}` is not KEY=VALUE"),
            hint: Some("write it like --param count=1000".to_owned()),
        })?;
        params.insert(key.to_owned(), scalar(value));
    }
    Ok(params)
}

/// JSON where it is JSON (`3`, `true`, `[1,2]`, `"3"`), else the text itself.
fn scalar(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// An object, written out or in a file named after an `@`.
fn from_json(argument: &str) -> Result<Map<String, Value>> {
    let (name, text) = match argument.strip_prefix('@') {
        Some(path) => (path, fs::read_to_string(path).map_err(Error::file("read the params from", path))?),
        None => ("--params", argument.to_owned()),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(other) => Err(misplaced(
            name,
            &text,
            0,
            text.trim_end().len(),
            format!("params must be a JSON object, not {}", kind(&other)),
        )),
        Err(error) => {
            let at = offset(&text, error.line(), error.column());
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or(&reason).to_owned();
            Err(misplaced(name, &text, at, 1, format!("the params are not JSON: {reason}")))
        }
    }
}

fn misplaced(name: &str, text: &str, offset: usize, length: usize, message: String) -> Error {
    Error::Manifests(vec![Diagnosis {
        message,
        help: Some("write them like --params '{\"count\": 1000}', or --param count=1000".to_owned()),
        source: Some((name.to_owned(), Arc::from(text))),
        label: Some((offset, length.min(text.len().saturating_sub(offset)), String::new())),
    }])
}

/// Byte offset of serde_json's line and column, both counted from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let at = (before + column.saturating_sub(1)).min(text.len().saturating_sub(1));
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// Whether a param of a schema is the snake_case spelling of another.
pub(crate) fn is_alias(name: &str, schema: &Value) -> bool {
    let mut camel = String::new();
    let mut is_next_upper = false;
    for c in name.chars() {
        match c {
            '_' => is_next_upper = true,
            c if std::mem::take(&mut is_next_upper) => camel.extend(c.to_uppercase()),
            c => camel.push(c),
        }
    }
    camel != name && schema["properties"].get(&camel).is_some()
}

/// The values that a schema allows by name, however it lists them; empty when it allows any.
pub(crate) fn choices(schema: &Value) -> Vec<Value> {
    let listed = schema["enum"].as_array().into_iter().flatten().cloned();
    let one_by_one = ["oneOf", "anyOf"].iter().flat_map(|keyword| schema[*keyword].as_array().into_iter().flatten());
    let named = one_by_one.flat_map(|one| one.get("const").cloned().into_iter().chain(choices(one)));
    listed.chain(named).filter(|value| !value.is_null()).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pairs_go_over_the_json() {
        let pairs = ["count=3", "name=x y", "on=true", "list=[1]", "text=\"3\"", "empty=", "a=b=c"].map(str::to_owned);
        let params = collect(Some(r#"{"count": 1, "kept": null}"#), &pairs).expect("params");
        let expected = json!({"count": 3, "kept": null, "name": "x y", "on": true, "list": [1], "text": "3", "empty": "", "a": "b=c"});
        assert_eq!(Value::Object(params), expected);
    }

    #[test]
    fn a_schema_says_what_it_allows_in_several_ways() {
        let listed = json!({"enum": ["a", null, "b"]});
        let spelt = json!({"oneOf": [{"const": "a", "description": "first"}, {"enum": ["b"]}]});
        assert_eq!(choices(&listed), [json!("a"), json!("b")]);
        assert_eq!(choices(&spelt), [json!("a"), json!("b")]);
        assert!(choices(&json!({"type": "string"})).is_empty());
        let schema = json!({"properties": {"tileSize": {}, "tile_size": {}, "plain_name": {}}});
        assert!(is_alias("tile_size", &schema));
        assert!(!is_alias("tileSize", &schema) && !is_alias("plain_name", &schema));
    }

    #[test]
    fn wrong_json_is_shown_with_its_place() {
        let Err(Error::Manifests(found)) = collect(Some("{\"count\": 1,\n \"x\": }"), &[]) else { panic!("refused") };
        let text = found[0].render(false);
        assert!(text.contains("--params:2:7"), "{text}");
        assert!(text.contains("expected value"), "{text}");
        let Err(Error::Manifests(found)) = collect(Some("[1]"), &[]) else { panic!("refused") };
        assert!(found[0].message.contains("not a list"), "{}", found[0].message);
        assert!(collect(Some(""), &[]).is_err());
        assert_eq!(collect(None, &["x".to_owned()]).map_err(|e| e.exit_code()), Err(2));
    }
}
