//! Who is owned by whom, by key; and which objects are on their way out or grow old.
//!
//! In: objects as they change. Out: the keys that a change makes worth looking at. Pure. An object that has no owner,
//! is not going and does not expire leaves nothing here: a store of a million such objects has an empty index.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use memchr::memmem;
use serde_json::Value;

use super::super::{
    call::text,
    kinds::{KINDS, Kind, Rules},
    raw,
};

/// An owner as its dependent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: String,
    /// Where it is stored; `None`: it is of a kind that is not served, so nobody can say that it is gone.
    pub(super) key: Option<String>,
}

/// What is kept of an object.
#[derive(Clone, Debug, Default)]
struct Entry {
    owners: Vec<Owner>,
    is_going: bool,
    revision: u64,
    /// For kinds that expire: when it was last seen, in Unix seconds.
    seen: Option<i64>,
}

/// The objects that may have to be collected, without their bodies.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<String, Entry>,
    /// By the owner's key.
    dependents: BTreeMap<String, BTreeSet<String>>,
    going: BTreeSet<String>,
    /// By the time when they were last seen.
    aging: BTreeSet<(i64, String)>,
}

/// False when an object's bytes say that the index keeps nothing of it: most are never parsed.
pub(super) fn is_worth_parsing(key: &str, bytes: &[u8]) -> bool {
    expires(key)
        || memmem::find(bytes, b"\"ownerReferences\"").is_some()
        || memmem::find(bytes, b"\"deletionTimestamp\"").is_some()
}

/// True when the index keeps the same of an object's earlier bytes as of its later ones, for which neither is parsed: a
/// report of a node leaves its Assignment with the owner that it had.
pub(super) fn is_the_same(key: &str, earlier: &[u8], later: &[u8]) -> bool {
    let owners = |bytes| raw::value_at(bytes, &["metadata", "ownerReferences"]);
    let is_going = |bytes| raw::value_at(bytes, &["metadata", "deletionTimestamp"]).is_some();
    !expires(key) && !is_going(earlier) && !is_going(later) && owners(earlier) == owners(later)
}

fn expires(key: &str) -> bool {
    Kind::of_key(key).is_some_and(|(kind, ..)| matches!(kind.rules, Rules::Event | Rules::Csr))
}

impl Index {
    /// Notes an object's new state. Answers the keys to look at.
    pub(super) fn put(&mut self, key: &str, object: &Value, revision: u64) -> Vec<String> {
        self.forget(key);
        let entry = entry(key, object, revision);
        let has_duties = entry.is_going || !entry.owners.is_empty();
        if !has_duties && entry.seen.is_none() {
            return Vec::new();
        }
        for owner in entry.owners.iter().filter_map(|owner| owner.key.as_ref()) {
            self.dependents.entry(owner.clone()).or_default().insert(key.to_owned());
        }
        if entry.is_going {
            self.going.insert(key.to_owned());
        }
        if let Some(seen) = entry.seen {
            self.aging.insert((seen, key.to_owned()));
        }
        self.entries.insert(key.to_owned(), entry);
        if has_duties { vec![key.to_owned()] } else { Vec::new() }
    }

    /// Notes that an object is gone. Answers its dependents, and what may have waited for it.
    pub(super) fn remove(&mut self, key: &str) -> Vec<String> {
        let mut affected = self.dependents(key);
        let owners = self.forget(key).map(|entry| entry.owners).unwrap_or_default();
        let namespace = Kind::of_key(key).map(|(_, namespace, _)| format!("/core/namespaces/{namespace}"));
        let waiting = owners.into_iter().filter_map(|owner| owner.key).chain(namespace);
        affected.extend(waiting.filter(|key| self.going.contains(key)));
        affected
    }

    /// Notes that an object has nothing any more that matters here.
    pub(super) fn forget_object(&mut self, key: &str) {
        self.forget(key);
    }

