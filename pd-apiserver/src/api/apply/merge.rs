//! The merge of an applied object into the live one, and the removal of what its manager gave up.

use serde_json::{Map, Value};

use super::{
    fields::{FieldSet, Step},
    shape::{Shape, field_schema, item_key, set_item, shape},
};

/// `live` with everything that `applied` says.
pub(super) fn merge(schema: &Value, live: &Value, applied: &Value) -> Value {
    match (shape(schema, live), shape(schema, applied)) {
        (Shape::Object(live), Shape::Object(applied)) => {
            let mut merged = live.clone();
            for (name, value) in applied {
                let value = match live.get(name) {
                    Some(live) => merge(field_schema(schema, name), live, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::MapList(live, keys), Shape::MapList(applied, _)) => {
            let mut merged = live.to_vec();
            for item in applied {
                let key = item_key(item, &keys);
                match merged.iter_mut().find(|live| item_key(live, &keys) == key) {
                    Some(live) => *live = merge(&schema["items"], live, item),
                    None => merged.push(item.clone()),
                }
            }
            Value::Array(merged)
        }
        (Shape::Set(live), Shape::Set(applied)) => {
            let mut merged = live.to_vec();
            merged.extend(applied.iter().filter(|item| !live.contains(item)).cloned());
            Value::Array(merged)
        }
        _ => applied.clone(),
    }
}

/// Takes out of `object` what was in `previous` and is not in `kept`: nobody owns it any more.
pub(super) fn prune(schema: &Value, object: &mut Value, previous: &FieldSet, kept: &FieldSet) {
    let Some(map) = object.as_object_mut() else { return };
    let metadata = Step::Field("metadata".to_owned());
    for (step, gone) in &previous.children {
        let Step::Field(name) = step else { continue };
        let nothing = FieldSet::default();
        let kept = kept.children.get(step).unwrap_or(&nothing);
        if *step == metadata {
            prune_fields(&schema["properties"]["metadata"], map.get_mut(name), gone, kept);
        } else if kept.is_empty() {
            map.shift_remove(name);
        } else if let Some(value) = map.get_mut(name) {
            prune_below(field_schema(schema, name), value, gone, kept);
        }
    }
}

fn prune_fields(schema: &Value, value: Option<&mut Value>, previous: &FieldSet, kept: &FieldSet) {
    if let Some(value) = value {
        prune_below(schema, value, previous, kept);
    }
}

/// Removes the children of `value` that nobody keeps; `value` itself stays.
fn prune_below(schema: &Value, value: &mut Value, previous: &FieldSet, kept: &FieldSet) {
    let nothing = FieldSet::default();
    for (step, gone) in &previous.children {
        let kept = kept.children.get(step).unwrap_or(&nothing);
        match (step, &mut *value) {
            (Step::Field(name), Value::Object(map)) => prune_field(schema, map, name, gone, kept),
            (Step::Key(_), Value::Array(list)) => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                let keys: Vec<&str> = keys.filter_map(Value::as_str).collect();
                let Some(at) = list.iter().position(|item| item_key(item, &keys) == *step) else { continue };
                if kept.is_empty() {
                    list.remove(at);
                } else {
                    prune_below(&schema["items"], &mut list[at], gone, kept);
                }
            }
            (Step::Item(_), Value::Array(list)) if kept.is_empty() => list.retain(|item| set_item(item) != *step),
            _ => {}
        }
    }
}

fn prune_field(schema: &Value, map: &mut Map<String, Value>, name: &str, gone: &FieldSet, kept: &FieldSet) {
    if kept.is_empty() {
        map.shift_remove(name);
    } else if let Some(value) = map.get_mut(name) {
        prune_below(field_schema(schema, name), value, gone, kept);
    }
}
