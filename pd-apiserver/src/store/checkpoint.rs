//! Making the database durable, and bringing it up to date after a crash.
//!
//! In: a database and its journal. Out: a database that has everything the journal had.

use redb::{Database, Durability, ReadableTable};

use super::{
    StoreError, envelope,
    journal::Batch,
    snapshot::{CHANGES, META, META_REVISION, OBJECTS},
    writer::Tables,
};

/// In META: grows with each checkpoint, so that one always has something to write.
const META_CHECKPOINTS: &str = "checkpoints";

/// A transaction that is on disk when its commit returns, and from which a reopening needs no repair.
pub(super) fn durable(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes everything that has been committed durable.
pub(super) fn checkpoint(database: &Database) -> Result<(), redb::Error> {
    let transaction = durable(database)?;
    {
        let mut meta = transaction.open_table(META)?;
        let checkpoints = meta.get(META_CHECKPOINTS)?.map_or(0, |value| value.value());
        meta.insert(META_CHECKPOINTS, checkpoints + 1)?;
    }
    Ok(transaction.commit()?)
}

/// The newest revision that the database has.
pub(super) fn revision(database: &Database) -> Result<u64, redb::Error> {
    let transaction = redb::ReadableDatabase::begin_read(database)?;
    let meta = transaction.open_table(META)?;
    Ok(meta.get(META_REVISION)?.map_or(0, |value| value.value()))
}

/// Applies what the journal has and the database has not.
pub(super) fn replay(database: &Database, batches: &[Batch]) -> Result<(), redb::Error> {
    let Some((newest, _)) = batches.last().and_then(|batch| batch.chunks.last()) else { return Ok(()) };
    let transaction = durable(database)?;
    {
        let mut tables = Tables {
            objects: transaction.open_table(OBJECTS)?,
            log: transaction.open_table(CHANGES)?,
            meta: transaction.open_table(META)?,
        };
        for batch in batches {
            for (_, payload) in &batch.chunks {
                for change in envelope::changes_of(payload).map_err(damaged)? {
                    let change = change.map_err(damaged)?;
                    tables.put(change.key, change.value, change.revision)?;
                }
            }
            tables.append_to_log(&batch.chunks)?;
        }
        tables.meta.insert(META_REVISION, newest)?;
    }
    transaction.commit()?;
    tracing::info!(batches = batches.len(), revision = newest, "replayed the journal");
    Ok(())
}

fn damaged(_: envelope::Damaged) -> redb::Error {
    redb::Error::Corrupted(StoreError::Corrupt { key: "a batch of the journal".to_owned() }.to_string())
}
