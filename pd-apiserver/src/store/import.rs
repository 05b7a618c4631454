//! A store made anew from the records of a backup.
//!
//! In: records as they were listed. Out: a store file that has them, in a later epoch: every record's revision is beyond
//! all that the old store can have given out, and the change log begins there. Whoever has watched the old one is told
//! to list anew, finds what it lists newer than what it knows, and never takes a new change for one that it has seen.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use redb::Database;
use uuid::Uuid;

use super::{
    Record,
    checkpoint::durable,
    envelope,
    file::{OpenError, create_unfinished, failed, refused, sync_folder_of, write_marker_of},
    snapshot::{META, META_COMPACTED, META_REVISION, OBJECTS},
};

/// Revisions of one epoch: at a million writes a second, twelve days; at the hundred that a busy cluster makes, three
/// centuries. 2^23 epochs fit below what clients in any language read.
const EPOCH_BITS: u32 = 40;

/// A store that is being filled. Until `finish` the folder has a marker and no store, so that no server starts in it.
pub struct Import {
    database: Database,
    temporary: PathBuf,
    path: PathBuf,
    /// The first revision of the epoch: that of every record.
    first: u64,
}

/// Where the epoch after that of `revision` begins.
pub fn next_epoch(revision: u64) -> u64 {
    ((revision >> EPOCH_BITS) + 1) << EPOCH_BITS
}

impl Import {
    /// Begins a store of `cluster` at `path`, in a folder that has none; `revision` is the newest of the old store that
    /// is known of.
    pub fn begin(path: &Path, cluster: Uuid, revision: u64) -> Result<Self, OpenError> {
        write_marker_of(path, cluster)?;
        let (database, temporary) = create_unfinished(path, cluster)?;
        Ok(Self { database, temporary, path: path.to_owned(), first: next_epoch(revision) })
    }

    /// Takes records in, all or none of them; their old revisions say nothing any more.
    pub fn put(&self, records: &[Record]) -> Result<(), OpenError> {
        let put = || {
            let transaction = durable(&self.database)?;
            {
                let mut objects = transaction.open_table(OBJECTS)?;
                for Record { key, value, .. } in records {
                    let sealed = envelope::seal(key.as_bytes(), self.first, value);
                    objects.insert(key.as_str(), sealed.as_slice())?;
                }
            }
            Ok::<_, redb::Error>(transaction.commit()?)
        };
        put().map_err(refused(&self.temporary))
    }

    /// Makes it the store. Answers the revision it begins with.
    pub fn finish(self) -> Result<u64, OpenError> {
        let Self { database, temporary, path, first } = self;
        let mark = || {
            let transaction = durable(&database)?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(META_REVISION, first)?;
                meta.insert(META_COMPACTED, first)?;
            }
            Ok::<_, redb::Error>(transaction.commit()?)
        };
        mark().map_err(refused(&temporary))?;
        database.close().map_err(refused(&temporary))?;
        File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed("sync", &temporary))?;
        fs::rename(&temporary, &path).map_err(failed("rename", &temporary))?;
        sync_folder_of(&path)?;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{Page, Precondition, Store, StoreError, Write, redb_store::RedbStore};

    fn record(key: &str, revision: u64) -> Record {
        Record { key: key.to_owned(), revision, value: Bytes::from(format!("{{\"at\":{revision}}}")) }
    }

    #[test]
    fn every_epoch_is_beyond_the_one_before() {
        assert_eq!(next_epoch(1), 1 << 40);
        assert_eq!(next_epoch((1 << 40) - 1), 1 << 40);
        assert_eq!(next_epoch(1 << 40), 2 << 40);
        assert!(next_epoch(u64::from(u32::MAX) << 20) < 1 << 53, "JavaScript reads it");
    }

    #[test]
    fn an_imported_store_has_the_records_and_tells_old_watchers_to_list_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let import = Import::begin(&path, Uuid::max(), 12).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(OpenError::Missing { .. })), "a server would begin a new cluster");
        let records = [record("/a", 7), record("/b", 9)];
        import.put(&records[..1]).unwrap();
        import.put(&records[1..]).unwrap();
        let first = import.finish().unwrap();

        let store = RedbStore::open(&path).unwrap();
        let listing = store.list("/", &Page::default()).unwrap();
        let expected = records.map(|record| Record { revision: first, ..record });
        assert_eq!((listing.records.as_slice(), listing.revision), (&expected[..], first));
        // The old store went on after the backup; its revisions are no place to watch from.
        for seen in [12, 500] {
            assert_eq!(store.watch("/", seen).err(), Some(StoreError::Compacted { requested: seen, oldest: first }));
        }
        assert!(store.watch("/", first).is_ok());
        let write =
            |precondition| vec![Write { key: "/a".to_owned(), precondition, value: Some(Bytes::from_static(b"{}")) }];
        // What was read before is old, even where it is the same.
        assert!(futures::executor::block_on(store.commit(write(Precondition::Revision(7)))).is_err());
        let next = futures::executor::block_on(store.commit(write(Precondition::Revision(first)))).unwrap();
        assert!(next > first);
    }
}
