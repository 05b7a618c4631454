//! Artifacts on this machine's disk, by digest, and the modules compiled from them.
//!
//! In: digests. Out: paths to verified files. A file is here only under the name of its own digest: it was
//! hashed while it arrived, and is hashed again when it is first used after a restart. The folder is bounded;
//! what was used least recently goes first. Whoever needs a file for long keeps it open.

mod modules;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

use backon::Retryable as _;
use schemas::Digest;
use sha2::{Digest as _, Sha256};

pub(crate) use modules::{ModuleError, Modules, modules_folder};

use crate::{
    client::{self, ArtifactError, Connection},
    metrics::{DirectionLabel, Metrics},
};

/// Bytes of artifacts kept beside what is in use: a few jobs' inputs and segments, on any disk.
const CACHE_BYTES_MAX: u64 = 8 << 30;
/// Tries of a download that the server refuses (not: that it cannot be reached for).
const REFUSALS_MAX: usize = 3;
/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The cache of one kubelet.
pub(crate) struct Cache {
    folder: PathBuf,
    connection: Connection,
    metrics: Arc<Metrics>,
    index: Mutex<Index>,
}

/// What is in the folder.
#[derive(Default)]
struct Index {
    entries: HashMap<Digest, Entry>,
    bytes: u64,
    clock: u64,
    /// One download at a time for each digest.
    arriving: HashMap<Digest, Weak<tokio::sync::Mutex<()>>>,
}

struct Entry {
    size: u64,
    used: u64,
    /// False for a file of an earlier start that was not hashed since.
    verified: bool,
}

/// Where artifacts are.
pub(crate) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("cache")
}

