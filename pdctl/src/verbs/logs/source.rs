//! Where logs are: which artifact holds those of which indexes, and which of that was told already. Pure.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    Assignment, Digest, IndexSet, Job,
    assignment::{CallFailure, PlanReport, Segment},
};

/// Logs of some indexes of one node, in one artifact; or how they failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) node: String,
    pub(super) artifact: Option<Digest>,
    pub(super) indexes: IndexSet,
    /// Which try at them; of those that succeeded the last.
    attempt: u32,
    pub(super) failure: Option<String>,
}

/// Everything there is, ascending by first index, so that a job reads from its start to its end.
pub(super) fn all(assignments: &[&Assignment], only_failed: bool, wanted: Option<&IndexSet>) -> Vec<Source> {
    let chosen = |indexes: &IndexSet| wanted.map_or_else(|| indexes.clone(), |wanted| wanted & indexes);
    let mut sources = Vec::new();
    for assignment in assignments {
        let node = &assignment.spec.node_name;
        let Some(status) = &assignment.status else { continue };
        for failure in &status.failures {
            let attempt = failure.attempt;
            let reason = format!("attempt {attempt} failed ({:?}): {}", failure.outcome, failure.message);
            let indexes = chosen(&failure.indexes);
            let logged = failure.logs.iter().map(|log| (Some(*log), None));
            for (artifact, failure) in logged.chain([(None, Some(reason))]) {
                sources.push(Source { node: node.clone(), artifact, indexes: indexes.clone(), attempt, failure });
            }
        }
        for segment in status.segments.iter().filter(|_| !only_failed) {
            let (node, indexes) = (node.clone(), chosen(&segment.indexes));
            sources.push(Source { node, artifact: segment.logs, indexes, attempt: u32::MAX, failure: None });
        }
    }
    sources.retain(|source| !source.indexes.is_empty() && (source.artifact.is_some() || source.failure.is_some()));
    sources.sort_by_key(|source| (source.indexes.min(), source.attempt));
    sources
}

/// What an earlier job left of the logs of what it computed for this one.
pub(super) fn taken_over(job: &Job, wanted: Option<&IndexSet>) -> Vec<Source> {
    let cached = job.status.iter().filter_map(|status| status.cached.as_ref());
    let logged = cached.flat_map(|cached| &cached.outputs.segments).filter(|segment| segment.logs.is_some());
    let source = |segment: &Segment| Source {
        node: "cached".to_owned(),
        artifact: segment.logs,
        indexes: wanted.map_or_else(|| segment.indexes.clone(), |wanted| wanted & &segment.indexes),
        attempt: u32::MAX,
        failure: None,
    };
    logged.map(source).filter(|source| !source.indexes.is_empty()).collect()
}

/// Indexes that were told, by where they stand: a group of failures grows.
#[derive(Default)]
pub(super) struct Told(BTreeMap<(String, Option<Digest>, Option<String>), IndexSet>);

impl Told {
    /// Leaves what was not told yet, and remembers it as told.
    pub(super) fn retain_fresh(&mut self, sources: &mut Vec<Source>) {
        for source in sources.iter_mut() {
            let key = (source.node.clone(), source.artifact, source.failure.clone());
            let told = self.0.entry(key).or_default();
            let fresh = &source.indexes - &*told;
            fresh.ranges().for_each(|range| told.insert_range(range));
            source.indexes = fresh;
        }
        sources.retain(|source| !source.indexes.is_empty());
    }
}

/// Plan and merge calls that were told.
#[derive(Default)]
pub(super) struct Calls(BTreeSet<(String, String)>);

impl Calls {
    /// Calls that failed and were not told yet, each with its prefix.
    pub(super) fn fresh<'a>(&mut self, assignments: &[&'a Assignment]) -> Vec<(String, &'a CallFailure)> {
        let mut fresh = Vec::new();
        for assignment in assignments {
            let Some(status) = &assignment.status else { continue };
            let plan = status.plan.as_ref().and_then(|plan| match plan {
                PlanReport::Failed(failure) => Some(("plan".to_owned(), failure)),
                PlanReport::Layout(_) => None,
            });
            let merge = status.merge.as_ref().and_then(|merge| Some((merge.attempt, merge.failure.as_ref()?)));
            let merge = merge.map(|(attempt, failure)| (format!("merge {attempt}"), failure));
            for (call, failure) in plan.into_iter().chain(merge) {
                if self.0.insert((assignment.spec.node_name.clone(), call.clone())) {
                    fresh.push((format!("[{call} {}] ", assignment.spec.node_name), failure));
                }
            }
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assignment(status: serde_json::Value) -> Assignment {
        let digest = Digest::of(b"");
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": "a"},
            "spec": {"job": {"name": "x", "uid": "u"}, "nodeName": "n", "nodeUid": "nu",
                "work": {"module": digest, "memory": "64Mi", "subtaskTimeout": "5m"}}, "status": status});
        serde_json::from_value(object).expect("an assignment")
    }

    fn failing(indexes: &str) -> Assignment {
        let digest = Digest::of(b"");
        assignment(json!({
            "segments": [{"digest": digest, "size": 1, "indexes": "0-4", "logs": Digest::of(b"log")}],
            "failures": [{"attempt": 1, "outcome": "Trap", "message": "panicked", "indexes": indexes}]}))
    }

    #[test]
    fn a_growing_group_is_told_by_what_is_new_of_it() {
        let mut told = Told::default();
        let first = failing("7");
        let mut sources = all(&[&first], false, None);
        told.retain_fresh(&mut sources);
        assert_eq!(sources.len(), 2);
        let second = failing("7,9");
        let mut sources = all(&[&second], false, None);
        told.retain_fresh(&mut sources);
        assert_eq!(sources.iter().map(|s| s.indexes.to_string()).collect::<Vec<_>>(), ["9"]);
    }

    #[test]
    fn what_is_asked_for_is_chosen() {
        let assignment = failing("7");
        assert_eq!(all(&[&assignment], true, None).len(), 1);
        let wanted: IndexSet = "3".parse().expect("a set");
        let sources = all(&[&assignment], false, Some(&wanted));
        assert_eq!(sources.iter().map(|s| s.indexes.to_string()).collect::<Vec<_>>(), ["3"]);
    }

    #[test]
    fn a_failed_call_is_told_once() {
        let failed = assignment(json!({"plan": {"failed": {"outcome": "Trap", "message": "no"}}}));
        let mut calls = Calls::default();
        assert_eq!(
            calls.fresh(&[&failed]).iter().map(|(prefix, _)| prefix.as_str()).collect::<Vec<_>>(),
            ["[plan n] "]
        );
        assert!(calls.fresh(&[&failed]).is_empty());
    }
}
