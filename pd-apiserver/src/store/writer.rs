//! The only thread that writes.
//!
//! In: batches of requests. Out: one redb transaction each, durable by its record in the journal; then a new snapshot,
//! the changes to the watchers and the answers, in this order. On the first I/O error it stops: nothing is acknowledged, readers
//! get an error, and the file is opened anew with back-off until it takes a write again.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use redb::{Durability, ReadableTable, Table};

use super::{
    Change, Derived, Precondition, Record, StoreError, Write,
    checkpoint::checkpoint,
    envelope::{self, Chunk, LoggedChange},
    file::{OpenError, Opened},
    hub::{RECENT_BYTES_MAX, RECENT_CHANGES_MAX},
    journal::Batch,
    queue::Request,
    redb_store::Shared,
    reserve::Reserve,
    snapshot::{
        CHANGES, META, META_COMPACTED, META_LOG_BYTES, META_LOG_COUNT, META_REVISION, OBJECTS, Snapshot, decode,
        log_key,
    },
};

/// Changes kept for watches that resume: at 100 writes a second, five minutes.
const LOG_CHANGES_MAX: u64 = 32_768;
/// Bytes of them, old and new values included.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Payload from which on a chunk of the log is closed. The database rounds a record up to a power of two, and a
/// chunk a little below 32 KiB wastes little of its last page.
const CHUNK_BYTES: usize = 28 << 10;
/// The journal is emptied into the database once no write has come for so long: then nobody waits for it.
const CHECKPOINT_IDLE: Duration = Duration::from_millis(500);
/// First pause before the file is opened anew; doubled up to ...
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(100);
/// ... this: a disk that is well again is noticed within 5 s.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Opens the store again.
pub(super) type Opener = Box<dyn Fn() -> Result<Opened, OpenError> + Send>;

/// The thread's main loop. Without a reserve (a store in memory) a full disk is a failure like any other.
pub(super) fn run(shared: &Shared, mut opened: Opened, reopen: &Opener, mut reserve: Option<Reserve>) {
    loop {
        let is_full = reserve.as_mut().is_some_and(|reserve| !reserve.rebuild());
        shared.queue.set_deletes_only(is_full);
        let unsettled = opened.journal.as_ref().filter(|journal| !journal.is_empty()).map(|_| CHECKPOINT_IDLE);
        let patience = reserve.as_ref().and_then(Reserve::patience).or(unsettled);
        let (done, is_last) = match shared.queue.next_batch(patience) {
            Some(batch) if !batch.is_empty() => (commit_batch(shared, &mut opened, batch), false),
            Some(_) => (settle(&mut opened), false),
            None => (settle(&mut opened), true),
        };
        let Err(failure) = done else {
            if is_last {
                return;
            }
            continue;
        };
        shared.halt(&failure.reason);
        if is_last {
            return;
        }
        drop(opened);
        if let Some(reserve) = reserve.as_mut().filter(|_| failure.is_full) {
            reserve.release();
            shared.queue.set_deletes_only(true);
        }
        match reopen_with_back_off(shared, reopen) {
            Some(reopened) => opened = reopened,
            None => return,
        }
    }
}

/// Empties the journal into the database.
fn settle(opened: &mut Opened) -> Result<(), Failure> {
    let Some(journal) = opened.journal.as_mut().filter(|journal| !journal.is_empty()) else { return Ok(()) };
    checkpoint(&opened.database)?;
    journal.clear();
    Ok(())
}

/// Why a batch was not committed.
struct Failure {
    reason: String,
    /// For want of space.
    is_full: bool,
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        let is_full = matches!(&error, redb::Error::Io(error) if is_want_of_space(error));
        Self { reason: error.to_string(), is_full }
    }
}

/// A full disk, a full quota.
fn is_want_of_space(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

fn reopen_with_back_off(shared: &Shared, reopen: &Opener) -> Option<Opened> {
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        if shared.queue.wait_stopping(pause) {
            return None;
        }
        pause = (pause * 2).min(REOPEN_PAUSE_MAX);
        match reopen().map_err(|error| error.to_string()).and_then(|opened| {
            shared.start(&opened.database).map_err(|error| error.to_string())?;
            Ok(opened)
        }) {
            Ok(opened) => {
                tracing::info!(revision = shared.revision(), "store reopened");
                return Some(opened);
            }
            Err(error) => tracing::warn!(error, "store cannot be reopened yet"),
        }
    }
}

