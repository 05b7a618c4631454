//! The journal: what has been acknowledged since the database was last made durable.
//!
//! In: batches of changes. Out: the same batches after a crash. One batch is one record, written with one write and one
//! fdatasync into a file whose blocks are all there already; making the database durable costs several times that, so
//! it happens once for many batches (a checkpoint), after which the journal begins anew at its start.
//!
//! A record that was being written when the machine stopped is dropped: nobody has been answered. A damaged record with
//! a good newer one behind it is not such a record, and the store refuses to open.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::BufMut;
use uuid::Uuid;

use super::{
    envelope,
    file::{OpenError, failed, sync_folder_of},
    reserve::{share_of_disk, write_zeros},
};

/// Size of the file: some 10,000 writes of 1 KiB between two checkpoints. Reading it takes some 10 ms at a start; a
/// batch that does not fit makes the database durable itself.
const JOURNAL_BYTES: u64 = 16 << 20;
/// Part of a small disk that it may take: a quarter of what the reserve takes, which must hold all of it.
const JOURNAL_SHARE: u64 = 32;
/// Records begin at multiples of this: a torn write never damages the record before it.
const ALIGNMENT: usize = 512;
/// Length of a record before its envelope.
const LENGTH_BYTES: usize = 4;

/// One batch: chunks of the change log with the newest revision of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) chunks: Vec<(u64, Vec<u8>)>,
}

impl Batch {
    fn newest(&self) -> u64 {
        self.chunks.last().map_or(0, |(newest, _)| *newest)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        for (newest, payload) in &self.chunks {
            bytes.put_u64_le(*newest);
            bytes.put_u32_le(payload.len() as u32);
            bytes.put_slice(payload);
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut batch = Self::default();
        while let Some((newest, rest)) = bytes.split_first_chunk() {
            let (length, rest) = rest.split_first_chunk()?;
            let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            batch.chunks.push((u64::from_le_bytes(*newest), payload.to_vec()));
            bytes = rest;
        }
        bytes.is_empty().then_some(batch)
    }

    /// Bytes that it takes in the journal, envelope and alignment left out.
    fn len(&self) -> usize {
        self.chunks.iter().map(|(_, payload)| 12 + payload.len()).sum()
    }
}

/// The journal of one store.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    cluster: Uuid,
    /// Size of the file.
    capacity: usize,
    /// Where the next record goes.
    end: usize,
}

