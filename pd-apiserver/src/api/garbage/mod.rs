//! Garbage: objects that have lost their last owner, their namespace or their time.
//!
//! In: every change of the store. Out: deletions, through the registry. It keeps an index of owners, so its work is
//! proportional to what changes, never to what is stored; a start reads the store once, beside the requests.

mod index;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::index::{Index, Owner, is_the_same, is_worth_parsing};
use super::{
    ApiState,
    call::{Call, text},
    error::ApiError,
    kinds::{KINDS, Kind, Rules},
    media::Document,
    registry::{self, Change, DeleteOptions, FOREGROUND, ORPHAN},
    serve::system_call,
    watch,
};
use crate::store::{self, Page, Precondition, Store, StoreError, Write};

/// How often things are tried again that failed, and expired objects are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(10);
/// Pause before starting over when the store ended our watch.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// Records read at a time when the index is built.
const PAGE_RECORDS: usize = 500;
/// How long an Event is kept after it was last seen; upstream's default. Requests for certificates too.
const EVENT_TTL_SECONDS: i64 = 3_600;
/// Keys examined before others get their turn: some 10 µs each.
const EXAMINED_IN_A_ROW: usize = 64;

/// Collects until the server stops.
pub(super) async fn run(state: Arc<ApiState>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = follow(&state, &stop).await {
            tracing::warn!(%error, "the garbage collector starts over");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_DELAY) => {}
        }
    }
}

/// One life: build the index, then follow the changes until they end.
async fn follow(state: &Arc<ApiState>, stop: &CancellationToken) -> Result<(), ApiError> {
    let store = Arc::clone(&state.store);
    // A million objects take seconds to read: on a thread where nobody else waits.
    let stopping = stop.clone();
    let loaded = tokio::task::spawn_blocking(move || load(&*store, &stopping)).await;
    let (index, revision) =
        loaded.map_err(|error| ApiError::Internal(format!("loading the index failed: {error}")))??;
    let mut collector = Collector { state: Arc::clone(state), index, due: BTreeSet::new(), again: BTreeSet::new() };
    let mut changes = state.store.watch("/", revision)?;
    collector.due.extend(collector.index.keys_with_duties());
    let mut sweeps = tokio::time::interval(SWEEP_PERIOD);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            change = changes.recv() => match change {
                Some(change) => collector.note(&change),
                None => return Ok(()),
            },
            _ = sweeps.tick() => {
                collector.expire().await;
                collector.due.extend(collector.index.going().cloned());
                collector.due.append(&mut collector.again);
            }
        }
        // Everything that has arrived goes into the index before anything is decided.
        while let Ok(change) = changes.try_recv() {
            collector.note(&change);
        }
        collector.work().await;
    }
}

/// Reads the whole store once. Answers the index and the revision it shows.
fn load(store: &dyn Store, stop: &CancellationToken) -> Result<(Index, u64), ApiError> {
    let mut index = Index::default();
    let mut page = Page { limit: PAGE_RECORDS, ..Page::default() };
    loop {
        if stop.is_cancelled() {
            return Err(ApiError::Internal("the server stops".to_owned()));
        }
        let listing = store.list("/", &page)?;
        for record in listing.records.iter().filter(|record| is_worth_parsing(&record.key, &record.value)) {
            if let Ok(object) = serde_json::from_slice(&record.value) {
                index.put(&record.key, &object, record.revision);
            }
        }
        let Some(last) = listing.records.last().filter(|_| listing.remaining > 0) else {
            return Ok((index, listing.revision));
        };
        page.after = Some(last.key.clone());
        page.revision = Some(listing.revision);
    }
}

struct Collector {
    state: Arc<ApiState>,
    index: Index,
    /// Keys to look at.
    due: BTreeSet<String>,
    /// Keys to look at again with the next sweep: something failed.
    again: BTreeSet<String>,
}

impl Collector {
    fn note(&mut self, change: &store::Change) {
        let Some(bytes) = &change.value else {
            self.due.extend(self.index.remove(&change.key));
            return;
        };
        let is_known = |earlier: &Bytes| self.index.holds(&change.key) && is_the_same(&change.key, earlier, bytes);
        if change.previous.as_ref().is_some_and(is_known) {
            return;
        }
        let object = if is_worth_parsing(&change.key, bytes) { watch::new_object(change).ok().flatten() } else { None };
        match object {
            Some(object) => self.due.extend(self.index.put(&change.key, object, change.revision)),
            None => self.index.forget_object(&change.key),
        }
    }

    async fn work(&mut self) {
        for (at, key) in std::mem::take(&mut self.due).into_iter().enumerate() {
            if at % EXAMINED_IN_A_ROW == EXAMINED_IN_A_ROW - 1 {
                tokio::task::yield_now().await;
            }
            if let Err(error) = self.examine(&key).await {
                tracing::debug!(key, %error, "cannot collect it now");
                self.again.insert(key);
            }
        }
    }

    /// True when an object has owners and none of them is there.
    fn is_orphaned(&self, key: &str) -> Result<bool, ApiError> {
        let owners = self.index.owners(key);
        for owner in owners {
            if self.is_there(owner)? {
                return Ok(false);
            }
        }
        Ok(!owners.is_empty())
    }

