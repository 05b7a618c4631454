//! The embedded store: `Store` over one redb file.
//!
//! In: keys and bytes. Out: what `Store` promises. Reads go to the newest snapshot without waiting, writes to
//! the queue of the one writer thread.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread::JoinHandle,
    time::Instant,
};

use futures::future::BoxFuture;
use redb::Database;
use tokio::sync::oneshot;

use super::{
    Change, Changes, Listing, Page, Record, Store, StoreError, View, Write,
    file::{self, Opened},
    hub::Hub,
    queue::{Queue, Request},
    reserve::Reserve,
    snapshot::{PagedSnapshots, Snapshot},
    watchers::TopicOf,
    writer::{self, Opener},
};
pub use super::{file::OpenError, stats::StoreStats};

/// The embedded store. Dropping it finishes the writes that wait and closes the file.
pub struct RedbStore {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What readers, watchers and the writer share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) stats: StoreStats,
    /// `None` while the store is halted.
    current: RwLock<Option<Arc<Snapshot>>>,
    hub: Mutex<Hub>,
    paged: Mutex<PagedSnapshots>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Makes `database` what readers see. Called before the first write and after each reopening.
    pub(super) fn start(&self, database: &Database) -> Result<(), StoreError> {
        let snapshot = Snapshot::take(database).map_err(super::snapshot::unavailable)?;
        let (complete_after, recent) = writer::recent(&snapshot)?;
        let mut hub = locked(&self.hub);
        hub.restart(complete_after, recent);
        self.stats.revision.set(snapshot.revision as i64);
        self.set_current(Some(Arc::new(snapshot)));
        self.queue.resume();
        Ok(())
    }

    /// Shows `changes` and the state after them. The hub's lock spans both, so that whoever has seen a revision
    /// can watch from it.
    pub(super) fn publish(&self, snapshot: Snapshot, changes: Vec<Arc<Change>>) {
        locked(&self.paged).expire(Instant::now());
        let mut hub = locked(&self.hub);
        self.stats.revision.set(snapshot.revision as i64);
        self.set_current(Some(Arc::new(snapshot)));
        hub.publish(changes);
        let (watchers, dropped) = hub.counts();
        self.stats.watchers.set(watchers as i64);
        self.stats.watchers_dropped.inner().store(dropped, std::sync::atomic::Ordering::Relaxed);
    }

    /// Stops reads, writes and watches until the next `start`.
    pub(super) fn halt(&self, reason: &str) {
        tracing::error!(reason, "store stopped: nothing is acknowledged until it has reopened");
        self.stats.failures.inc();
        self.queue.halt(StoreError::Unavailable(reason.to_owned()));
        self.set_current(None);
        locked(&self.paged).clear();
        locked(&self.hub).stop();
    }

    pub(super) fn revision(&self) -> u64 {
        u64::try_from(self.stats.revision.get()).unwrap_or(0)
    }

    fn set_current(&self, snapshot: Option<Arc<Snapshot>>) {
        // The old snapshot is dropped outside the lock: freeing pages must not hold readers up.
        let _old = std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), snapshot);
    }

    fn current(&self) -> Result<Arc<Snapshot>, StoreError> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.ok_or_else(|| {
            self.queue.ready().err().unwrap_or_else(|| StoreError::Unavailable("the store is reopening".to_owned()))
        })
    }

    fn snapshot_at(&self, revision: Option<u64>) -> Result<Arc<Snapshot>, StoreError> {
        let current = self.current()?;
        let Some(requested) = revision.filter(|revision| *revision != current.revision) else { return Ok(current) };
        if requested > current.revision {
            return Err(StoreError::Future { requested, newest: current.revision });
        }
        let kept = locked(&self.paged).find(requested);
        kept.ok_or(StoreError::Compacted { requested, oldest: current.revision })
    }
}

impl RedbStore {
    /// Opens the store at `path`, or creates it in a folder that never had one.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, |_, _| None)
    }

    /// The same, where `topic_of` tells the topics of objects.
    pub fn open_with(path: &Path, topic_of: TopicOf) -> Result<Self, OpenError> {
        let opened = file::open_or_create(path)?;
        let path = path.to_owned();
        let reserve = Reserve::beside(&path);
        Self::over(opened, Box::new(move || file::open(&path)), Some(reserve), topic_of)
    }

    /// A store that is kept nowhere, for tests.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::in_memory_with(|_, _| None)
    }

    /// The same, where `topic_of` tells the topics of objects.
    pub fn in_memory_with(topic_of: TopicOf) -> Result<Self, OpenError> {
        let lost = || {
            let source = std::io::Error::other("a store in memory does not survive its failure");
            Err(OpenError::File { attempt: "reopen", path: "memory".into(), source })
        };
        Self::over(Opened { database: file::in_memory()?, journal: None }, Box::new(lost), None, topic_of)
    }

    pub(super) fn over(
        opened: Opened,
        reopen: Opener,
        reserve: Option<Reserve>,
        topic_of: TopicOf,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            stats: StoreStats::default(),
            current: RwLock::default(),
            hub: Mutex::new(Hub::new(topic_of)),
            paged: Mutex::default(),
        });
        let failed = |attempt| move |source: std::io::Error| OpenError::File { attempt, path: "store".into(), source };
        shared.start(&opened.database).map_err(std::io::Error::other).map_err(failed("read"))?;
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer::run(&shared, opened, &reopen, reserve))
                .map_err(failed("start the writer of"))?
        };
        Ok(Self { shared, writer: Some(writer) })
    }

    /// The store's metrics.
    pub fn stats(&self) -> StoreStats {
        self.shared.stats.clone()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.shared.queue.stop();
        if let Some(writer) = self.writer.take() {
            // A panic there has been reported by its own thread.
            let _ = writer.join();
        }
        self.shared.set_current(None);
        locked(&self.shared.hub).stop();
    }
}

impl Store for RedbStore {
    fn revision(&self) -> u64 {
        self.shared.revision()
    }

    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.shared.current()?.get(key)
    }

    fn list(&self, prefix: &str, page: &Page) -> Result<Listing, StoreError> {
        let snapshot = self.shared.snapshot_at(page.revision)?;
        let listing = snapshot.list(prefix, page)?;
        if listing.remaining > 0 {
            locked(&self.shared.paged).keep(&snapshot, Instant::now());
        }
        Ok(listing)
    }

    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<u64, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            shared.queue.push(Request { writes, answer })?;
            let gone = |_| StoreError::Unavailable("the store's writer has ended".to_owned());
            answered.await.map_err(gone)?
        })
    }

    fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Ok(self.shared.current()?)
    }

    fn watch_topic(&self, prefix: &str, topic: Option<&str>, after: u64) -> Result<Changes, StoreError> {
        let (mut history, mut up_to) = (Vec::new(), after);
        loop {
            let current = {
                let mut hub = locked(&self.shared.hub);
                let current = self.shared.current()?;
                if after > current.revision {
                    return Err(StoreError::Future { requested: after, newest: current.revision });
                }
                if hub.reaches_back_to(up_to) {
                    return Ok(hub.join(prefix, topic, up_to, history));
                }
                current
            };
            // Older than what is in memory: read it from disk, with the hub free to go on meanwhile.
            history = current.history(prefix, after)?;
            up_to = current.revision;
        }
    }

    fn published(&self) -> u64 {
        // A revision is shown and its changes are handed out under one hold of this lock.
        let _hub = locked(&self.shared.hub);
        self.shared.revision()
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.shared.queue.ready()
    }
}
