//! Strategic merge patch, for built-in kinds: lists with a merge key are merged by it.
//!
//! kubectl sends it to Nodes (cordon, taint) and when it applies Namespaces.

use serde_json::{Map, Value};

use super::super::error::ApiError;

/// Merge keys of the lists of the kinds we serve, by the name of the list's field. All other lists are
/// replaced as a whole, as upstream's struct tags say.
const MERGE_KEYS: [(&str, &str); 4] =
    [("conditions", "type"), ("addresses", "type"), ("ownerReferences", "uid"), ("volumesAttached", "name")];
/// Lists of plain values that are merged as sets.
const SETS: [&str; 1] = ["finalizers"];
/// Directive in an object.
const PATCH: &str = "$patch";

/// `live` as the patch wants it.
pub(crate) fn strategic(live: &Value, document: &Value) -> Result<Value, ApiError> {
    let (Some(live), Some(document)) = (live.as_object(), document.as_object()) else {
        return Err(ApiError::BadRequest("a strategic merge patch must be a JSON object".to_owned()));
    };
    Ok(Value::Object(merge_objects(live, document)?))
}

fn merge_objects(live: &Map<String, Value>, patch: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Map::new()),
        Some("merge") | None => {}
        Some(other) => {
            return Err(ApiError::BadRequest(format!("unknown strategic merge directive `$patch: {other}`")));
        }
    }
    let mut merged = live.clone();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(Value::Array(items)) = merged.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
        } else if key == "$retainKeys" {
            let kept = value.as_array().map_or(&[][..], Vec::as_slice);
            merged.retain(|name, _| kept.iter().any(|key| key == name.as_str()));
        } else if !key.starts_with('$') {
            merge_field(&mut merged, key, value)?;
        }
    }
    Ok(merged)
}

fn merge_field(merged: &mut Map<String, Value>, key: &str, value: &Value) -> Result<(), ApiError> {
    let merge_key = MERGE_KEYS.iter().find(|(list, _)| *list == key).map(|(_, key)| *key);
    let new = match (merged.get(key), value) {
        (_, Value::Null) => {
            merged.shift_remove(key);
            return Ok(());
        }
        (Some(Value::Object(live)), Value::Object(patch)) => Value::Object(merge_objects(live, patch)?),
        (None, Value::Object(patch)) => Value::Object(merge_objects(&Map::new(), patch)?),
        (live, Value::Array(patch)) if merge_key.is_some() => {
            let live = live.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            Value::Array(merge_lists(live, patch, merge_key.unwrap_or_default())?)
        }
        (Some(Value::Array(live)), Value::Array(patch)) if SETS.contains(&key) => {
            let mut items = live.clone();
            items.extend(patch.iter().filter(|item| !live.contains(item)).cloned());
            Value::Array(items)
        }
        (_, other) => other.clone(),
    };
    merged.insert(key.to_owned(), new);
    Ok(())
}

fn merge_lists(live: &[Value], patch: &[Value], key: &str) -> Result<Vec<Value>, ApiError> {
    let is_replacing = patch.iter().any(|item| item[PATCH] == "replace" && item.get(key).is_none());
    let mut merged = if is_replacing { Vec::new() } else { live.to_vec() };
    for item in patch {
        let Some(item) = item.as_object() else {
            return Err(ApiError::BadRequest(format!("items of a list with merge key `{key}` must be objects")));
        };
        let Some(id) = item.get(key) else { continue };
        let at = merged.iter().position(|live| live.get(key) == Some(id));
        match (at, item.get(PATCH).and_then(Value::as_str)) {
            (Some(at), Some("delete")) => {
                merged.remove(at);
            }
            (None, Some("delete")) => {}
            (Some(at), _) => {
                let live = merged[at].as_object().cloned().unwrap_or_default();
                merged[at] = Value::Object(merge_objects(&live, item)?);
            }
            (None, _) => merged.push(Value::Object(without_directives(item))),
        }
    }
    Ok(merged)
}

fn without_directives(object: &Map<String, Value>) -> Map<String, Value> {
    object.iter().filter(|(key, _)| !key.starts_with('$')).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_merge_by_type_and_taints_are_replaced() {
        let live = json!({
            "spec": {"taints": [{"key": "a"}], "unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}, {"type": "Disk"}]},
        });
        let patch = json!({
            "spec": {"taints": [{"key": "b"}], "unschedulable": null},
            "status": {
                "$setElementOrder/conditions": [{"type": "Ready"}],
                "conditions": [{"type": "Ready", "status": "False"}, {"type": "Disk", "$patch": "delete"}, {"type": "New"}],
            },
        });
        assert_eq!(
            strategic(&live, &patch).expect("a patch"),
            json!({
                "spec": {"taints": [{"key": "b"}]},
                "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "New"}]},
            })
        );
    }
}