    /// An owner of a kind that is not served is taken to be there: nobody can tell.
    fn is_there(&self, owner: &Owner) -> Result<bool, ApiError> {
        let Some((kind, namespace, name)) = owner.key.as_deref().and_then(Kind::of_key) else { return Ok(true) };
        let found = registry::find(&*self.state.store, kind, namespace, name)?;
        Ok(found.is_some_and(|stored| text(&stored.object["metadata"]["uid"]) == owner.uid))
    }

    async fn examine(&self, key: &str) -> Result<(), ApiError> {
        let Some((kind, namespace, name)) = Kind::of_key(key) else { return Ok(()) };
        let Some(stored) = registry::find(&*self.state.store, kind, namespace, name)? else { return Ok(()) };
        let object = stored.object;
        let call = system_call(&self.state, kind.rules, namespace, name);
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return self.finish(&call, &object, stored.revision).await;
        }
        if self.is_orphaned(key)? {
            tracing::debug!(key, "deleting an object whose owners are gone");
            let uid = &object["metadata"]["uid"];
            return delete(&call, json!({"preconditions": {"uid": uid}})).await;
        }
        Ok(())
    }

    /// Brings an object's deletion forward, as far as it waits for us.
    async fn finish(&self, call: &Call, object: &Value, revision: u64) -> Result<(), ApiError> {
        let uid = text(&object["metadata"]["uid"]);
        let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if finalizers.iter().any(|finalizer| finalizer == ORPHAN) {
            for key in self.index.dependents_of(&call.target.key(), uid) {
                self.set_free(&key, uid).await?;
            }
            return remove_finalizer(call, object, ORPHAN).await;
        }
        if finalizers.iter().any(|finalizer| finalizer == FOREGROUND) {
            let dependents = self.index.dependents_of(&call.target.key(), uid);
            if dependents.is_empty() {
                return remove_finalizer(call, object, FOREGROUND).await;
            }
            for key in dependents {
                if let Some((kind, namespace, name)) = Kind::of_key(&key) {
                    delete(&system_call(&self.state, kind.rules, namespace, name), Value::Null).await?;
                }
            }
            return Ok(());
        }
        if call.target.kind.rules == Rules::Namespace && finalizers.is_empty() {
            return self.empty_namespace(call, revision).await;
        }
        Ok(())
    }

    /// Takes one owner out of a dependent's references.
    async fn set_free(&self, key: &str, owner: &str) -> Result<(), ApiError> {
        let Some((kind, namespace, name)) = Kind::of_key(key) else { return Ok(()) };
        let Some(stored) = registry::find(&*self.state.store, kind, namespace, name)? else { return Ok(()) };
        let owners = stored.object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let kept: Vec<_> = owners.filter(|reference| reference["uid"] != owner).cloned().collect();
        let version = &stored.object["metadata"]["resourceVersion"];
        let patch = json!({"metadata": {"ownerReferences": kept, "resourceVersion": version}});
        merge(&system_call(&self.state, kind.rules, namespace, name), patch).await
    }

    /// Deletes what is in a namespace, and the namespace when nothing is.
    async fn empty_namespace(&self, call: &Call, revision: u64) -> Result<(), ApiError> {
        let namespace = &call.target.name;
        let mut is_empty = true;
        for kind in KINDS.iter().filter(|kind| kind.namespaced && kind.verbs.contains(&"deletecollection")) {
            let inside = system_call(&self.state, kind.rules, namespace, "");
            registry::delete_collection(&inside, &DeleteOptions::default()).await?;
            is_empty &= registry::all(&inside)?.records.is_empty();
        }
        if !is_empty {
            return Ok(());
        }
        let write = Write { key: call.target.key(), precondition: Precondition::Revision(revision), value: None };
        match self.state.store.commit(vec![write]).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes Events and requests that nobody has touched for long.
    async fn expire(&self) {
        let oldest = jiff::Timestamp::now().as_second() - EVENT_TTL_SECONDS;
        for (key, revision) in self.index.expired(oldest) {
            let write = Write { key, precondition: Precondition::Revision(revision), value: None };
            if let Err(error @ StoreError::Unavailable(_)) = self.state.store.commit(vec![write]).await {
                tracing::debug!(%error, "cannot delete expired objects now");
                return;
            }
        }
    }
}

async fn delete(call: &Call, body: Value) -> Result<(), ApiError> {
    let options = DeleteOptions::parse(&body, &call.options)?;
    match registry::delete(call, &options).await {
        Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn merge(call: &Call, patch: Value) -> Result<(), ApiError> {
    let change = Change::MergePatch(Document { value: patch, duplicates: Vec::new() });
    match registry::update(call, change).await {
        Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn remove_finalizer(call: &Call, object: &Value, finalizer: &str) -> Result<(), ApiError> {
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let kept: Vec<_> = finalizers.filter(|present| *present != finalizer).cloned().collect();
    let version = &object["metadata"]["resourceVersion"];
    merge(call, json!({"metadata": {"finalizers": kept, "resourceVersion": version}})).await
}
