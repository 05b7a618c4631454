//! A task's metadata: what it says of itself in `task.json` and in the module's custom section.
//!
//! In: the task's constants and the schema that schemars derives from its params. Out: JSON. The schema is made to say
//! what serde accepts: each snake_case alias is a property of its own, and nothing else is allowed.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::Task;

/// The metadata of `T`, as `task_abi::Metadata` reads it.
pub(crate) fn metadata<T: Task>() -> Value {
    let inputs = T::INPUTS
        .iter()
        .map(|input| json!({"name": input.name, "description": input.description, "required": input.required}));
    json!({
        "name": T::NAME,
        "version": T::VERSION,
        "description": T::DESCRIPTION,
        "paramsSchema": params_schema::<T>(),
        "inputs": inputs.collect::<Vec<_>>(),
    })
}

fn params_schema<T: Task>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T::Params>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
        root.remove("title");
    }
    tidy(&mut schema);
    schema
}

/// Takes away what only Rust cares for (widths of integers, the null of an `Option`) and adds the aliases.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("format");
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            drop_null_type(object);
            object.values_mut().for_each(tidy);
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                add_aliases(properties);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_null_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice != &json!({"type": "null"}));
        if let [Value::Object(only)] = &choices[..] {
            let only = only.clone();
            object.remove("anyOf");
            only.into_iter().for_each(|(key, value)| {
                object.entry(key).or_insert(value);
            });
        }
    }
}

/// Adds the snake_case spelling of each property, and those that `x-aliases` names.
fn add_aliases(properties: &mut Map<String, Value>) {
    let mut aliases = Vec::new();
    for (name, schema) in properties.iter_mut() {
        let Some(schema) = schema.as_object_mut() else { continue };
        let extra = schema.remove("x-aliases");
        let extra = extra.iter().flat_map(|names| names.as_array().into_iter().flatten().filter_map(Value::as_str));
        let spellings = extra.map(str::to_owned).chain([snake_case(name)]).filter(|alias| alias != name);
        let mut copy = schema.clone();
        copy.remove("default");
        copy.insert("description".to_owned(), format!("Another spelling of `{name}`.").into());
        aliases.extend(spellings.map(|alias| (alias, Value::Object(copy.clone()))));
    }
    properties.extend(aliases);
}

/// `maxIterations` → `max_iterations`.
pub(crate) fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
