//! Who owns whom, by UID; and which objects are on their way out or grow old.
//!
//! In: objects as they change. Out: the keys that a change makes worth looking at. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::super::{
    call::text,
    kinds::{Kind, Rules},
};

/// What is kept of each object.
#[derive(Clone, Debug, Default)]
struct Entry {
    uid: String,
    owners: Vec<String>,
    is_going: bool,
    revision: u64,
    /// For kinds that expire: when it was last seen, in Unix seconds.
    seen: Option<i64>,
}

/// All objects of the store, without their bodies.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<String, Entry>,
    keys: BTreeMap<String, String>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    /// Notes an object's new state. Answers the keys to look at.
    pub(super) fn put(&mut self, key: &str, object: &Value, revision: u64) -> Vec<String> {
        self.forget(key);
        let entry = entry(key, object, revision);
        self.keys.insert(entry.uid.clone(), key.to_owned());
        for owner in &entry.owners {
            self.dependents.entry(owner.clone()).or_default().insert(key.to_owned());
        }
        let has_duties = entry.is_going || !entry.owners.is_empty();
        self.entries.insert(key.to_owned(), entry);
        if has_duties { vec![key.to_owned()] } else { Vec::new() }
    }

    /// Notes that an object is gone. Answers its dependents, and what may have waited for it.
    pub(super) fn remove(&mut self, key: &str) -> Vec<String> {
        let Some(entry) = self.forget(key) else { return Vec::new() };
        let mut affected = self.dependents(&entry.uid);
        let owners = entry.owners.iter().filter_map(|owner| self.keys.get(owner));
        let namespace = Kind::of_key(key).map(|(_, namespace, _)| format!("/core/namespaces/{namespace}"));
        let waiting = owners.cloned().chain(namespace);
        affected.extend(waiting.filter(|key| self.entries.get(key).is_some_and(|entry| entry.is_going)));
        affected
    }

    fn forget(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.keys.remove(&entry.uid);
        for owner in &entry.owners {
            if let Some(keys) = self.dependents.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        Some(entry)
    }

    /// Keys of the objects that name this UID as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// True when an object has owners and none of them is there.
    pub(super) fn is_orphaned(&self, key: &str) -> bool {
        let owners = self.entries.get(key).map_or(&[][..], |entry| &entry.owners);
        !owners.is_empty() && owners.iter().all(|owner| !self.keys.contains_key(owner))
    }

    /// Objects that are going or have owners: what a start looks at.
    pub(super) fn keys_with_duties(&self) -> Vec<String> {
        let with = self.entries.iter().filter(|(_, entry)| entry.is_going || !entry.owners.is_empty());
        with.map(|(key, _)| key.clone()).collect()
    }

    /// Objects that should be gone by now.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let late = self.entries.iter().filter(|(key, entry)| entry.is_going || self.is_orphaned(key));
        late.map(|(key, _)| key.clone()).collect()
    }

    /// Keys and revisions of what was last seen before `oldest`.
    pub(super) fn expired(&self, oldest: i64) -> Vec<(String, u64)> {
        let old = self.entries.iter().filter(|(_, entry)| entry.seen.is_some_and(|seen| seen < oldest));
        old.map(|(key, entry)| (key.clone(), entry.revision)).collect()
    }
}

fn entry(key: &str, object: &Value, revision: u64) -> Entry {
    let metadata = &object["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let expires = Kind::of_key(key).is_some_and(|(kind, ..)| matches!(kind.rules, Rules::Event | Rules::Csr));
    Entry {
        uid: text(&metadata["uid"]).to_owned(),
        owners: owners.map(|owner| text(&owner["uid"]).to_owned()).collect(),
        is_going: !metadata["deletionTimestamp"].is_null(),
        revision,
        seen: expires.then(|| last_seen(object)).flatten(),
    }
}

/// The latest time that an object carries, in Unix seconds.
fn last_seen(object: &Value) -> Option<i64> {
    let times = [
        &object["lastTimestamp"],
        &object["series"]["lastObservedTime"],
        &object["eventTime"],
        &object["metadata"]["creationTimestamp"],
    ];
    times.into_iter().filter_map(|time| text(time).parse::<Timestamp>().ok()).map(Timestamp::as_second).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(uid: &str, owners: &[&str]) -> Value {
        let owners: Vec<_> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        json!({"metadata": {"uid": uid, "ownerReferences": owners}})
    }

    #[test]
    fn an_object_is_orphaned_when_its_last_owner_goes() {
        let mut index = Index::default();
        let (a, b, child) = ("/processdistro.dev/jobs/n/a", "/processdistro.dev/jobs/n/b", "/core/events/n/c");
        index.put(a, &object("A", &[]), 1);
        index.put(b, &object("B", &[]), 2);
        assert_eq!(index.put(child, &object("C", &["A", "B"]), 3), [child]);
        assert_eq!(index.remove(a), [child]);
        assert!(!index.is_orphaned(child));
        assert_eq!(index.remove(b), [child]);
        assert!(index.is_orphaned(child));
        assert_eq!(index.unfinished(), [child]);
        index.put(b, &object("B2", &[]), 4);
        assert!(index.is_orphaned(child), "a new object of the old name is another owner");
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_when_a_dependent_goes() {
        let mut index = Index::default();
        let mut owner = object("A", &[]);
        owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        index.put("/processdistro.dev/jobs/n/a", &owner, 1);
        index.put("/core/events/n/c", &object("C", &["A"]), 2);
        assert_eq!(index.remove("/core/events/n/c"), ["/processdistro.dev/jobs/n/a"]);
    }
}
