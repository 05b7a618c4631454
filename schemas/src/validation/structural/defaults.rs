//! The schema's defaults, made explicit as Kubernetes makes a CRD's.

use serde_json::Value;

use super::{property, schema};

/// Makes the defaults of one of our kinds explicit in the object's `spec`. Other kinds stay as they are.
pub fn apply_defaults(kind: &str, object: &mut Value) {
    let spec = object.get_mut("spec");
    let schema = schema(kind).and_then(|schema| property(schema, "spec"));
    if let (Some(spec), Some(schema)) = (spec, schema) {
        default_value(schema, spec);
    }
}

/// Fills in what is absent and has a default, and drops nulls: to Kubernetes a null is an absent field.
/// Fields that the schema does not know are left alone, and so are values of the wrong type.
pub fn default_value(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| !field.is_null() || property(schema, name).is_none());
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default")
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = property(schema, name) {
                    default_value(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    default_value(schema, item);
                }
            }
        }
        _ => {}
    }
}
