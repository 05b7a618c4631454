//! Retry: failed indexes of a Job are tried again because somebody asked, after its own retries were spent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::IndexSet;

/// A request to try failed indexes again. It is carried out once: `status.retried.round` says up to which round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Number of the request; one that is higher than `status.retried.round` is new.
    #[schemars(range(min = 1))]
    pub round: u32,
    /// Which of the failed indexes; absent: all that have failed by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<IndexSet>,
}

/// What has come of the requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retried {
    /// The newest request that was carried out.
    pub round: u32,
    /// Failures that do not count any more; no index stands twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub forgiven: Vec<Forgiven>,
    /// Retries spent before the newest request: they do not count against `backoffLimit`.
    pub retries: u64,
    /// Attempts at the merge up to this one do not count.
    pub merge_attempt: u32,
}

/// Indexes that may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forgiven {
    /// Failures up to this attempt do not count; `backoffLimitPerIndex` counts from the next one.
    pub attempt: u32,
    /// Of these indexes.
    pub indexes: IndexSet,
}

impl Retried {
    /// Those of `indexes` whose failure at `attempt` was forgiven.
    pub fn forgives(&self, attempt: u32, indexes: &IndexSet) -> IndexSet {
        let forgiven = self.forgiven.iter().filter(|forgiven| forgiven.attempt >= attempt);
        forgiven.flat_map(|forgiven| (&forgiven.indexes & indexes).ranges().collect::<Vec<_>>()).collect()
    }

    /// Those of `indexes` that have spent `limit` retries when `attempt` failed.
    pub fn exhausted(&self, attempt: u32, limit: u32, indexes: &IndexSet) -> IndexSet {
        let mut plain = indexes.clone();
        let mut exhausted = IndexSet::new();
        for forgiven in &self.forgiven {
            let here = &forgiven.indexes & indexes;
            plain -= &here;
            if attempt > forgiven.attempt.saturating_add(limit) {
                exhausted |= &here;
            }
        }
        if attempt > limit {
            exhausted |= &plain;
        }
        exhausted
    }

    /// Forgives failures up to `attempt` of `indexes`.
    pub fn forgive(&mut self, attempt: u32, indexes: &IndexSet) {
        self.forgiven.iter_mut().for_each(|forgiven| forgiven.indexes -= indexes);
        self.forgiven.retain(|forgiven| !forgiven.indexes.is_empty());
        match self.forgiven.iter_mut().find(|forgiven| forgiven.attempt == attempt) {
            Some(forgiven) => forgiven.indexes |= indexes,
            None if indexes.is_empty() => {}
            None => self.forgiven.push(Forgiven { attempt, indexes: indexes.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> IndexSet {
        text.parse().expect("an index set")
    }

    #[test]
    fn what_was_forgiven_counts_from_there() {
        let mut retried = Retried::default();
        retried.forgive(4, &set("1-3"));
        assert_eq!(retried.forgives(4, &set("0-9")), set("1-3"));
        assert_eq!(retried.forgives(5, &set("0-9")), set(""));
        assert_eq!(retried.exhausted(4, 3, &set("0-9")), set("0,4-9"));
        assert_eq!(retried.exhausted(7, 3, &set("0-9")), set("0,4-9"));
        assert_eq!(retried.exhausted(8, 3, &set("0-9")), set("0-9"));
    }

    #[test]
    fn an_index_is_forgiven_up_to_its_newest_attempt_only() {
        let mut retried = Retried::default();
        retried.forgive(4, &set("1-3"));
        retried.forgive(8, &set("2"));
        retried.forgive(4, &set("5"));
        let expected = [Forgiven { attempt: 4, indexes: set("1,3,5") }, Forgiven { attempt: 8, indexes: set("2") }];
        assert_eq!(retried.forgiven, expected);
        retried.forgive(8, &set("1,3,5"));
        assert_eq!(retried.forgiven, [Forgiven { attempt: 8, indexes: set("1-3,5") }]);
    }
}