impl Cache {
    /// Opens the folder and takes stock; leftovers of interrupted downloads are removed.
    pub(crate) fn open(data_dir: &Path, connection: Connection, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let folder = folder(data_dir);
        fs::create_dir_all(&folder)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else {
                fs::remove_file(entry.path())?;
                continue;
            };
            let metadata = entry.metadata()?;
            found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), digest, metadata.len()));
        }
        found.sort_unstable();
        let mut index = Index::default();
        for (_, digest, size) in found {
            index.insert(digest, size, false);
        }
        metrics.cache_bytes.set(index.bytes as i64);
        Ok(Arc::new(Self { folder, connection, metrics, index: Mutex::new(index) }))
    }

    /// The file of that digest, fetched if need be. Waits for as long as the server is away.
    pub(crate) async fn get(&self, digest: Digest) -> Result<PathBuf, ArtifactError> {
        let turn = self.turn(digest);
        let _turn = turn.lock().await;
        let path = self.path(digest);
        let is_here = self.have(digest, &path).await;
        self.metrics.asked_cache("artifacts", is_here, 1);
        if is_here {
            return Ok(path);
        }
        let temporary = self.folder.join(format!("{}.part", digest.hex()));
        let fetch = || async { self.connection.current().artifacts.get(digest, &temporary).await };
        // The server may learn of our claim to an artifact a moment after we do.
        let size = match fetch.retry(client::patient()).when(ArtifactError::is_transient).notify(log_retry).await {
            Err(ArtifactError::Refused { code: 403 | 404, .. }) => {
                let refused = |error: &ArtifactError| !matches!(error, ArtifactError::Disk { .. });
                fetch.retry(client::patient().with_max_times(REFUSALS_MAX)).when(refused).await?
            }
            fetched => fetched?,
        };
        self.metrics.artifact_bytes.get_or_create(&DirectionLabel { direction: "in" }).inc_by(size);
        fs::rename(&temporary, &path).map_err(|source| ArtifactError::Disk { path: path.clone(), source })?;
        self.keep(digest, size);
        Ok(path)
    }

    /// Takes in a file that was made here: another name for the same bytes, so it costs nothing.
    pub(crate) fn adopt(&self, digest: Digest, size: u64, file: &Path) {
        match fs::hard_link(file, self.path(digest)) {
            Ok(()) => self.keep(digest, size),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => tracing::debug!(%digest, %error, "not kept in the cache"),
        }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn turn(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut index = self.index();
        index.arriving.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = index.arriving.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        index.arriving.insert(digest, Arc::downgrade(&turn));
        turn
    }

    /// True when the file is here and is what it should be.
    async fn have(&self, digest: Digest, path: &Path) -> bool {
        let Some(verified) = self.index().touch(digest) else { return false };
        if verified && path.exists() {
            return true;
        }
        let file = path.to_owned();
        let actual = tokio::task::spawn_blocking(move || digest_of(&file)).await.ok().and_then(Result::ok);
        let mut index = self.index();
        if actual == Some(digest) {
            index.verify(digest);
            return true;
        }
        tracing::warn!(%digest, "a cached artifact is damaged or gone; it is fetched again");
        index.remove(digest);
        drop(index);
        let _ = fs::remove_file(path);
        false
    }

    fn keep(&self, digest: Digest, size: u64) {
        let mut index = self.index();
        index.insert(digest, size, true);
        for victim in index.evict(CACHE_BYTES_MAX, digest) {
            let _ = fs::remove_file(self.path(victim));
        }
        self.metrics.cache_bytes.set(index.bytes as i64);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn insert(&mut self, digest: Digest, size: u64, verified: bool) {
        self.remove(digest);
        self.clock += 1;
        self.bytes += size;
        self.entries.insert(digest, Entry { size, used: self.clock, verified });
    }

    fn remove(&mut self, digest: Digest) {
        if let Some(entry) = self.entries.remove(&digest) {
            self.bytes -= entry.size;
        }
    }

    /// Marks a use; answers whether the file is known to be right.
    fn touch(&mut self, digest: Digest) -> Option<bool> {
        self.clock += 1;
        let clock = self.clock;
        self.entries.get_mut(&digest).map(|entry| {
            entry.used = clock;
            entry.verified
        })
    }

    fn verify(&mut self, digest: Digest) {
        if let Some(entry) = self.entries.get_mut(&digest) {
            entry.verified = true;
        }
    }

    /// Drops the least recently used until the rest fits, but never `except`.
    fn evict(&mut self, bytes_max: u64, except: Digest) -> Vec<Digest> {
        if self.bytes <= bytes_max {
            return Vec::new();
        }
        let mut by_use: Vec<_> = self.entries.iter().map(|(digest, entry)| (entry.used, *digest)).collect();
        by_use.sort_unstable();
        let mut victims = Vec::new();
        for (_, digest) in by_use {
            if self.bytes <= bytes_max {
                break;
            }
            if digest != except {
                self.remove(digest);
                victims.push(digest);
            }
        }
        victims
    }
}

fn log_retry(error: &ArtifactError, delay: std::time::Duration) {
    tracing::warn!(error = crate::chain(error), delay_ms = delay.as_millis() as u64, "download will be tried again");
}

/// The digest of a file. Blocks.
pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match io::Read::read(&mut file, &mut chunk)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            read => hash.update(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_the_newest_never() {
        let digests: Vec<_> = (0_u8..4).map(|n| Digest::of(&[n])).collect();
        let mut index = Index::default();
        for digest in &digests[..3] {
            index.insert(*digest, 10, true);
        }
        assert_eq!(index.touch(digests[0]), Some(true));
        index.insert(digests[3], 10, true);
        assert_eq!(index.evict(25, digests[3]), [digests[1], digests[2]]);
        assert_eq!(index.bytes, 20);
        assert_eq!(index.evict(0, digests[3]), [digests[0]]);
        assert_eq!(index.touch(digests[1]), None);
    }

    #[test]
    fn a_files_digest_is_that_of_its_bytes() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"abc").expect("writes");
        assert_eq!(digest_of(file.path()).expect("reads"), Digest::of(b"abc"));
    }
}
