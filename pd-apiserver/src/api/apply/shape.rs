//! How a schema cuts a value into fields: granular objects, map lists, sets, and atoms.

use serde_json::{Map, Value};

use super::fields::{FieldSet, Step, canonical};

/// How one value is to be treated.
pub(super) enum Shape<'a> {
    /// Its fields are owned one by one.
    Object(&'a Map<String, Value>),
    /// Its items are owned by key, and their fields one by one.
    MapList(&'a [Value], Vec<&'a str>),
    /// Its items are owned one by one.
    Set(&'a [Value]),
    /// It is owned as a whole.
    Atom,
}

pub(super) fn shape<'a>(schema: &'a Value, value: &'a Value) -> Shape<'a> {
    match value {
        Value::Object(map) if schema["x-kubernetes-map-type"] != "atomic" => Shape::Object(map),
        Value::Array(list) => match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                Shape::MapList(list, keys.filter_map(Value::as_str).collect())
            }
            Some("set") => Shape::Set(list),
            _ => Shape::Atom,
        },
        _ => Shape::Atom,
    }
}

/// The schema of a field: declared, of a map's values, or none.
pub(super) fn field_schema<'a>(schema: &'a Value, name: &str) -> &'a Value {
    match schema["properties"].get(name) {
        Some(declared) => declared,
        None => &schema["additionalProperties"],
    }
}

/// True for a field that the schema names; others are entries of a map, which are owned themselves too.
pub(super) fn is_declared(schema: &Value, name: &str) -> bool {
    schema["properties"].get(name).is_some()
}

/// The step to an item of a map list.
pub(super) fn item_key(item: &Value, keys: &[&str]) -> Step {
    let key: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect();
    Step::Key(canonical(&Value::Object(key)))
}

/// The step to an item of a set.
pub(super) fn set_item(item: &Value) -> Step {
    Step::Item(canonical(item))
}

/// All fields of a value.
pub(super) fn fields_of(schema: &Value, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(schema, value, &mut set);
    set
}

pub(super) fn collect(schema: &Value, value: &Value, set: &mut FieldSet) {
    match shape(schema, value) {
        Shape::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let child = set.child(Step::Field(name.clone()));
                collect(field_schema(schema, name), value, child);
                child.is_member |= !is_declared(schema, name);
            }
        }
        Shape::MapList(list, keys) if !list.is_empty() => {
            for item in list {
                let child = set.child(item_key(item, &keys));
                collect(&schema["items"], item, child);
                child.is_member = true;
            }
        }
        Shape::Set(list) if !list.is_empty() => {
            for item in list {
                set.child(set_item(item)).is_member = true;
            }
        }
        _ => set.is_member = true,
    }
}
