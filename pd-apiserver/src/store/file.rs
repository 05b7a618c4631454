//! The store's file on disk: created so that no crash leaves half of one, opened so that an empty or foreign
//! one is never taken for ours.
//!
//! redb survives a crash at every point except while a file is first created, so that happens under a
//! temporary name. A marker beside the file says that this folder has had a store: without it a lost file
//! would look like a first start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{Builder, Database, Durability, ReadableTable, backends::InMemoryBackend};
use uuid::Uuid;

use super::snapshot::{CHANGES, META, META_COMPACTED, META_LOG_BYTES, META_LOG_COUNT, META_REVISION, OBJECTS};
use super::{checkpoint, journal::Journal};

/// redb's page cache: the working set of a cluster of a few hundred nodes, far below its default of 1 GiB.
const CACHE_BYTES: usize = 64 << 20;
/// Up to this size every page is verified at each start: about 0.2 s at 32 MiB.
const VERIFY_ON_OPEN_BYTES_MAX: u64 = 32 << 20;
/// Version of the tables and records; in META.
const FORMAT: u64 = 2;
/// The version whose change log had a record for each change. Its log is given up on opening: watchers list anew.
const FORMAT_OF_SINGLE_CHANGES: u64 = 1;
/// Name of the marker file.
const MARKER: &str = "cluster-id";
const META_FORMAT: &str = "format";
const META_CLUSTER_HIGH: &str = "cluster-high";
const META_CLUSTER_LOW: &str = "cluster-low";
const META_OPENED: &str = "opened";
/// In META: 1 once the store has a journal.
const META_JOURNAL: &str = "journal";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation beside the database failed.
    #[error("cannot {attempt} `{}`", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot open the store `{}`", path.display())]
    Database {
        /// The store's file.
        path: PathBuf,
        /// Why it refused.
        source: Box<redb::Error>,
    },
    /// The folder had a store, and the file is gone.
    #[error(
        "`{}` says that this folder has had a store, but `{}` is missing: restore it from a backup, or remove the whole \
         folder to start a new cluster", marker.display(), store.display()
    )]
    Missing {
        /// The marker file.
        marker: PathBuf,
        /// The store's file.
        store: PathBuf,
    },
    /// The file belongs to another cluster than its folder.
    #[error("`{}` belongs to cluster {found}, its folder to cluster {expected}: do not mix folders", store.display())]
    OtherCluster {
        /// The store's file.
        store: PathBuf,
        /// What the marker says.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// Another version of this program wrote it.
    #[error("`{}` has format {found}, this program reads format {FORMAT}: use the version that wrote it", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file is so damaged that the database gave up.
    #[error("`{}` is damaged: restore it from a backup", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
    },
}

/// An open store.
pub(super) struct Opened {
    pub(super) database: Database,
    /// `None`: each commit makes the database durable.
    pub(super) journal: Option<Journal>,
}

/// Opens the store at `path`, or creates it in a folder that never had one.
pub(super) fn open_or_create(path: &Path) -> Result<Opened, OpenError> {
    let marker = path.with_file_name(MARKER);
    if !exists(path)? {
        if exists(&marker)? {
            return Err(OpenError::Missing { marker, store: path.to_owned() });
        }
        create(path)?;
    }
    open(path)
}

/// Opens the store at `path`, which exists, and proves that it takes writes.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let bytes = fs::metadata(path).map_err(failed("read", path))?.len();
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(bytes <= VERIFY_ON_OPEN_BYTES_MAX);
        let database = builder.open(path).map_err(refused(path))?;
        let meta = prove(&database).map_err(refused(path))?;
        Ok((database, meta))
    }));
    let (database, meta) = opened.unwrap_or_else(|_| Err(OpenError::Damaged { path: path.to_owned() }))?;
    if meta.format != FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), found: meta.format });
    }
    check_marker(path, meta.cluster)?;
    let journal = recover(path, &database, &meta)?;
    Ok(Opened { database, journal: Some(journal) })
}

/// Opens the journal and gives the database what it lacks.
fn recover(path: &Path, database: &Database, meta: &Meta) -> Result<Journal, OpenError> {
    let journal = Journal::open(path, meta.cluster, !meta.has_journal)?;
    let newest = checkpoint::revision(database).map_err(refused(path))?;
    let batches = journal.read(newest)?;
    checkpoint::replay(database, &batches).map_err(refused(path))?;
    if !meta.has_journal {
        mark_journal(database).map_err(refused(path))?;
    }
    Ok(journal)
}

/// From now on a missing journal is a loss.
fn mark_journal(database: &Database) -> Result<(), redb::Error> {
    let transaction = checkpoint::durable(database)?;
    transaction.open_table(META)?.insert(META_JOURNAL, 1)?;
    Ok(transaction.commit()?)
}

/// A store that is kept nowhere.
pub(super) fn in_memory() -> Result<Database, OpenError> {
    let path = Path::new("memory");
    let database = Builder::new().create_with_backend(InMemoryBackend::new()).map_err(refused(path))?;
    initialise(&database, Uuid::new_v4()).map_err(refused(path))?;
    Ok(database)
}

fn create(path: &Path) -> Result<(), OpenError> {
    let (database, temporary) = create_unfinished(path, Uuid::new_v4())?;
    database.close().map_err(refused(&temporary))?;
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("rename", &temporary))?;
    sync_folder_of(path)
}

