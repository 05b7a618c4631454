//! ConfigMaps and Secrets: keys that can be file names, and what may not change.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::super::{
    call::text,
    error::{Cause, reasons},
};

/// Longest key, as upstream.
const KEY_BYTES_MAX: usize = 253;
/// Bytes of all values together, as upstream.
const BYTES_MAX: usize = 1 << 20;

/// Takes over `stringData` into `data`, and says which type a Secret without one has.
pub(super) fn default_secret(secret: &mut Value) {
    let given = secret.as_object_mut().and_then(|map| map.shift_remove("stringData"));
    for (key, value) in given.as_ref().and_then(Value::as_object).into_iter().flatten() {
        secret["data"][key] = STANDARD.encode(text(value)).into();
    }
    if text(&secret["type"]).is_empty() {
        secret["type"] = "Opaque".into();
    }
}

/// Rules of a new object.
pub(super) fn validate(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let decoded = |part: &str| -> usize {
        entries(object, part).map(|(_, value)| STANDARD.decode(text(value)).map_or(0, |bytes| bytes.len())).sum()
    };
    let size = if object["kind"] == "Secret" {
        decoded("data")
    } else {
        entries(object, "data").map(|(_, value)| text(value).len()).sum::<usize>() + decoded("binaryData")
    };
    if size > BYTES_MAX {
        let message = format!("Too long: may not be more than {BYTES_MAX} bytes");
        causes.push(Cause::new(reasons::TOO_LONG, "data", message));
    }
    for part in ["data", "binaryData", "stringData"] {
        for key in entries(object, part).map(|(key, _)| key) {
            let is_legal = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if key.is_empty() || key.len() > KEY_BYTES_MAX || !is_legal || key == "." || key.starts_with("..") {
                let message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
                causes.push(Cause::invalid(format!("{part}[{key}]"), &json!(key), message));
            }
        }
    }
    if object["kind"] == "ConfigMap" {
        let twice = entries(object, "binaryData").filter(|(key, _)| object["data"].get(key.as_str()).is_some());
        causes.extend(twice.map(|(key, _)| {
            Cause::invalid(format!("data[{key}]"), &json!(key), "duplicate of key present in binaryData")
        }));
    }
    causes
}

fn entries<'a>(object: &'a Value, part: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object[part].as_object().into_iter().flat_map(Map::iter)
}

/// Rules of a change.
pub(super) fn validate_update(old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = validate(new);
    if new["kind"] == "Secret" && old["type"] != new["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
    if old["immutable"] == true {
        let parts = ["immutable", "data", "binaryData"].into_iter().filter(|part| old[*part] != new[*part]);
        causes.extend(
            parts.map(|part| {
                Cause::new(reasons::FORBIDDEN, part, "Forbidden: field is immutable when `immutable` is set")
            }),
        );
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"kind": "Secret", "data": {"a": "MQ=="}, "stringData": {"b": "2"}});
        default_secret(&mut secret);
        assert_eq!(secret, json!({"kind": "Secret", "data": {"a": "MQ==", "b": "Mg=="}, "type": "Opaque"}));
    }

    #[test]
    fn keys_are_file_names_and_immutable_means_it() {
        let fields = |causes: Vec<Cause>| causes.into_iter().map(|cause| cause.field).collect::<Vec<_>>();
        let map = json!({"kind": "ConfigMap", "data": {"a/b": "", "ok.txt": "", "..x": "", "twice": ""}, "binaryData": {"twice": ""}});
        assert_eq!(fields(validate(&map)), ["data[a/b]", "data[..x]", "data[twice]"]);
        let large = json!({"kind": "ConfigMap", "data": {"a": "x".repeat(BYTES_MAX), "b": "x"}});
        assert_eq!(fields(validate(&large)), ["data"]);
        let just_fits = json!({"kind": "ConfigMap", "binaryData": {"a": STANDARD.encode(vec![0; BYTES_MAX])}});
        assert_eq!(fields(validate(&just_fits)), Vec::<String>::new());
        let old = json!({"kind": "Secret", "type": "Opaque", "immutable": true, "data": {"a": "MQ=="}});
        let mut new = old.clone();
        assert_eq!(fields(validate_update(&old, &new)), Vec::<String>::new());
        new["data"]["a"] = "Mg==".into();
        new["type"] = "other".into();
        assert_eq!(fields(validate_update(&old, &new)), ["type", "data"]);
    }
}
