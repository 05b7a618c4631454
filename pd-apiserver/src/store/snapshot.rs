//! Reading one state of the store.
//!
//! In: a redb read transaction. Out: records and changes whose digests hold. A snapshot never changes and
//! never waits; the writer makes a new one after each commit.

use std::{
    collections::VecDeque,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Change, Derived, Listing, Page, REMAINING_COUNTED_MAX, Record, StoreError, View, envelope};

/// Objects by key, as envelopes.
pub(super) const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
/// The change log: chunks of changes by (newest revision in it, position among those of that revision), as envelopes.
pub(super) const CHANGES: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("changes");
/// The store's own counters.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// In META: the newest revision.
pub(super) const META_REVISION: &str = "revision";
/// In META: the newest revision of which the change log has lost something.
pub(super) const META_COMPACTED: &str = "compacted";
/// In META: changes in the change log.
pub(super) const META_LOG_COUNT: &str = "log-count";
/// In META: bytes of its chunks.
pub(super) const META_LOG_BYTES: &str = "log-bytes";

/// Snapshots kept for the continue tokens of paged lists: together they pin the pages that were replaced since the oldest.
const PAGED_SNAPSHOTS_MAX: usize = 64;
/// How long a paged list may take from its first page to its last, as Kubernetes has it by default.
const PAGED_SNAPSHOT_AGE_MAX: Duration = Duration::from_mins(5);
/// History handed to one new watcher, in bytes: beyond it listing anew is cheaper for both sides.
const HISTORY_BYTES_MAX: usize = 32 << 20;

/// One state of the store.
pub(super) struct Snapshot {
    pub(super) revision: u64,
    pub(super) compacted: u64,
    objects: ReadOnlyTable<&'static str, &'static [u8]>,
    changes: ReadOnlyTable<(u64, u32), &'static [u8]>,
}

/// redb may panic on a damaged page; a reader must get an error instead.
pub(super) fn guarded<T>(key: &str, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(StoreError::Corrupt { key: key.to_owned() }))
}

pub(super) fn unavailable(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Unavailable(error.into().to_string())
}

impl Snapshot {
    pub(super) fn take(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |value| value.value()));
        Ok(Self {
            revision: number(META_REVISION)?,
            compacted: number(META_COMPACTED)?,
            objects: transaction.open_table(OBJECTS)?,
            changes: transaction.open_table(CHANGES)?,
        })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        guarded(key, || {
            let Some(guard) = self.objects.get(key).map_err(unavailable)? else { return Ok(None) };
            decode(key, guard.value()).map(Some)
        })
    }

    pub(super) fn list(&self, prefix: &str, page: &Page) -> Result<Listing, StoreError> {
        guarded(prefix, || {
            let start = match &page.after {
                Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
                _ => Bound::Included(prefix),
            };
            let mut records = Vec::new();
            let mut remaining = 0;
            for entry in self.objects.range::<&str>((start, Bound::Unbounded)).map_err(unavailable)? {
                let (key, value) = entry.map_err(unavailable)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                if page.limit > 0 && records.len() == page.limit {
                    remaining += 1;
                    if remaining == REMAINING_COUNTED_MAX {
                        break;
                    }
                } else {
                    records.push(decode(key.value(), value.value())?);
                }
            }
            Ok(Listing { records, revision: self.revision, remaining })
        })
    }

    /// The changes under `prefix` after revision `after`, oldest first.
    pub(super) fn history(&self, prefix: &str, after: u64) -> Result<Vec<Arc<Change>>, StoreError> {
        if after < self.compacted {
            return Err(StoreError::Compacted { requested: after, oldest: self.compacted });
        }
        guarded(prefix, || {
            let mut changes = Vec::new();
            let mut bytes = 0;
            // A chunk stands under its newest revision, so the first one found holds `after + 1`.
            for entry in self.changes.range((after + 1, 0)..).map_err(unavailable)? {
                let (position, record) = entry.map_err(unavailable)?;
                for change in decode_chunk(position.value(), record.value(), after, prefix)? {
                    bytes += change_bytes(&change);
                    if bytes > HISTORY_BYTES_MAX {
                        return Err(StoreError::Compacted { requested: after, oldest: self.revision });
                    }
                    changes.push(Arc::new(change));
                }
            }
            Ok(changes)
        })
    }

    /// The newest changes, oldest first: at most `count` of at most `bytes` in all, whole revisions only.
    /// With them the revision after which they are complete.
    pub(super) fn tail(&self, count: usize, bytes: usize) -> Result<(u64, VecDeque<Arc<Change>>), StoreError> {
        guarded("changes", || {
            let mut changes: VecDeque<Arc<Change>> = VecDeque::new();
            let mut size = 0;
            for entry in self.changes.iter().map_err(unavailable)?.rev() {
                let (position, record) = entry.map_err(unavailable)?;
                for change in decode_chunk(position.value(), record.value(), 0, "")?.into_iter().rev() {
                    size += change_bytes(&change);
                    if changes.len() == count || size > bytes {
                        changes.retain(|kept| kept.revision > change.revision);
                        return Ok((change.revision, changes));
                    }
                    changes.push_front(Arc::new(change));
                }
            }
            Ok((self.compacted, changes))
        })
    }
}