/// Where the journal of the store at `path` is.
pub(super) fn path_of(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

impl Journal {
    /// Opens the journal of the store at `store`, or makes one when it `is_new`.
    pub(super) fn open(store: &Path, cluster: Uuid, is_new: bool) -> Result<Self, OpenError> {
        let path = path_of(store);
        if !path.try_exists().map_err(failed("look for", &path))? {
            if !is_new {
                return Err(OpenError::Missing { marker: store.to_owned(), store: path });
            }
            create(&path).map_err(failed("create", &path))?;
            sync_folder_of(&path)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        let capacity = file.metadata().map_err(failed("read", &path))?.len() as usize;
        Ok(Self { file, path, cluster, capacity, end: 0 })
    }

    /// The batches after revision `after`, oldest first.
    pub(super) fn read(&self, after: u64) -> Result<Vec<Batch>, OpenError> {
        let bytes = fs::read(&self.path).map_err(failed("read", &self.path))?;
        let (mut batches, mut at, mut newest) = (Vec::new(), 0, 0);
        while let Some((batch, length)) = self.record(&bytes, at) {
            // Older than the one before: what was here before the journal began anew.
            if batch.newest() <= newest {
                break;
            }
            newest = batch.newest();
            at += length;
            if newest > after {
                batches.push(batch);
            }
        }
        let newest = newest.max(after);
        let mut behind = (at + ALIGNMENT..bytes.len()).step_by(ALIGNMENT);
        if behind.any(|at| self.record(&bytes, at).is_some_and(|(batch, _)| batch.newest() > newest)) {
            return Err(OpenError::Damaged { path: self.path.clone() });
        }
        Ok(batches)
    }

    /// The record at `at` and how many bytes it takes; `None`: there is none.
    fn record(&self, bytes: &[u8], at: usize) -> Option<(Batch, usize)> {
        let (length, rest) = bytes.get(at..)?.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let record = rest.get(..length).filter(|record| !record.is_empty())?;
        let opened = envelope::open(self.cluster.as_bytes(), record).ok()?;
        let batch = Batch::decode(opened.payload).filter(|batch| batch.newest() == opened.revision)?;
        Some((batch, (LENGTH_BYTES + length).next_multiple_of(ALIGNMENT)))
    }

    /// Whether a batch fits behind the others.
    pub(super) fn has_room_for(&self, batch: &Batch) -> bool {
        self.end + batch.len() + 2 * ALIGNMENT <= self.capacity
    }

    /// Writes a batch, for which there is room. It is on disk when this returns.
    pub(super) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let sealed = envelope::seal(self.cluster.as_bytes(), batch.newest(), &batch.encode());
        let mut record = Vec::with_capacity(LENGTH_BYTES + sealed.len() + ALIGNMENT);
        record.put_u32_le(sealed.len() as u32);
        record.put_slice(&sealed);
        record.resize(record.len().next_multiple_of(ALIGNMENT), 0);
        self.file.write_all_at(&record, self.end as u64)?;
        self.file.sync_data()?;
        self.end += record.len();
        Ok(())
    }

    /// True when the database has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Begins anew: the database is durable up to the newest batch.
    pub(super) fn clear(&mut self) {
        self.end = 0;
    }
}

/// Zeros, written out: a later fdatasync then has no blocks to allocate.
fn create(path: &Path) -> io::Result<()> {
    let temporary = path.with_extension("journal.new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let bytes = share_of_disk(path, JOURNAL_BYTES, JOURNAL_SHARE);
    write_zeros(&file, bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(newest: u64, size: usize) -> Batch {
        Batch { chunks: vec![(newest - 1, vec![7; size]), (newest, vec![newest as u8; 3])] }
    }

    fn journal() -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let journal = Journal::open(&store, Uuid::nil(), true).unwrap();
        (folder, store, journal)
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let (_folder, store, mut journal) = journal();
        let batches = [batch(5, 10), batch(9, 2_000), batch(12, 0)];
        for batch in &batches {
            assert!(journal.has_room_for(batch));
            journal.append(batch).unwrap();
        }
        let journal = Journal::open(&store, Uuid::nil(), false).unwrap();
        assert_eq!(journal.read(0).unwrap(), batches);
        assert_eq!(journal.read(5).unwrap(), batches[1..]);
        assert_eq!(journal.read(12).unwrap(), []);
        let foreign = Journal::open(&store, Uuid::max(), false).unwrap();
        assert_eq!(foreign.read(0).unwrap(), [], "another cluster's records are none");
    }

    #[test]
    fn beginning_anew_forgets_what_stood_there() {
        let (_folder, _, mut journal) = journal();
        for newest in [5, 7, 9] {
            journal.append(&batch(newest, 600)).unwrap();
        }
        journal.clear();
        assert_eq!(journal.read(9).unwrap(), []);
        journal.append(&batch(11, 600)).unwrap();
        assert_eq!(journal.read(9).unwrap(), [batch(11, 600)]);
    }

    #[test]
    fn a_torn_end_is_dropped_and_damage_before_the_end_is_refused() {
        let (_folder, _, mut journal) = journal();
        let batches = [batch(5, 700), batch(7, 700), batch(9, 700)];
        let mut ends = Vec::new();
        for batch in &batches {
            journal.append(batch).unwrap();
            ends.push(journal.end);
        }
        let whole = fs::read(&journal.path).unwrap();
        for cut in (ends[1]..ends[2] - ALIGNMENT).step_by(100) {
            let mut torn = whole.clone();
            torn[cut..ends[2]].fill(0);
            fs::write(&journal.path, &torn).unwrap();
            assert_eq!(journal.read(0).unwrap(), batches[..2], "cut at {cut}");
        }
        for flipped in (0..ends[1]).step_by(97) {
            let mut damaged = whole.clone();
            damaged[flipped] ^= 0x10;
            fs::write(&journal.path, &damaged).unwrap();
            match journal.read(0) {
                Err(OpenError::Damaged { .. }) => {}
                // A bit in the padding is nobody's.
                Ok(read) => assert_eq!(read, batches, "bit at {flipped}"),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_lost_journal_is_noticed() {
        let (_folder, store, journal) = journal();
        fs::remove_file(&journal.path).unwrap();
        assert!(matches!(Journal::open(&store, Uuid::nil(), false), Err(OpenError::Missing { .. })));
    }
}
