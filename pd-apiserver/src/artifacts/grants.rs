//! Which artifacts a node may fetch: those that its own Assignments name, and no others.
//!
//! In: the store's Assignment records. Out: yes or no, for a node and a digest. The records are read once and
//! then followed through a watch. A change is in the watch's queue before anybody hears of it, so an answer is
//! never behind what the asking node has seen.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use schemas::{Digest, well_known::GROUP};
use serde::Deserialize;
use tokio::sync::mpsc::error::TryRecvError;

use super::garbage::digests_in;
use crate::store::{Change, Changes, Page, Store, StoreError};

/// Follows the Assignments of a store.
pub struct NodeGrants {
    store: Arc<dyn Store>,
    index: Mutex<Option<Index>>,
}

struct Index {
    changes: Changes,
    by_key: HashMap<String, Named>,
}

/// What one Assignment names.
struct Named {
    node: String,
    digests: HashSet<Digest>,
}

#[derive(Deserialize)]
struct Assignment {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

impl NodeGrants {
    /// Over the Assignments of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, index: Mutex::default() }
    }

    /// Whether an Assignment of `node` names `digest`.
    pub fn allow(&self, node: &str, digest: &Digest) -> Result<bool, StoreError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match index.take().and_then(Index::caught_up) {
            Some(current) => current,
            None => Index::read(self.store.as_ref())?,
        };
        let current = index.insert(current);
        Ok(current.by_key.values().any(|named| named.node == node && named.digests.contains(digest)))
    }
}

impl Index {
    fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let prefix = format!("/{GROUP}/assignments/");
        let listing = store.list(&prefix, &Page::default())?;
        let changes = store.watch(&prefix, listing.revision)?;
        let named = listing.records.into_iter().filter_map(|record| Some((record.key, Named::read(&record.value)?)));
        Ok(Self { changes, by_key: named.collect() })
    }

    /// With all changes up to now; `None` when the watch has ended.
    fn caught_up(mut self) -> Option<Self> {
        let mut newest: HashMap<String, Arc<Change>> = HashMap::new();
        loop {
            match self.changes.try_recv() {
                Ok(change) => newest.insert(change.key.clone(), change),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return None,
            };
        }
        for (key, change) in newest {
            match change.value.as_deref().and_then(Named::read) {
                Some(named) => self.by_key.insert(key, named),
                None => self.by_key.remove(&key),
            };
        }
        Some(self)
    }
}

impl Named {
    fn read(value: &[u8]) -> Option<Self> {
        let assignment: Assignment = serde_json::from_slice(value).ok()?;
        Some(Self { node: assignment.spec.node_name, digests: digests_in(value).collect() })
    }
}
