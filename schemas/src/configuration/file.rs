//! A configuration file: JSON or YAML, in either of two spellings, with every error at its place.
//!
//! The plain spelling is the mission's own, `controller: {max_nodes: 16}`. The other is that of our API's
//! objects: `apiVersion`, `kind: Configuration`, and camelCase, `controller: {maxNodes: 16}`.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Configuration;
use crate::{
    manifest::{self, Document, ManifestError},
    validation::structural,
    well_known::{GROUP, VERSION},
};

/// How the keys of a file are spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `max_nodes`, without `apiVersion` and `kind`.
    Plain,
    /// `maxNodes`, with them.
    Object,
}

/// What a file says, in the plain spelling whatever its own; keys that it does not name are absent. Or
/// everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Value, Vec<ManifestError>> {
    let Some(document) = manifest::read_single(file, text).map_err(|error| vec![error])? else {
        return Ok(json!({}));
    };
    let mut object = document.object.clone();
    let spelling = spelling(&object);
    let wrong = match spelling {
        Spelling::Plain => Vec::new(),
        Spelling::Object => take_identity(&document, &mut object),
    };
    let wrong: Vec<_> = wrong.into_iter().chain(check(&document, &object, spelling)).collect();
    match (wrong.is_empty(), spelling) {
        (false, _) => Err(wrong),
        (true, Spelling::Plain) => Ok(object),
        (true, Spelling::Object) => Ok(renamed(&object, &snake_case)),
    }
}

/// JSON Schema of a configuration file, for editors and for `parse`.
pub fn schema(spelling: Spelling) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Configuration>().to_value();
    if spelling == Spelling::Object {
        rename_properties(&mut schema);
        schema["properties"]["apiVersion"] = json!({"const": format!("{GROUP}/{VERSION}")});
        schema["properties"]["kind"] = json!({"const": "Configuration"});
        schema["required"] = json!(["apiVersion", "kind"]);
    }
    close(&mut schema);
    schema
}

fn spelling(object: &Value) -> Spelling {
    let is_object = object.get("apiVersion").is_some() || object.get("kind").is_some();
    if is_object { Spelling::Object } else { Spelling::Plain }
}

/// Takes out `apiVersion` and `kind`; says what is wrong with them.
fn take_identity(document: &Document, object: &mut Value) -> Vec<ManifestError> {
    let api_version = format!("{GROUP}/{VERSION}");
    let mut wrong = Vec::new();
    for (field, wanted) in [("apiVersion", api_version.as_str()), ("kind", "Configuration")] {
        let given = object.as_object_mut().and_then(|fields| fields.shift_remove(field));
        if given.as_ref().and_then(Value::as_str) != Some(wanted) {
            let message = if given.is_some() { "unsupported value" } else { "Required value" };
            wrong.push(document.error(field, message).with_help(format!("write `{field}: {wanted}`")));
        }
    }
    wrong
}

fn check(document: &Document, object: &Value, spelling: Spelling) -> Vec<ManifestError> {
    if !object.is_object() {
        let message = "a configuration is a mapping with controller, security and performance";
        return vec![document.error("", message)];
    }
    let schema = for_walks(schema(spelling));
    let unknown = structural::unknown_fields(&schema, object);
    let unknown = unknown.iter().map(|field| document.unknown_field(field));
    let wrong = structural::type_errors(&schema, object);
    let wrong = wrong.iter().map(|error| document.error(&error.field, error.message.clone()));
    let mut found: Vec<_> = unknown.chain(wrong).collect();
    found.sort_by_key(|error| error.span.as_ref().map(|span| span.start));
    found
}

/// The walks take a schema for what it names, not for what it requires of whole objects.
fn for_walks(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.shift_remove("required");
    }
    open(&mut schema);
    schema
}

/// Closes every object: an unknown key is an error.
fn close(schema: &mut Value) {
    each_object(schema, &|fields| {
        fields.insert("additionalProperties".into(), false.into());
    });
}

fn open(schema: &mut Value) {
    each_object(schema, &|fields| {
        fields.shift_remove("additionalProperties");
    });
}

fn each_object(schema: &mut Value, change: &dyn Fn(&mut Map<String, Value>)) {
    let Some(fields) = schema.as_object_mut() else { return };
    let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) else { return };
    properties.values_mut().for_each(|property| each_object(property, change));
    change(fields);
}

fn rename_properties(schema: &mut Value) {
    each_object(schema, &|fields| {
        if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
            *properties =
                std::mem::take(properties).into_iter().map(|(name, schema)| (camel_case(&name), schema)).collect();
        }
    });
}

/// The object with its keys respelt, at every depth.
fn renamed(value: &Value, spell: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (spell(name), renamed(value, spell))).collect())
        }
        other => other.clone(),
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

fn snake_case(name: &str) -> String {
    let mut spelt = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            spelt.push('_');
        }
        spelt.push(letter.to_ascii_lowercase());
    }
    spelt
}
