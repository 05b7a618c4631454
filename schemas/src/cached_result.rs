//! CachedResult: what earlier jobs have computed of one piece of work, for the next job that asks for the same.
//!
//! Namespaced like the jobs it comes from: nobody learns from it what another namespace has computed. The reconciler
//! writes it when a job ends and deletes it by age and size; whoever may delete it makes the next job compute anew.
//! What it names is kept from the collection of artifacts for as long as it is there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Digest, IndexSet, JobSpec,
    assignment::Segment,
    job::{JobResult, Layout, canonical},
};

/// Grows when the same key would mean other outputs: with the contract between task and host, or its engine.
const KEY_VERSION: &str = "processdistro.dev/cache/1";

/// Outputs of one piece of work, as jobs that have ended left them.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "CachedResult",
    namespaced,
    derive = "PartialEq",
    shortname = "pdcr",
    category = "processdistro",
    doc = "A CachedResult is what earlier jobs have computed of one piece of work; a job that asks for the same \
           takes it over instead of computing it again.",
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task"),
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.job"),
    printcolumn(name = "Cached", type_ = "integer", json_path = ".spec.count"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".spec.layout.subtasks"),
    printcolumn(name = "Result", type_ = "string", json_path = ".spec.outputs.merged.result.artifact", priority = 1),
    printcolumn(name = "Last-Used", type_ = "date", json_path = ".spec.lastUsed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CachedResultSpec {
    /// Stands for the work: component, params, inputs, sandbox, verification. Its digits are the object's name.
    pub key: Digest,
    /// The job that wrote it last.
    pub job: String,
    /// That job's Task, when it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What the task's plan call answered.
    pub layout: Layout,
    /// The outputs.
    pub outputs: Outputs,
    /// Number of indexes in `outputs.segments`.
    pub count: u64,
    /// Bytes that `outputs` names, which are kept for it.
    pub bytes: u64,
    /// When a job last wrote it or took it over. The one that was used longest ago goes first.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_used: Timestamp,
}

/// Accepted outputs of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// Outputs of single indexes; disjoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// Targets found at these indexes, for a task that searches.
    #[serde(default, skip_serializing_if = "IndexSet::is_empty")]
    pub found: IndexSet,
    /// What they were merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<Merged>,
}

/// A merged result and what it was merged of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Merged {
    /// The result is of exactly these indexes: of all, or of those that were done when enough was.
    pub indexes: IndexSet,
    /// Where it is.
    pub result: JobResult,
}

impl Outputs {
    /// The indexes that have an output.
    pub fn indexes(&self) -> IndexSet {
        self.segments.iter().flat_map(|segment| segment.indexes.ranges()).collect()
    }

    /// Bytes of everything that is named; an artifact that stands here twice counts once.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.iter().map(|segment| (segment.digest, segment.size));
        let result = self.merged.iter().map(|merged| (merged.result.artifact, merged.result.size));
        segments.chain(result).collect::<BTreeMap<Digest, u64>>().values().sum()
    }

    /// Every artifact that is named.
    pub fn artifacts(&self) -> impl Iterator<Item = Digest> + '_ {
        let segments = self.segments.iter().flat_map(|segment| [Some(segment.digest), segment.logs]).flatten();
        segments.chain(self.merged.iter().map(|merged| merged.result.artifact))
    }
}

/// Stands for the work of a job: equal keys mean equal outputs, index by index. `inputs` are the job's own and those
/// that other jobs computed for it; none while one of them, or the component, is not known.
///
/// How often is tried, where, with how much memory and in how much time changes whether there is an output, never
/// which one; so it is not in here.
pub fn key(spec: &JobSpec, inputs: &BTreeMap<String, Digest>) -> Option<Digest> {
    let module = spec.task.module?;
    if !spec.task.inputs_from.keys().all(|name| inputs.contains_key(name)) {
        return None;
    }
    let params = canonical(&spec.task.params);
    let text = serde_json::to_vec(&(KEY_VERSION, module, params, inputs, &spec.sandbox, &spec.verification));
    Some(Digest::of(&text.expect("invariant: digests, texts and JSON are JSON")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key_of(change: impl FnOnce(&mut Value)) -> Option<Digest> {
        let mut spec = json!({"task": {"module": Digest::of(b"m"), "params": {"a": 1, "b": {"c": 2, "d": 3}}}});
        change(&mut spec);
        let spec: JobSpec = serde_json::from_value(spec).expect("a spec");
        key(&spec, &spec.task.inputs)
    }

    #[test]
    fn the_key_follows_what_makes_the_outputs_and_nothing_else() {
        let plain = key_of(|_| {}).expect("a key");
        let same: [fn(&mut Value); 4] = [
            |spec| spec["task"]["params"] = json!({"b": {"d": 3, "c": 2}, "a": 1}),
            |spec| spec["task"]["name"] = "by-name".into(),
            |spec| spec["resources"] = json!({"memory": "128Mi"}),
            |spec| spec["parallelism"] = 3.into(),
        ];
        for change in same {
            assert_eq!(key_of(change), Some(plain));
        }
        let other: [fn(&mut Value); 5] = [
            |spec| spec["task"]["module"] = Digest::of(b"other").to_string().into(),
            |spec| spec["task"]["params"]["a"] = 2.into(),
            |spec| spec["task"]["inputs"] = json!({"x": Digest::of(b"x")}),
            |spec| spec["sandbox"] = json!({"isolation": "Batch"}),
            |spec| spec["verification"] = json!({"quorum": {"agree": 2, "of": 3}}),
        ];
        for change in other {
            assert!(key_of(change).is_some_and(|key| key != plain));
        }
    }

    #[test]
    fn work_whose_inputs_are_not_known_has_no_key() {
        let waiting = |spec: &mut Value| spec["task"]["inputsFrom"] = json!({"x": {"job": "earlier"}});
        assert_eq!(key_of(waiting), None);
        assert_eq!(key_of(|spec| spec["task"] = json!({"name": "not-resolved"})), None);
    }

    #[test]
    fn an_artifact_that_stands_twice_counts_once() {
        let segment = |bytes: &[u8], indexes: &str| Segment {
            digest: Digest::of(bytes),
            size: 10,
            indexes: indexes.parse().expect("a set"),
            logs: None,
        };
        let segments = vec![segment(b"a", "0-3"), segment(b"a", "7"), segment(b"b", "5")];
        let outputs = Outputs { segments, ..Outputs::default() };
        assert_eq!((outputs.bytes(), outputs.indexes().to_string().as_str()), (20, "0-3,5,7"));
    }
}