/// Commits `batch` and answers it. `Err`: the disk failed; all waiters have been told.
fn commit_batch(shared: &Shared, opened: &mut Opened, batch: Vec<Request>) -> Result<(), Failure> {
    let started = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let applied = apply(opened, &batch)?;
        let snapshot = if applied.changes.is_empty() { None } else { Some(Snapshot::take(&opened.database)?) };
        Ok::<_, redb::Error>((applied, snapshot))
    }));
    let failure = match done {
        Ok(Ok((applied, snapshot))) => {
            if let Some(snapshot) = snapshot {
                shared.stats.commit_seconds.observe(started.elapsed().as_secs_f64());
                shared.stats.commits.inc();
                shared.stats.log_changes.set(applied.log_count as i64);
                shared.stats.log_bytes.set(applied.log_bytes as i64);
                shared.publish(snapshot, applied.changes);
            }
            answer(shared, batch, applied.answers);
            return Ok(());
        }
        Ok(Err(error)) => Failure::from(error),
        Err(_) => Failure { reason: "the database gave up on a damaged page".to_owned(), is_full: false },
    };
    for request in batch {
        let _ = request.answer.send(Err(StoreError::Unavailable(failure.reason.clone())));
    }
    Err(failure)
}

fn answer(shared: &Shared, batch: Vec<Request>, answers: Vec<Result<u64, StoreError>>) {
    for (request, answer) in batch.into_iter().zip(answers) {
        match &answer {
            Ok(_) => shared.stats.transactions.inc(),
            Err(_) => shared.stats.conflicts.inc(),
        };
        // Whoever asked may have gone.
        let _ = request.answer.send(answer);
    }
}

/// What became of a batch.
struct Applied {
    answers: Vec<Result<u64, StoreError>>,
    changes: Vec<Arc<Change>>,
    log_count: u64,
    log_bytes: u64,
}

fn apply(opened: &mut Opened, batch: &[Request]) -> Result<Applied, redb::Error> {
    let mut transaction = opened.database.begin_write()?;
    let mut answers = Vec::with_capacity(batch.len());
    let mut changes = Vec::new();
    let (log_count, log_bytes, logged) = {
        let mut tables = Tables {
            objects: transaction.open_table(OBJECTS)?,
            log: transaction.open_table(CHANGES)?,
            meta: transaction.open_table(META)?,
        };
        let before = tables.number(META_REVISION)?;
        let mut revision = before;
        for request in batch {
            answers.push(tables.apply(&request.writes, &mut revision, &mut changes)?);
        }
        if revision > before {
            tables.meta.insert(META_REVISION, revision)?;
        }
        let logged = Batch { chunks: chunks(&changes) };
        let (log_count, log_bytes) = tables.append_to_log(&logged.chunks)?;
        (log_count, log_bytes, logged)
    };
    if changes.is_empty() {
        transaction.abort()?;
        return Ok(Applied { answers, changes, log_count, log_bytes });
    }
    if let Some(journal) = opened.journal.as_mut().filter(|journal| journal.has_room_for(&logged)) {
        // The journal first: what it has is durable, whatever becomes of the database.
        journal.append(&logged)?;
        transaction.set_durability(Durability::None)?;
        transaction.commit()?;
    } else {
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        transaction.commit()?;
        if let Some(journal) = &mut opened.journal {
            journal.clear();
        }
    }
    Ok(Applied { answers, changes, log_count, log_bytes })
}

/// The tables of one transaction.
pub(super) struct Tables<'t> {
    pub(super) objects: Table<'t, &'static str, &'static [u8]>,
    pub(super) log: Table<'t, (u64, u32), &'static [u8]>,
    pub(super) meta: Table<'t, &'static str, u64>,
}

