//! A set of field paths, as a trie; its text form is Kubernetes' `FieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path. Keys and values are canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Field of an object.
    Field(String),
    /// Item of a map list, by its keys.
    Key(String),
    /// Item of a set.
    Item(String),
}

impl Step {
    /// `f:spec`, `k:{"type":"Ready"}`, `v:"x"`.
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Item(item) => format!("v:{item}"),
        }
    }

    fn decode(source: &str) -> Option<Self> {
        let (prefix, rest) = source.split_at_checked(2)?;
        Some(match prefix {
            "f:" => Self::Field(rest.to_owned()),
            "k:" => Self::Key(canonical(&serde_json::from_str(rest).ok()?)),
            "v:" => Self::Item(canonical(&serde_json::from_str(rest).ok()?)),
            _ => return None,
        })
    }

    /// As in a conflict: `.spec`, `[type="Ready"]`.
    fn display(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Item(item) => format!("[={item}]"),
            Self::Key(key) => {
                let keys: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let terms: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", terms.join(","))
            }
        }
    }
}

/// JSON text with sorted keys: equal values have equal texts.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let entries: Vec<_> =
                sorted.into_iter().map(|(key, text)| format!("{}:{text}", Value::from(key.as_str()))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Paths below one point; `is_member` is that point itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    pub(super) is_member: bool,
    pub(super) children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.children.values().all(Self::is_empty)
    }

    pub(super) fn child(&mut self, step: Step) -> &mut Self {
        self.children.entry(step).or_default()
    }

    /// Everything in either.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.is_member |= other.is_member;
        for (step, set) in &other.children {
            let merged = all.children.get(step).map_or_else(|| set.clone(), |own| own.union(set));
            all.children.insert(step.clone(), merged);
        }
        all
    }

    /// Everything in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(step, set)| {
            let both = set.intersection(other.children.get(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        Self { is_member: self.is_member && other.is_member, children: children.collect() }
    }

    /// Everything that is not in `other`.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(step, set)| {
            let left = other.children.get(step).map_or_else(|| set.clone(), |gone| set.difference(gone));
            (!left.is_empty()).then(|| (step.clone(), left))
        });
        Self { is_member: self.is_member && !other.is_member, children: children.collect() }
    }

    /// Without what identifies an object or is the server's own; nobody owns those.
    pub(super) fn without_identity(mut self) -> Self {
        const OF_OBJECT: [&str; 2] = ["apiVersion", "kind"];
        const OF_METADATA: [&str; 10] = [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "managedFields",
        ];
        for key in OF_OBJECT {
            self.children.remove(&Step::Field(key.to_owned()));
        }
        let metadata = Step::Field("metadata".to_owned());
        if let Some(set) = self.children.get_mut(&metadata) {
            for key in OF_METADATA {
                set.children.remove(&Step::Field(key.to_owned()));
            }
            if set.children.values().all(Self::is_empty) {
                self.children.remove(&metadata);
            }
        }
        self
    }

    /// Every path as text.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths("", &mut found);
        found
    }

    fn collect_paths(&self, path: &str, found: &mut Vec<String>) {
        if self.is_member {
            found.push(path.to_owned());
        }
        for (step, set) in &self.children {
            set.collect_paths(&format!("{path}{}", step.display()), found);
        }
    }

    /// As `fieldsV1`.
    pub(super) fn encode(&self) -> Value {
        let mut object = Map::new();
        if self.is_member && !self.children.is_empty() {
            object.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, set) in &self.children {
            object.insert(step.encode(), set.encode());
        }
        Value::Object(object)
    }

    /// From `fieldsV1`; the root itself is never a member.
    pub(super) fn decode(source: &Value) -> Option<Self> {
        let mut set = Self::decode_below(source)?;
        set.is_member = false;
        Some(set)
    }

    fn decode_below(source: &Value) -> Option<Self> {
        let object = source.as_object()?;
        let mut set = Self { is_member: object.is_empty() || object.contains_key("."), ..Self::default() };
        for (key, below) in object.iter().filter(|(key, _)| *key != ".") {
            set.children.insert(Step::decode(key)?, Self::decode_below(below)?);
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_v1_survives_a_round_trip() {
        let source = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}}}},
        });
        let set = FieldSet::decode(&source).expect("FieldsV1");
        assert_eq!(canonical(&set.encode()), canonical(&source));
        assert_eq!(
            set.paths(),
            [
                ".metadata.finalizers[=\"x\"]",
                ".metadata.labels",
                ".metadata.labels.a",
                ".status.conditions[type=\"Ready\"]",
                ".status.conditions[type=\"Ready\"].status"
            ]
        );
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.intersection(&set), set);
        assert_eq!(set.union(&set), set);
    }
}
