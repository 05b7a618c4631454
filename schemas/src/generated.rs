//! The files under `schemas/json`: what editors and other tools read instead of our Rust types.
//!
//! In: the kinds. Out: paths and contents. Writing them is the caller's business; a test compares them with
//! what is checked in, and rewrites them when the environment has `PD_REGENERATE=1`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{
    Assignment, CachedResult, Job, ManifestSource, Queue, Subtask, Task, Token, configuration,
    validation::structural,
    well_known::{GROUP, VERSION},
};

/// Every generated file: its path below `schemas/json`, and what it holds.
pub fn files() -> Vec<(String, String)> {
    let definitions = [
        Job::crd(),
        Task::crd(),
        Assignment::crd(),
        Subtask::crd(),
        Queue::crd(),
        CachedResult::crd(),
        ManifestSource::crd(),
        Token::crd(),
    ];
    let mut files: Vec<_> = definitions.iter().map(crd_file).collect();
    files.extend(
        ["Job", "Task", "Queue", "Token"].into_iter().filter_map(|kind| Some((name_of(kind), editor_schema(kind)?))),
    );
    let mut configuration = configuration::schema(configuration::Spelling::Plain);
    plain(&mut configuration);
    files.push(("configuration.schema.json".to_owned(), pretty(&configuration)));
    files
}

fn crd_file(definition: &CustomResourceDefinition) -> (String, String) {
    let yaml = serde_yaml::to_string(definition).expect("invariant: a CRD is YAML");
    (format!("crds/{}.yaml", definition.spec.names.plural), yaml)
}

fn name_of(kind: &str) -> String {
    format!("{}.schema.json", kind.to_lowercase())
}

/// JSON Schema of a kind's manifest, stricter than its CRD: unknown fields are errors, as they are to pdctl,
/// the status is not the user's, and an input may be a file.
fn editor_schema(kind: &str) -> Option<String> {
    let mut schema = structural::schema(kind)?.clone();
    let fields = schema.as_object_mut()?;
    fields.insert("required".into(), json!(["apiVersion", "kind", "metadata", "spec"]));
    let properties = fields.get_mut("properties")?.as_object_mut()?;
    properties.shift_remove("status");
    properties.insert("apiVersion".into(), json!({"const": format!("{GROUP}/{VERSION}")}));
    properties.insert("kind".into(), json!({"const": kind}));
    if let Some(inputs) = schema.pointer_mut("/properties/spec/properties/task/properties/inputs") {
        inputs["additionalProperties"] = json!({"type": "string", "minLength": 1});
        inputs["description"] = "Input name to artifact digest, or to the path of a file that pdctl uploads.".into();
    }
    plain(&mut schema);
    let fields = schema.as_object_mut()?;
    fields.shift_insert(0, "$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    Some(pretty(&schema))
}

fn pretty(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).expect("invariant: a schema is JSON") + "\n"
}

/// From Kubernetes' dialect to plain JSON Schema: closes objects, and spells its extensions out.
fn plain(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let is_set = |value: Option<Value>| value == Some(Value::Bool(true));
    let is_open = is_set(fields.shift_remove("x-kubernetes-preserve-unknown-fields"));
    if is_set(fields.shift_remove("x-kubernetes-int-or-string")) {
        fields.insert("type".into(), json!(["integer", "string"]));
    }
    fields.retain(|keyword, _| !keyword.starts_with("x-kubernetes-"));
    if is_set(fields.shift_remove("nullable"))
        && let Some(Value::String(single)) = fields.get("type").cloned()
    {
        fields.insert("type".into(), json!([single, "null"]));
    }
    if !is_open && fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".into(), false.into());
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(|properties| properties.values_mut()).for_each(plain);
    for keyword in ["items", "additionalProperties"] {
        fields.get_mut(keyword).into_iter().for_each(plain);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use super::*;

    #[test]
    fn generated_files_are_fresh() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("json");
        let mut expected = BTreeSet::new();
        for (name, content) in files() {
            let path = folder.join(&name);
            if env::var("PD_REGENERATE").is_ok_and(|value| value == "1") {
                fs::create_dir_all(path.parent().expect("a folder")).expect("creates the folder");
                fs::write(&path, &content).expect("writes");
            }
            let stored = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                stored == content,
                "schemas/json/{name} is stale: run PD_REGENERATE=1 cargo test -p schemas generated"
            );
            expected.insert(path);
        }
        let in_folder =
            |folder: &Path| fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let stored: BTreeSet<_> =
            in_folder(&folder).chain(in_folder(&folder.join("crds"))).filter(|p| p.is_file()).collect();
        assert_eq!(stored, expected, "files that nothing generates any more");
    }
}
