//! The store: revisioned key-value operations under everything the API server promises.
//!
//! In: keys (`/<group>/<resource>/<namespace>/<name>`, cluster-scoped ones without the namespace part) and
//! object bytes. Out: records with the revision of their last change, and changes in revision order. It
//! knows nothing of kinds, JSON or users.

mod checkpoint;
mod derived;
mod envelope;
mod file;
mod hub;
pub mod import;
mod journal;
mod queue;
pub mod redb_store;
mod reserve;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
mod watchers;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

pub use self::{derived::Derived, watchers::TopicOf};

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// Revision of the transaction that last wrote it; grows over the whole store, never reused.
    pub revision: u64,
    /// The bytes as written.
    pub value: Bytes,
}

/// What must hold of a key for a transaction to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    Any,
    /// The key has no value.
    Absent,
    /// The key's value was last written by this revision.
    Revision(u64),
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: String,
    /// What must hold of it.
    pub precondition: Precondition,
    /// The new value; `None` deletes. Writing the bytes that are there already changes nothing.
    pub value: Option<Bytes>,
}

/// Which part of a prefix to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Most records to return; 0: all.
    pub limit: usize,
    /// Continue after this key, ...
    pub after: Option<String>,
    /// ... in the state of this revision; `None`: the newest.
    pub revision: Option<u64>,
}

/// Records beyond a page that are counted: a page must not cost a walk over everything behind it, and a client only
/// shows the number. 1,000 neighbouring keys are read in well under a millisecond.
pub const REMAINING_COUNTED_MAX: u64 = 1_000;

/// A page of records in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The records.
    pub records: Vec<Record>,
    /// The revision whose state this is; at least that of every record.
    pub revision: u64,
    /// Records of the prefix beyond this page, counted up to `REMAINING_COUNTED_MAX`: there are at least as many.
    pub remaining: u64,
}

/// One change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Revision of the transaction.
    pub revision: u64,
    /// The new value; `None`: deleted.
    pub value: Option<Bytes>,
    /// The value before; `None`: created.
    pub previous: Option<Bytes>,
    /// What its readers make of it, made once for all of them.
    pub derived: Derived,
}

/// Changes under a prefix in revision order, without gap or repetition. Ends when the watcher lags too far
/// behind or the store stops; the watcher then lists again.
pub type Changes = mpsc::Receiver<Arc<Change>>;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; nothing was written.
    #[error("`{key}` has changed: it is now at revision {actual:?}")]
    Conflict {
        /// The key whose precondition failed.
        key: String,
        /// Its revision now; `None`: it is absent.
        actual: Option<u64>,
    },
    /// The revision is older than the change log, or its snapshot is gone: list anew.
    #[error("revision {requested} is no longer available; the oldest one is {oldest}")]
    Compacted {
        /// As asked for.
        requested: u64,
        /// The oldest that can be had.
        oldest: u64,
    },
    /// The revision has not happened yet.
    #[error("revision {requested} is in the future; the newest one is {newest}")]
    Future {
        /// As asked for.
        requested: u64,
        /// The newest there is.
        newest: u64,
    },
    /// A record's digest does not match its bytes.
    #[error("the record of `{key}` is damaged: its digest does not match; restore it from a backup")]
    Corrupt {
        /// The record's key.
        key: String,
    },
    /// The disk is full; the store takes deletes only until there is space again.
    #[error(
        "the disk of the API server is full: it takes deletes only until there is space again; delete objects or \
         artifacts, or free space on that disk"
    )]
    Full,
    /// The disk failed; the store takes no writes until it has reopened.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
}

/// One state of a store. It stays as it is for as long as it is held, and costs the pages that have been replaced since.
pub trait View: Send + Sync {
    /// The newest revision in it.
    fn revision(&self) -> u64;
    /// A page of the records whose key starts with `prefix`; the page's own revision says nothing here.
    fn list(&self, prefix: &str, page: &Page) -> Result<Listing, StoreError>;
}

/// Revisioned key-value operations. Reads are snapshots and never wait for writes; an acknowledged
/// transaction is on disk.
pub trait Store: Send + Sync + 'static {
    /// The newest revision.
    fn revision(&self) -> u64;
    /// One record.
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError>;
    /// A page of the records whose key starts with `prefix`.
    fn list(&self, prefix: &str, page: &Page) -> Result<Listing, StoreError>;
    /// All or none of `writes`; answers the revision once it is durable. When nothing would change, answers the
    /// newest revision among the records as they stand.
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<u64, StoreError>>;
    /// The newest state, to be read for as long as it takes.
    fn view(&self) -> Result<Arc<dyn View>, StoreError>;
    /// Changes under `prefix` after revision `after`.
    fn watch(&self, prefix: &str, after: u64) -> Result<Changes, StoreError> {
        self.watch_topic(prefix, None, after)
    }
    /// Those of them whose object has `topic`, before or after.
    fn watch_topic(&self, prefix: &str, topic: Option<&str>, after: u64) -> Result<Changes, StoreError>;
    /// The newest revision whose changes are all in the queues of their watchers.
    fn published(&self) -> u64;
    /// `Err` with the reason while the store takes no writes.
    fn ready(&self) -> Result<(), StoreError>;
}