impl Tables<'_> {
    fn number(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.meta.get(name)?.map_or(0, |value| value.value()))
    }

    /// One request: all of its writes or none. The outer error is the disk's, the inner one the request's.
    fn apply(
        &mut self,
        writes: &[Write],
        revision: &mut u64,
        changes: &mut Vec<Arc<Change>>,
    ) -> Result<Result<u64, StoreError>, redb::Error> {
        let mut existing: BTreeMap<&str, Option<Record>> = BTreeMap::new();
        for write in writes {
            let record = match self.objects.get(write.key.as_str())?.map(|guard| decode(&write.key, guard.value())) {
                None => None,
                Some(Ok(record)) => Some(record),
                Some(Err(corrupt)) => return Ok(Err(corrupt)),
            };
            if let Err(conflict) = check(write, record.as_ref()) {
                return Ok(Err(conflict));
            }
            existing.insert(&write.key, record);
        }
        let unchanged =
            |write: &Write| existing[write.key.as_str()].as_ref().map(|record| &record.value) == write.value.as_ref();
        if writes.iter().all(unchanged) {
            let newest = existing.values().flatten().map(|record| record.revision).max();
            return Ok(Ok(newest.unwrap_or(*revision)));
        }
        *revision += 1;
        for write in writes {
            let record = write.value.as_ref().map(|value| Record {
                key: write.key.clone(),
                revision: *revision,
                value: value.clone(),
            });
            let previous = existing.insert(&write.key, record).flatten().map(|record| record.value);
            if previous != write.value {
                self.put(&write.key, write.value.as_deref(), *revision)?;
                let (key, value) = (write.key.clone(), write.value.clone());
                changes.push(Arc::new(Change {
                    key,
                    revision: *revision,
                    value,
                    previous,
                    derived: Derived::default(),
                }));
            }
        }
        Ok(Ok(*revision))
    }

    /// Sets or removes one object.
    pub(super) fn put(&mut self, key: &str, value: Option<&[u8]>, revision: u64) -> Result<(), redb::Error> {
        match value {
            Some(value) => {
                let record = envelope::seal(key.as_bytes(), revision, value);
                self.objects.insert(key, record.as_slice())?;
            }
            None => {
                self.objects.remove(key)?;
            }
        }
        Ok(())
    }

    /// Appends chunks of changes and cuts the log to its bounds; its count and bytes then.
    pub(super) fn append_to_log(&mut self, chunks: &[(u64, Vec<u8>)]) -> Result<(u64, u64), redb::Error> {
        let (mut count, mut bytes) = (self.number(META_LOG_COUNT)?, self.number(META_LOG_BYTES)?);
        if chunks.is_empty() {
            return Ok((count, bytes));
        }
        let mut position = (0, 0);
        for (newest, payload) in chunks {
            position = if position.0 == *newest { (*newest, position.1 + 1) } else { (*newest, 0) };
            count += u64::from(envelope::count_of(payload).unwrap_or_default());
            let record = envelope::seal(&log_key(position), *newest, payload);
            bytes += record.len() as u64;
            self.log.insert(position, record.as_slice())?;
        }
        while count > LOG_CHANGES_MAX || bytes > LOG_BYTES_MAX {
            let Some((position, record)) = self.log.pop_first()? else { break };
            let held =
                envelope::open(&log_key(position.value()), record.value()).and_then(|o| envelope::count_of(o.payload));
            // A damaged chunk is lost to whoever asks for it; its bytes still count, so the log stays bounded.
            count = count.saturating_sub(u64::from(held.unwrap_or_default()));
            bytes = bytes.saturating_sub(record.value().len() as u64);
            let compacted = position.value().0;
            drop((position, record));
            self.meta.insert(META_COMPACTED, compacted)?;
        }
        self.meta.insert(META_LOG_COUNT, count)?;
        self.meta.insert(META_LOG_BYTES, bytes)?;
        Ok((count, bytes))
    }
}

/// Cuts changes into chunks of the log: the newest revision of each, and its payload.
fn chunks(changes: &[Arc<Change>]) -> Vec<(u64, Vec<u8>)> {
    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    for (at, change) in changes.iter().enumerate() {
        chunk.push(&LoggedChange {
            revision: change.revision,
            key: &change.key,
            value: change.value.as_deref(),
            previous: change.previous.as_deref(),
        });
        if chunk.len() >= CHUNK_BYTES || at + 1 == changes.len() {
            chunks.push((change.revision, std::mem::take(&mut chunk).finish()));
        }
    }
    chunks
}

fn check(write: &Write, record: Option<&Record>) -> Result<(), StoreError> {
    let actual = record.map(|record| record.revision);
    let holds = match write.precondition {
        Precondition::Any => true,
        Precondition::Absent => actual.is_none(),
        Precondition::Revision(expected) => actual == Some(expected),
    };
    if holds { Ok(()) } else { Err(StoreError::Conflict { key: write.key.clone(), actual }) }
}

/// What the hub starts with: the newest changes, and the revision after which they are complete.
pub(super) fn recent(snapshot: &Snapshot) -> Result<(u64, std::collections::VecDeque<Arc<Change>>), StoreError> {
    snapshot.tail(RECENT_CHANGES_MAX, RECENT_BYTES_MAX)
}