/// An empty store under the temporary name of the one at `path`.
pub(super) fn create_unfinished(path: &Path, cluster: Uuid) -> Result<(Database, PathBuf), OpenError> {
    let temporary = path.with_extension("redb.new");
    if exists(&temporary)? {
        fs::remove_file(&temporary).map_err(failed("remove the unfinished", &temporary))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    drop(options.open(&temporary).map_err(failed("create", &temporary))?);
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(&temporary).map_err(refused(&temporary))?;
    initialise(&database, cluster).map_err(refused(&temporary))?;
    Ok((database, temporary))
}

pub(super) fn initialise(database: &Database, cluster: Uuid) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        transaction.open_table(OBJECTS)?;
        transaction.open_table(CHANGES)?;
        let (high, low) = cluster.as_u64_pair();
        let mut meta = transaction.open_table(META)?;
        // Revision 0 means "any" to Kubernetes clients: start above it.
        for (name, value) in
            [(META_FORMAT, FORMAT), (META_CLUSTER_HIGH, high), (META_CLUSTER_LOW, low), (META_REVISION, 1)]
        {
            meta.insert(name, value)?;
        }
    }
    Ok(transaction.commit()?)
}

struct Meta {
    format: u64,
    cluster: Uuid,
    has_journal: bool,
}

/// Commits a small write: a full or read-only disk shows now, not at the first request.
fn prove(database: &Database) -> Result<Meta, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    let meta = {
        let mut table = transaction.open_table(META)?;
        let number = |name: &str| Ok::<_, redb::Error>(table.get(name)?.map_or(0, |value| value.value()));
        let cluster = Uuid::from_u64_pair(number(META_CLUSTER_HIGH)?, number(META_CLUSTER_LOW)?);
        let (mut format, opened) = (number(META_FORMAT)?, number(META_OPENED)?);
        let (newest, has_journal) = (number(META_REVISION)?, number(META_JOURNAL)? > 0);
        if format == FORMAT_OF_SINGLE_CHANGES {
            transaction.delete_table(CHANGES)?;
            transaction.open_table(CHANGES)?;
            let emptied = [(META_COMPACTED, newest), (META_LOG_COUNT, 0), (META_LOG_BYTES, 0), (META_FORMAT, FORMAT)];
            for (name, value) in emptied {
                table.insert(name, value)?;
            }
            format = FORMAT;
        }
        table.insert(META_OPENED, opened + 1)?;
        Meta { format, cluster, has_journal }
    };
    transaction.commit()?;
    Ok(meta)
}

fn check_marker(path: &Path, cluster: Uuid) -> Result<(), OpenError> {
    let marker = path.with_file_name(MARKER);
    let found = cluster.to_string();
    if !exists(&marker)? {
        return write_marker(&marker, &found);
    }
    let expected = fs::read_to_string(&marker).map_err(failed("read", &marker))?;
    if expected.trim() == found {
        return Ok(());
    }
    Err(OpenError::OtherCluster { store: path.to_owned(), expected: expected.trim().to_owned(), found })
}

/// Says that the folder of the store at `path` has had one, of `cluster`.
pub(super) fn write_marker_of(path: &Path, cluster: Uuid) -> Result<(), OpenError> {
    write_marker(&path.with_file_name(MARKER), &cluster.to_string())
}

fn write_marker(marker: &Path, cluster: &str) -> Result<(), OpenError> {
    let temporary = marker.with_extension("new");
    let write = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{cluster}")?;
        file.sync_all()?;
        fs::rename(&temporary, marker)
    };
    write().map_err(failed("write", marker))?;
    sync_folder_of(marker)
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(failed("look for", path))
}

pub(super) fn failed(attempt: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::File { attempt, path: path.clone(), source }
}

pub(super) fn refused<E: Into<redb::Error>>(path: &Path) -> impl Fn(E) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Database { path: path.clone(), source: Box::new(source.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        (folder, path)
    }

    #[test]
    fn a_lost_file_is_not_a_first_start() {
        let (_folder, path) = folder();
        drop(open_or_create(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(matches!(open_or_create(&path), Err(OpenError::Missing { .. })));
    }

    #[test]
    fn a_file_of_another_cluster_is_refused() {
        let ((_one, first), (_two, second)) = (folder(), folder());
        drop(open_or_create(&first).unwrap());
        drop(open_or_create(&second).unwrap());
        fs::copy(&first, &second).unwrap();
        assert!(matches!(open_or_create(&second), Err(OpenError::OtherCluster { .. })));
    }

    #[test]
    fn a_truncated_file_is_never_started_on() {
        let (_folder, path) = folder();
        drop(open_or_create(&path).unwrap());
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 64, 320, 4096, whole.len() / 2] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(open_or_create(&path).is_err(), "started on the first {length} bytes");
        }
    }

    #[test]
    fn an_unfinished_creation_is_started_over() {
        let (_folder, path) = folder();
        fs::write(path.with_extension("redb.new"), b"half").unwrap();
        drop(open_or_create(&path).unwrap());
        assert!(!path.with_extension("redb.new").exists());
    }

    #[test]
    fn the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, path) = folder();
        drop(open_or_create(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