    fn forget(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        for owner in entry.owners.iter().filter_map(|owner| owner.key.as_ref()) {
            if let Some(keys) = self.dependents.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        self.going.remove(key);
        if let Some(seen) = entry.seen {
            self.aging.remove(&(seen, key.to_owned()));
        }
        Some(entry)
    }

    /// Keys of the objects that name the object at `owner` as an owner, this one or an earlier one of its name.
    pub(super) fn dependents(&self, owner: &str) -> Vec<String> {
        self.dependents.get(owner).into_iter().flatten().cloned().collect()
    }

    /// Keys of the objects whose owner is the object at `owner` with this UID.
    pub(super) fn dependents_of(&self, owner: &str, uid: &str) -> Vec<String> {
        let mut keys = self.dependents(owner);
        keys.retain(|key| self.owners(key).iter().any(|owner| owner.uid == uid));
        keys
    }

    /// True when something is kept of the object.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// An object's owners.
    pub(super) fn owners(&self, key: &str) -> &[Owner] {
        self.entries.get(key).map_or(&[], |entry| &entry.owners)
    }

    /// Objects that are going or have owners: what a start looks at.
    pub(super) fn keys_with_duties(&self) -> Vec<String> {
        let with = self.entries.iter().filter(|(_, entry)| entry.is_going || !entry.owners.is_empty());
        with.map(|(key, _)| key.clone()).collect()
    }

    /// Objects that should be gone by now.
    pub(super) fn going(&self) -> impl Iterator<Item = &String> {
        self.going.iter()
    }

    /// Keys and revisions of what was last seen before `oldest`.
    pub(super) fn expired(&self, oldest: i64) -> Vec<(String, u64)> {
        let old = self.aging.range(..(oldest, String::new()));
        old.filter_map(|(_, key)| Some((key.clone(), self.entries.get(key)?.revision))).collect()
    }
}

fn entry(key: &str, object: &Value, revision: u64) -> Entry {
    let metadata = &object["metadata"];
    let namespace = Kind::of_key(key).map_or("", |(_, namespace, _)| namespace);
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    Entry {
        owners: owners.map(|reference| owner(namespace, reference)).collect(),
        is_going: !metadata["deletionTimestamp"].is_null(),
        revision,
        seen: expires(key).then(|| last_seen(object)).flatten(),
    }
}

fn owner(namespace: &str, reference: &Value) -> Owner {
    let (api_version, name) = (text(&reference["apiVersion"]), text(&reference["name"]));
    let kind = KINDS.iter().find(|kind| kind.name == text(&reference["kind"]) && kind.api_version() == api_version);
    let key = kind.map(|kind| kind.key(if kind.namespaced { namespace } else { "" }, name));
    Owner { uid: text(&reference["uid"]).to_owned(), key }
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

    const A: &str = "/processdistro.dev/jobs/n/a";
    const B: &str = "/processdistro.dev/jobs/n/b";
    const CHILD: &str = "/core/events/n/c";

    fn object(uid: &str, owners: &[(&str, &str)]) -> Value {
        let owners = owners
            .iter()
            .map(|(name, uid)| json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "name": name, "uid": uid}));
        json!({"metadata": {"uid": uid, "ownerReferences": owners.collect::<Value>()}})
    }

    #[test]
    fn dependents_are_looked_at_when_an_owner_goes() {
        let mut index = Index::default();
        index.put(A, &object("A", &[]), 1);
        assert_eq!(index.put(CHILD, &object("C", &[("a", "A"), ("b", "B")]), 3), [CHILD]);
        assert_eq!(index.remove(A), [CHILD]);
        assert_eq!(index.remove(B), [CHILD]);
        let owner = |uid: &str, key: &str| Owner { uid: uid.to_owned(), key: Some(key.to_owned()) };
        assert_eq!(index.owners(CHILD), [owner("A", A), owner("B", B)]);
        assert_eq!(index.dependents_of(B, "B"), [CHILD]);
        assert_eq!(index.dependents_of(B, "B2"), Vec::<String>::new(), "a new object of the old name is another owner");
        index.put(CHILD, &object("C", &[]), 4);
        assert_eq!(index.remove(A), Vec::<String>::new());
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_when_a_dependent_goes() {
        let mut index = Index::default();
        let mut owner = object("A", &[]);
        owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        index.put(A, &owner, 1);
        index.put(CHILD, &object("C", &[("a", "A")]), 2);
        assert_eq!(index.going().collect::<Vec<_>>(), [A]);
        assert_eq!(index.remove(CHILD), [A]);
        index.put(A, &object("A", &[]), 3);
        assert_eq!(index.going().count(), 0);
    }

    #[test]
    fn what_leaves_owners_and_deletion_alone_changes_nothing() {
        let bytes = |object: &Value| object.to_string().into_bytes();
        let (mut plain, owned) = (object("C", &[]), object("C", &[("a", "A")]));
        let mut reported = owned.clone();
        reported["status"] = json!({"metadata": {"deletionTimestamp": "now"}});
        assert!(is_the_same(A, &bytes(&owned), &bytes(&reported)));
        assert!(!is_the_same(A, &bytes(&plain), &bytes(&owned)), "it got an owner");
        plain["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!is_the_same(A, &bytes(&plain), &bytes(&plain)), "it waits for somebody");
        assert!(!is_the_same(CHILD, &bytes(&owned), &bytes(&owned)), "an Event that is seen again is younger");
    }

    #[test]
    fn what_has_no_duties_leaves_nothing() {
        let mut index = Index::default();
        for number in 0..100 {
            index.put(&format!("/coordination.k8s.io/leases/n/{number}"), &object("x", &[]), number);
        }
        assert!(index.entries.is_empty() && index.dependents.is_empty());
        let bytes = object("x", &[]).to_string().replace("\"ownerReferences\":[]", "\"labels\":{}");
        assert!(!is_worth_parsing("/coordination.k8s.io/leases/n/x", bytes.as_bytes()));
        assert!(is_worth_parsing(CHILD, bytes.as_bytes()), "events expire");
        assert!(is_worth_parsing(A, object("x", &[("a", "A")]).to_string().as_bytes()));
    }

    #[test]
    fn the_oldest_expire_first_and_a_new_sighting_counts() {
        let mut index = Index::default();
        let seen = |second: i64| {
            let time = Timestamp::from_second(second).expect("a time");
            json!({"metadata": {"uid": "x"}, "lastTimestamp": time.to_string()})
        };
        index.put("/core/events/n/1", &seen(100), 1);
        index.put("/core/events/n/2", &seen(200), 2);
        assert_eq!(index.expired(150), [("/core/events/n/1".to_owned(), 1)]);
        index.put("/core/events/n/1", &seen(300), 3);
        assert_eq!(index.expired(150), []);
        index.remove("/core/events/n/2");
        assert_eq!(index.expired(400), [("/core/events/n/1".to_owned(), 3)]);
    }
}
