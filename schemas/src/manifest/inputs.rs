//! Inputs that a Job's manifest names as local files: `inputs: {candidates: ./words.txt}`.

use serde_json::Value;

use super::Document;
use crate::Digest;

/// How an input begins that is in the artifact store already.
const DIGEST_PREFIX: &str = "sha256:";

/// An input that is a local file: whoever applies the manifest uploads it and puts its digest there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalInput {
    /// The input's name.
    pub name: String,
    /// The path as it stands in the manifest; relative to the manifest's folder.
    pub path: String,
    /// Its field path, for messages: `spec.task.inputs[candidates]`.
    pub field: String,
}

impl Document {
    /// The inputs that are local files, in the manifest's order. Empty for all kinds but Job.
    pub fn local_inputs(&self) -> Vec<LocalInput> {
        if self.kind == "Job" { local_inputs(&self.object) } else { Vec::new() }
    }

    /// Puts an artifact in the place of input `name`.
    pub fn set_input(&mut self, name: &str, digest: Digest) {
        if let Some(input) = self.object.pointer_mut("/spec/task/inputs").and_then(|inputs| inputs.get_mut(name)) {
            *input = Value::String(digest.to_string());
        }
    }
}

pub(super) fn local_inputs(job: &Value) -> Vec<LocalInput> {
    let inputs = job.pointer("/spec/task/inputs").and_then(Value::as_object).into_iter().flatten();
    let local = inputs.filter_map(|(name, value)| {
        let path = value.as_str().filter(|path| !path.is_empty() && !path.starts_with(DIGEST_PREFIX))?;
        let field = format!("spec.task.inputs[{name}]");
        Some(LocalInput { name: name.clone(), path: path.to_owned(), field })
    });
    local.collect()
}

/// The Job as it will look once its local files are uploaded: some digest in place of each.
pub(super) fn with_digests(job: &Value) -> Value {
    let placeholder = Value::String(Digest::from_bytes([0; 32]).to_string());
    let mut job = job.clone();
    for input in local_inputs(&job) {
        if let Some(inputs) = job.pointer_mut("/spec/task/inputs").and_then(Value::as_object_mut) {
            inputs.insert(input.name, placeholder.clone());
        }
    }
    job
}
