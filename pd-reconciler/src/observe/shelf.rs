//! Shelf: all objects of one kind as last seen, by watch or by our own writes. The newer resourceVersion wins,
//! so a watch that lags behind a write of ours cannot bring the past back. Managed fields are not kept: who owns which field
//! is nothing to us, and they are often half of an object.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Resource, runtime::watcher::Event};

/// Namespace (empty for none) and name.
pub(crate) type Key = (String, String);

/// All objects of one kind.
pub(crate) struct Shelf<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// What a listing under way has brought so far.
    listing: Option<BTreeMap<Key, Arc<K>>>,
    is_synced: bool,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listing: None, is_synced: false }
    }
}

impl<K: Resource + Clone> Shelf<K> {
    /// True once the first listing is complete.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    pub(crate) fn objects(&self) -> &BTreeMap<Key, Arc<K>> {
        &self.objects
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Takes a watch event in; the objects that changed.
    pub(crate) fn take(&mut self, event: Event<K>) -> Vec<Arc<K>> {
        match event {
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => self.drop_deleted(&object),
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                vec![]
            }
            Event::InitApply(object) => {
                let key = key(&object);
                self.listing.get_or_insert_default().insert(key, kept(object));
                vec![]
            }
            Event::InitDone => self.end_listing(),
        }
    }

    /// Takes one object in, from a watch or as the answer to a write; itself, if it is news.
    pub(crate) fn put(&mut self, object: K) -> Vec<Arc<K>> {
        let key = key(&object);
        if self.objects.get(&key).is_some_and(|old| !is_newer(&object, old)) {
            return vec![];
        }
        let object = kept(object);
        self.objects.insert(key, Arc::clone(&object));
        vec![object]
    }

    /// Takes one object out that we deleted; itself, if it is still here.
    pub(crate) fn forget(&mut self, object: &K) -> Vec<Arc<K>> {
        self.drop_deleted(object)
    }

    fn drop_deleted(&mut self, object: &K) -> Vec<Arc<K>> {
        let key = key(object);
        let is_gone = |old: &Arc<K>| old.meta().uid == object.meta().uid || is_newer(object, old);
        if self.objects.get(&key).is_some_and(is_gone) {
            self.objects.remove(&key).into_iter().collect()
        } else {
            vec![]
        }
    }

    /// Replaces everything by what was listed, but for what we know in a newer version.
    fn end_listing(&mut self) -> Vec<Arc<K>> {
        let listed = self.listing.take().unwrap_or_default();
        self.is_synced = true;
        let mut changed: Vec<Arc<K>> = Vec::new();
        self.objects.retain(|key, object| {
            let is_listed = listed.contains_key(key);
            if !is_listed {
                changed.push(Arc::clone(object));
            }
            is_listed
        });
        for (key, object) in listed {
            if self.objects.get(&key).is_none_or(|old| is_newer(&*object, old)) {
                changed.push(Arc::clone(&object));
                self.objects.insert(key, object);
            }
        }
        changed
    }
}

/// An object as it is kept.
fn kept<K: Resource>(mut object: K) -> Arc<K> {
    object.meta_mut().managed_fields = None;
    Arc::new(object)
}

/// Where an object stands on its shelf.
pub(crate) fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// True when `new` has a higher resourceVersion than `old`, or one that cannot be compared.
fn is_newer<K: Resource>(new: &K, old: &Arc<K>) -> bool {
    let version = |object: &K| object.meta().resource_version.as_deref().and_then(|text| text.parse::<u64>().ok());
    match (version(new), version(old)) {
        (Some(new), Some(old)) => new > old,
        _ => new.meta().resource_version != old.meta().resource_version,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    fn node(name: &str, uid: &str, version: u64) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        node.metadata.uid = Some(uid.into());
        node.metadata.resource_version = Some(version.to_string());
        node
    }

    #[test]
    fn a_watch_that_lags_behind_our_write_brings_nothing_back() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.put(node("a", "u", 5)).len(), 1);
        assert!(shelf.take(Event::Apply(node("a", "u", 4))).is_empty());
        assert!(shelf.take(Event::Apply(node("a", "u", 5))).is_empty());
        assert_eq!(shelf.take(Event::Apply(node("a", "u", 6))).len(), 1);
    }

    #[test]
    fn a_listing_replaces_everything_but_what_is_newer() {
        let mut shelf = Shelf::default();
        shelf.put(node("a", "u", 9));
        shelf.put(node("b", "u", 2));
        for event in [Event::Init, Event::InitApply(node("a", "u", 5)), Event::InitApply(node("c", "u", 6))] {
            assert!(shelf.take(event).is_empty());
        }
        assert!(!shelf.is_synced());
        let changed = shelf.take(Event::InitDone);
        assert_eq!(changed.len(), 2, "b is gone, c is new");
        let versions: Vec<_> = shelf.values().map(|node| node.metadata.resource_version.clone().unwrap()).collect();
        assert_eq!(versions, ["9", "6"]);
        assert!(shelf.is_synced());
    }

    #[test]
    fn the_deletion_of_an_earlier_object_of_the_name_is_ignored() {
        let mut shelf = Shelf::default();
        shelf.put(node("a", "new", 9));
        assert!(shelf.take(Event::Delete(node("a", "old", 8))).is_empty());
        assert_eq!(shelf.take(Event::Delete(node("a", "new", 9))).len(), 1);
    }
}
