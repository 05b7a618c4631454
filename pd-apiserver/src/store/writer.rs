//! The only thread that writes.
//!
//! In: batches of requests. Out: one durable redb transaction each, then a new snapshot, the changes to the
//! watchers and the answers, in this order. On the first I/O error it stops: nothing is acknowledged, readers
//! get an error, and the file is opened anew with back-off until it takes a write again.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use redb::{Database, Durability, ReadableTable, Table};

use super::{
    Change, Precondition, Record, StoreError, Write,
    envelope::{self, LoggedChange},
    file::OpenError,
    hub::{RECENT_BYTES_MAX, RECENT_CHANGES_MAX},
    queue::Request,
    redb_store::Shared,
    snapshot::{
        CHANGES, META, META_COMPACTED, META_LOG_BYTES, META_LOG_COUNT, META_REVISION, OBJECTS, Snapshot, decode,
        log_key,
    },
};

/// Changes kept for watches that resume: at 100 writes a second, five minutes.
const LOG_CHANGES_MAX: u64 = 32_768;
/// Bytes of them, old and new values included.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// First pause before the file is opened anew; doubled up to ...
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(100);
/// ... this: a disk that is well again is noticed within 5 s.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Opens the database again.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, OpenError> + Send>;

/// The thread's main loop.
pub(super) fn run(shared: &Shared, mut database: Database, reopen: &Opener) {
    while let Some(batch) = shared.queue.next_batch() {
        let Err(reason) = commit_batch(shared, &database, batch) else { continue };
        shared.halt(&reason);
        drop(database);
        match reopen_with_back_off(shared, reopen) {
            Some(reopened) => database = reopened,
            None => return,
        }
    }
}

fn reopen_with_back_off(shared: &Shared, reopen: &Opener) -> Option<Database> {
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        if shared.queue.wait_stopping(pause) {
            return None;
        }
        pause = (pause * 2).min(REOPEN_PAUSE_MAX);
        match reopen().map_err(|error| error.to_string()).and_then(|database| {
            shared.start(&database).map_err(|error| error.to_string())?;
            Ok(database)
        }) {
            Ok(database) => {
                tracing::info!(revision = shared.revision(), "store reopened");
                return Some(database);
            }
            Err(error) => tracing::warn!(error, "store cannot be reopened yet"),
        }
    }
}

/// Commits `batch` and answers it. `Err`: the disk failed; all waiters have been told.
fn commit_batch(shared: &Shared, database: &Database, batch: Vec<Request>) -> Result<(), String> {
    let started = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let applied = apply(database, &batch)?;
        let snapshot = if applied.changes.is_empty() { None } else { Some(Snapshot::take(database)?) };
        Ok::<_, redb::Error>((applied, snapshot))
    }));
    let reason = match done {
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
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database gave up on a damaged page".to_owned(),
    };
    for request in batch {
        let _ = request.answer.send(Err(StoreError::Unavailable(reason.clone())));
    }
    Err(reason)
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

fn apply(database: &Database, batch: &[Request]) -> Result<Applied, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    let mut answers = Vec::with_capacity(batch.len());
    let mut changes = Vec::new();
    let (log_count, log_bytes) = {
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
        tables.append_to_log(&changes)?
    };
    if changes.is_empty() {
        transaction.abort()?;
    } else {
        transaction.commit()?;
    }
    Ok(Applied { answers, changes, log_count, log_bytes })
}

struct Tables<'t> {
    objects: Table<'t, &'static str, &'static [u8]>,
    log: Table<'t, (u64, u32), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
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
                self.write(write, *revision)?;
                let (key, value) = (write.key.clone(), write.value.clone());
                changes.push(Arc::new(Change { key, revision: *revision, value, previous }));
            }
        }
        Ok(Ok(*revision))
    }

    fn write(&mut self, write: &Write, revision: u64) -> Result<(), redb::Error> {
        match &write.value {
            Some(value) => {
                let record = envelope::seal(write.key.as_bytes(), revision, value);
                self.objects.insert(write.key.as_str(), record.as_slice())?;
            }
            None => {
                self.objects.remove(write.key.as_str())?;
            }
        }
        Ok(())
    }

    /// Appends `changes` and cuts the log to its bounds; its count and bytes then.
    fn append_to_log(&mut self, changes: &[Arc<Change>]) -> Result<(u64, u64), redb::Error> {
        let (mut count, mut bytes) = (self.number(META_LOG_COUNT)?, self.number(META_LOG_BYTES)?);
        if changes.is_empty() {
            return Ok((count, bytes));
        }
        let mut position = (0, 0);
        for change in changes {
            position = if position.0 == change.revision { (position.0, position.1 + 1) } else { (change.revision, 0) };
            let logged = LoggedChange {
                key: change.key.clone(),
                value: change.value.clone(),
                previous: change.previous.clone(),
            };
            let record = envelope::seal(&log_key(position), change.revision, &envelope::encode_change(&logged));
            count += 1;
            bytes += record.len() as u64;
            self.log.insert(position, record.as_slice())?;
        }
        while count > LOG_CHANGES_MAX || bytes > LOG_BYTES_MAX {
            let Some((position, record)) = self.log.pop_first()? else { break };
            count -= 1;
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
