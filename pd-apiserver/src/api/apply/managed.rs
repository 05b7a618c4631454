//! `metadata.managedFields`: one entry a manager, operation and subresource.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::FieldSet;

/// Most managers with operation Update that are kept apart, as upstream; older ones are merged.
const UPDATERS_MAX: usize = 10;
/// Name under which older updaters are merged, as upstream.
const OLDER_UPDATERS: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// Who writes, what, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) operation: Operation,
    /// Empty, or `status`.
    pub(crate) subresource: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) now: Timestamp,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    manager: String,
    operation: Operation,
    subresource: String,
    api_version: String,
    time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    fn decode(source: &Value) -> Option<Self> {
        let text = |key: &str| source[key].as_str().unwrap_or_default().to_owned();
        let operation = match source["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Self {
            manager: text("manager"),
            operation,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            fields: FieldSet::decode(source.get("fieldsV1")?)?,
        })
    }

    fn encode(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": match self.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
            "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.encode(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    fn is_of(&self, writer: &Writer<'_>) -> bool {
        self.manager == writer.manager
            && self.operation == writer.operation
            && self.subresource == writer.subresource
            && self.api_version == writer.api_version
    }

    /// As upstream writes it, without the field.
    pub(super) fn conflict_message(&self) -> String {
        let subresource = match self.subresource.as_str() {
            "" => String::new(),
            name => format!(" with subresource \"{name}\""),
        };
        let time = match self.operation {
            Operation::Update if !self.time.is_empty() => format!(" at {}", self.time),
            _ => String::new(),
        };
        format!("conflict with \"{}\"{subresource} using {}{time}", self.manager, self.api_version)
    }
}

/// All entries of an object, in the order they were first made.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed {
    entries: Vec<Entry>,
    /// Where the last taken entry stood, and its time, so that an unchanged one goes back unchanged.
    taken: Option<(usize, String)>,
}

impl Managed {
    /// Of an object; entries that cannot be read are dropped.
    pub(super) fn of(object: &Value) -> Self {
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        Self { entries: entries.filter_map(Entry::decode).collect(), taken: None }
    }

    /// What a client wrote into `managedFields`, if it differs from the live ones and can be read. A list
    /// with one empty entry means: forget all managers.
    pub(super) fn rewritten_by_client(live: &Value, new: &Value) -> Option<Self> {
        let list = new["metadata"]["managedFields"].as_array().filter(|list| !list.is_empty())?;
        let live = live["metadata"]["managedFields"].as_array();
        if live == Some(list) {
            return None;
        }
        if list.iter().all(|entry| entry.as_object().is_some_and(serde_json::Map::is_empty)) {
            return Some(Self::default());
        }
        let entries: Option<Vec<_>> = list.iter().map(Entry::decode).collect();
        entries.map(|entries| Self { entries, taken: None })
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Takes the writer's own entry out; `None`: it has none yet.
    pub(super) fn take(&mut self, writer: &Writer<'_>) -> Option<FieldSet> {
        let at = self.entries.iter().position(|entry| entry.is_of(writer))?;
        let entry = self.entries.remove(at);
        self.taken = Some((at, entry.time));
        Some(entry.fields)
    }

    /// Puts the writer's entry back with new fields; the time moves only when the fields did.
    pub(super) fn put(&mut self, writer: &Writer<'_>, previous: &FieldSet, fields: FieldSet) {
        let now = format!("{:.0}", writer.now);
        let (at, time) = self.taken.take().unwrap_or((self.entries.len(), now.clone()));
        if fields.is_empty() {
            return;
        }
        let time = if fields == *previous { time } else { now };
        let entry = Entry {
            manager: writer.manager.to_owned(),
            operation: writer.operation,
            subresource: writer.subresource.to_owned(),
            api_version: writer.api_version.to_owned(),
            time,
            fields,
        };
        self.entries.insert(at.min(self.entries.len()), entry);
    }

    /// Everything that anybody here owns.
    pub(super) fn all_fields(&self) -> FieldSet {
        self.entries.iter().fold(FieldSet::default(), |all, entry| all.union(&entry.fields))
    }

    /// Takes `fields` from everybody here.
    pub(super) fn forget(&mut self, fields: &FieldSet) {
        for entry in &mut self.entries {
            entry.fields = entry.fields.difference(fields);
        }
    }

    /// Drops the leaves that are no longer in the object, and entries that own nothing.
    pub(super) fn retain_existing(&mut self, existing: &FieldSet) {
        for entry in &mut self.entries {
            entry.fields = existing_part(&entry.fields, existing);
        }
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    /// Merges the oldest updaters when there are too many.
    pub(super) fn limit_updaters(&mut self) {
        let updaters = self.entries.iter().filter(|entry| entry.operation == Operation::Update).count();
        for _ in UPDATERS_MAX..updaters {
            let mut oldest = (0..self.entries.len()).filter(|at| self.entries[*at].operation == Operation::Update);
            let (Some(first), Some(second)) = (oldest.next(), oldest.next()) else { return };
            let merged = self.entries.remove(second);
            let kept = &mut self.entries[first];
            kept.fields = kept.fields.union(&merged.fields);
            OLDER_UPDATERS.clone_into(&mut kept.manager);
        }
    }

    /// Writes the entries into `object`.
    pub(super) fn store(&self, object: &mut Value) {
        let Some(metadata) = object["metadata"].as_object_mut() else { return };
        if self.entries.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), self.entries.iter().map(Entry::encode).collect());
        }
    }
}

/// `fields` without the paths that `existing` does not reach. A path above existing ones counts as there.
fn existing_part(fields: &FieldSet, existing: &FieldSet) -> FieldSet {
    let children = fields.children.iter().filter_map(|(step, set)| {
        let part = existing_part(set, existing.children.get(step)?);
        (!part.is_empty()).then(|| (step.clone(), part))
    });
    FieldSet { is_member: fields.is_member, children: children.collect() }
}
