//! What a Job computes, and of what.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Digest;

/// The task of a Job: exactly one of `name` and `module`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTask {
    /// A Task object in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A component in the artifact store, by digest. When `name` is given, admission fills this in from
    /// the Task, so that a job keeps to the component it was admitted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Digest>,
    /// Parameters, checked against the task's own schema.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub params: Map<String, Value>,
    /// Input name to artifact digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Digest>,
    /// Input name to the Job whose result it is; known once that Job is Complete.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs_from: BTreeMap<String, InputFrom>,
}

/// An input that another Job computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputFrom {
    /// A Job of the same namespace.
    pub job: String,
}

impl JobTask {
    /// Stands for component, params and inputs: two tasks of the same digest compute the same. The order of
    /// the params' keys does not matter.
    pub fn digest(&self) -> Digest {
        let sources = self.inputs_from.iter().map(|(name, from)| (name, &from.job)).collect::<BTreeMap<_, _>>();
        let params = canonical(&self.params);
        let text = serde_json::to_vec(&(self.module, params, &self.inputs, sources));
        Digest::of(&text.expect("invariant: digests, texts and JSON are JSON"))
    }
}

/// The same params whatever the order in which their keys were written.
pub(crate) fn canonical(params: &Map<String, Value>) -> Value {
    sorted(&Value::Object(params.clone()))
}

/// The same value with the keys of every object in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, Value> = fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_follows_what_is_computed_and_not_how_it_is_written() {
        let task = |value| serde_json::from_value::<JobTask>(value).expect("a task").digest();
        let plain = task(json!({"name": "a", "params": {"x": 1, "y": {"b": 1, "a": 2}}}));
        assert_eq!(plain, task(json!({"name": "b", "params": {"y": {"a": 2, "b": 1}, "x": 1}})));
        assert_ne!(plain, task(json!({"name": "a", "params": {"x": 2, "y": {"b": 1, "a": 2}}})));
        let from = task(json!({"name": "a", "inputsFrom": {"i": {"job": "j"}}}));
        assert_ne!(from, task(json!({"name": "a", "inputsFrom": {"i": {"job": "k"}}})));
    }
}