impl View for Snapshot {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn list(&self, prefix: &str, page: &Page) -> Result<Listing, StoreError> {
        Self::list(self, prefix, page)
    }
}

/// What a change costs in memory and in the log, in bytes.
pub(super) fn change_bytes(change: &Change) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    64 + change.key.len() + length(&change.value) + length(&change.previous)
}

/// The name under which a change-log record is sealed.
pub(super) fn log_key(position: (u64, u32)) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&position.0.to_le_bytes());
    key[8..].copy_from_slice(&position.1.to_le_bytes());
    key
}

pub(super) fn decode(key: &str, record: &[u8]) -> Result<Record, StoreError> {
    let opened = envelope::open(key.as_bytes(), record).map_err(|_| StoreError::Corrupt { key: key.to_owned() })?;
    Ok(Record { key: key.to_owned(), revision: opened.revision, value: Bytes::copy_from_slice(opened.payload) })
}

/// The changes of one chunk under `prefix` and after revision `after`.
fn decode_chunk(position: (u64, u32), record: &[u8], after: u64, prefix: &str) -> Result<Vec<Change>, StoreError> {
    let corrupt = |_| StoreError::Corrupt { key: format!("chunk {} of changes up to {}", position.1, position.0) };
    let opened = envelope::open(&log_key(position), record).map_err(corrupt)?;
    let mut changes = Vec::new();
    for logged in envelope::changes_of(opened.payload).map_err(corrupt)? {
        let logged = logged.map_err(corrupt)?;
        if logged.revision > after && logged.key.starts_with(prefix) {
            let bytes = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
            changes.push(Change {
                key: logged.key.to_owned(),
                revision: logged.revision,
                value: bytes(logged.value),
                previous: bytes(logged.previous),
                derived: Derived::default(),
            });
        }
    }
    Ok(changes)
}

/// Snapshots that paged lists still need, the one that was used longest ago first.
#[derive(Default)]
pub(super) struct PagedSnapshots {
    kept: VecDeque<(Instant, Arc<Snapshot>)>,
}

impl PagedSnapshots {
    /// Keeps a snapshot, instead of the one that was used longest ago when there are too many.
    pub(super) fn keep(&mut self, snapshot: &Arc<Snapshot>, now: Instant) {
        self.expire(now);
        if self.find(snapshot.revision).is_some() {
            return;
        }
        if self.kept.len() == PAGED_SNAPSHOTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((now, Arc::clone(snapshot)));
    }

    /// The snapshot of a revision, which is used now.
    pub(super) fn find(&mut self, revision: u64) -> Option<Arc<Snapshot>> {
        let at = self.kept.iter().position(|(_, snapshot)| snapshot.revision == revision)?;
        let used = self.kept.remove(at)?;
        let snapshot = Arc::clone(&used.1);
        self.kept.push_back(used);
        Some(snapshot)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.kept.retain(|(since, _)| now.duration_since(*since) <= PAGED_SNAPSHOT_AGE_MAX);
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}
