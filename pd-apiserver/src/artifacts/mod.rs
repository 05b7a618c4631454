//! Artifacts: content-addressed bytes (modules, inputs, segments, results), named by their SHA-256.
//!
//! In: streams of bytes. Out: the same bytes, if they hash to their name. Behind it is an `object_store`, today
//! a local folder with fsync on; nothing is acknowledged before file and folder are on disk. It knows nothing
//! of objects or users, except for the digests that the garbage collection is told to keep.

mod compare;
pub mod garbage;
pub mod grants;
pub mod http;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload,
    local::LocalFileSystem, path::Path as Location,
};
use schemas::Digest;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::{RwLock, Semaphore},
};
use tokio_util::io::ReaderStream;

/// Bytes written at once, and held in memory for each upload.
const PART_BYTES: usize = 1 << 20;
/// Uploads at once, beyond which they wait: 64 x 1 MiB of buffers.
const UPLOADS_MAX: usize = 64;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// An artifact that is asked for counts as used anew once its last use is older than this; far below the
/// garbage collection's grace, so that what has just been seen is not collected before it is referenced.
const TOUCH_AFTER: Duration = Duration::from_mins(10);
/// Artifacts whose size is kept in memory: 65,536 x 64 bytes = 4 MiB.
const KNOWN_MAX: usize = 65_536;
/// Folder of all artifacts, below it one folder for each first byte.
const FOLDER: &str = "sha256";

/// What `put` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// In bytes.
    pub size: u64,
    /// False: it was there already.
    pub created: bool,
}

/// One artifact of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When it was stored or last used, to within ten minutes.
    pub modified: SystemTime,
}

/// Bytes on their way out.
pub struct Fetched {
    /// Of the whole artifact, in bytes.
    pub size: u64,
    /// The bytes asked for.
    pub range: Range<u64>,
    /// In order.
    pub body: BoxStream<'static, Result<Bytes, ArtifactError>>,
}

/// Why an artifact could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The bytes are not those of the name.
    #[error("the bytes hash to {actual}, not to {expected}: they were changed on the way, or the name is wrong")]
    Mismatch {
        /// The name.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// More bytes than allowed.
    #[error("the artifact is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes allowed.
        limit: u64,
    },
    /// The range begins beyond the end.
    #[error("the range begins beyond the artifact's {size} bytes")]
    OutOfRange {
        /// Bytes of the artifact.
        size: u64,
    },
    /// The sender stopped or failed.
    #[error("the upload broke off: {0}")]
    Body(String),
    /// What is on disk is not what was stored.
    #[error("artifact {digest} is damaged on disk: delete it and upload it again")]
    Damaged {
        /// Its name.
        digest: Digest,
    },
    /// The blob store failed.
    #[error("cannot {attempt} artifacts: {source}")]
    Storage {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        source: object_store::Error,
    },
    /// A file operation failed.
    #[error("cannot {attempt} `{}`: {source}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn storage(attempt: &'static str) -> impl Fn(object_store::Error) -> ArtifactError {
    move |source| ArtifactError::Storage { attempt, source }
}

fn file_error(attempt: &'static str, path: &Path) -> impl Fn(io::Error) -> ArtifactError + use<> {
    let path = path.to_owned();
    move |source| ArtifactError::File { attempt, path: path.clone(), source }
}

/// The artifacts of one server.
pub struct ArtifactStore {
    blobs: LocalFileSystem,
    uploads: Semaphore,
    /// Shared by whoever stores or looks; exclusive for a deletion, so that nothing is seen and deleted at once.
    gate: RwLock<()>,
    /// Sizes of artifacts that were seen or stored, and when.
    known: Mutex<HashMap<Digest, (u64, Instant)>>,
}

impl ArtifactStore {
    /// Opens `folder`, creating it when it is missing, and clears away uploads that a crash cut short.
    pub async fn open(folder: &Path) -> Result<Self, ArtifactError> {
        fs::create_dir_all(folder).map_err(file_error("create", folder))?;
        let root = folder.join(FOLDER);
        let cleaned = tokio::task::spawn_blocking(move || remove_unfinished(&root));
        cleaned.await.map_err(|error| file_error("clean", folder)(io::Error::other(error)))??;
        let blobs = LocalFileSystem::new_with_prefix(folder).map_err(storage("open"))?.with_fsync(true);
        Ok(Self { blobs, uploads: Semaphore::new(UPLOADS_MAX), gate: RwLock::default(), known: Mutex::default() })
    }

    /// Stores `body`, of at most `limit` bytes, if it hashes to `expected`.
    pub async fn put<S, E>(&self, expected: Digest, mut body: S, limit: u64) -> Result<Stored, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        // What is there already is read to its end all the same: the sender gets an answer, not a closed pipe.
        let known = self.head(&expected).await?.is_some();
        // The semaphore is never closed. What is not written needs no buffer.
        let _permit = if known { None } else { self.uploads.acquire().await.ok() };
        let mut upload = Upload::new(location(&expected));
        let mut hash = Sha256::new();
        let mut size = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| ArtifactError::Body(error.to_string()))?;
            size += chunk.len() as u64;
            if size > limit {
                upload.abort().await;
                return Err(ArtifactError::TooLarge { limit });
            }
            hash.update(&chunk);
            if !known {
                upload.write(&self.blobs, chunk).await?;
            }
        }
        let actual = Digest::from_bytes(hash.finalize().into());
        if actual != expected {
            upload.abort().await;
            return Err(ArtifactError::Mismatch { expected, actual });
        }
        if !known {
            let _gate = self.gate.read().await;
            upload.finish(&self.blobs).await?;
            self.remember(expected, size);
        }
        Ok(Stored { size, created: !known })
    }

    /// Size of an artifact in bytes; `None`: there is none. Asking counts as using it. Mostly answered from
    /// memory: a file removed behind our back is missed within ten minutes.
    pub async fn head(&self, digest: &Digest) -> Result<Option<u64>, ArtifactError> {
        let seen = locked(&self.known).get(digest).copied();
        if let Some((size, _)) = seen.filter(|(_, when)| when.elapsed() < TOUCH_AFTER) {
            return Ok(Some(size));
        }
        let _gate = self.gate.read().await;
        let location = location(digest);
        let Some(meta) = found(self.blobs.head(&location).await, "look for")? else {
            locked(&self.known).remove(digest);
            return Ok(None);
        };
        if SystemTime::from(meta.last_modified).elapsed().unwrap_or_default() >= TOUCH_AFTER {
            self.touch(&location)?;
        }
        self.remember(*digest, meta.size);
        Ok(Some(meta.size))
    }

    /// An artifact or a part of it, cut to what there is; `None`: there is no such artifact.
    pub async fn get(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Fetched>, ArtifactError> {
        let Some(size) = self.head(digest).await? else { return Ok(None) };
        let range = range.map_or(0..size, |range| range.start..range.end.min(size));
        if range.start >= range.end && size > 0 {
            return Err(ArtifactError::OutOfRange { size });
        }
        // object_store takes an empty range for an error, and an empty artifact has no other.
        let wanted = (size > 0).then(|| GetRange::Bounded(range.clone()));
        let options = GetOptions { range: wanted, ..GetOptions::default() };
        let Some(got) = found(self.blobs.get_opts(&location(digest), options).await, "read")? else { return Ok(None) };
        let body = match got.payload {
            GetResultPayload::File(file, path) => file_stream(tokio::fs::File::from_std(file), path, &range).await?,
            GetResultPayload::Stream(stream) => stream.map_err(storage("read")).boxed(),
        };
        Ok(Some(Fetched { size, range, body }))
    }

    /// All of an artifact of at most `max` bytes, verified; `None`: there is none.
    pub async fn read_all(&self, digest: &Digest, max: u64) -> Result<Option<Bytes>, ArtifactError> {
        let Some(mut fetched) = self.get(digest, None).await? else { return Ok(None) };
        if fetched.size > max {
            return Err(ArtifactError::TooLarge { limit: max });
        }
        let mut bytes = Vec::with_capacity(fetched.size as usize);
        while let Some(chunk) = fetched.body.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        if Digest::of(&bytes) != *digest {
            return Err(ArtifactError::Damaged { digest: *digest });
        }
        Ok(Some(bytes.into()))
    }

    /// Removes an artifact; false: there was none.
    pub async fn delete(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let _gate = self.gate.write().await;
        self.remove(digest).await
    }

    /// Removes an artifact that nobody has used since `cutoff`; false: it stays, or there was none.
    pub async fn delete_unused(&self, digest: &Digest, cutoff: SystemTime) -> Result<bool, ArtifactError> {
        let _gate = self.gate.write().await;
        match found(self.blobs.head(&location(digest)).await, "look for")? {
            Some(meta) if SystemTime::from(meta.last_modified) < cutoff => self.remove(digest).await,
            _ => Ok(false),
        }
    }

    /// All artifacts, in no order.
    pub async fn list(&self) -> Result<Vec<Listed>, ArtifactError> {
        let listed = self.blobs.list(Some(&Location::from(FOLDER))).map_err(storage("list")).try_filter_map(|meta| {
            let digest = meta.location.filename().and_then(|hex| format!("sha256:{hex}").parse().ok());
            let modified = meta.last_modified.into();
            futures::future::ok(digest.map(|digest| Listed { digest, size: meta.size, modified }))
        });
        listed.try_collect().await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        locked(&self.known).remove(digest);
        Ok(found(self.blobs.delete(&location(digest)).await, "delete")?.is_some())
    }

    fn remember(&self, digest: Digest, size: u64) {
        let mut known = locked(&self.known);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(digest, (size, Instant::now()));
    }

    fn touch(&self, location: &Location) -> Result<(), ArtifactError> {
        let path = self.blobs.path_to_filesystem(location).map_err(storage("find"))?;
        let touch = || fs::File::open(&path)?.set_modified(SystemTime::now());
        touch().map_err(file_error("touch", &path))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn location(digest: &Digest) -> Location {
    let hex = digest.hex();
    Location::from(format!("{FOLDER}/{}/{hex}", &hex[..2]))
}

/// `None` for what is not there.
fn found<T>(result: object_store::Result<T>, attempt: &'static str) -> Result<Option<T>, ArtifactError> {
    match result {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        result => result.map(Some).map_err(storage(attempt)),
    }
}

async fn file_stream(
    mut file: tokio::fs::File,
    path: PathBuf,
    range: &Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, ArtifactError>>, ArtifactError> {
    let failed = file_error("read", &path);
    file.seek(io::SeekFrom::Start(range.start)).await.map_err(&failed)?;
    let bytes = ReaderStream::with_capacity(file.take(range.end - range.start), READ_BYTES);
    Ok(bytes.map_err(failed).boxed())
}

/// Removes what uploads have left behind: object_store writes to `NAME#N` before it renames.
fn remove_unfinished(root: &Path) -> Result<(), ArtifactError> {
    if !root.try_exists().map_err(file_error("look for", root))? {
        return Ok(());
    }
    for folder in fs::read_dir(root).map_err(file_error("list", root))? {
        let folder = folder.map_err(file_error("list", root))?.path();
        for file in fs::read_dir(&folder).map_err(file_error("list", &folder))? {
            let file = file.map_err(file_error("list", &folder))?;
            if file.file_name().to_string_lossy().contains('#') {
                fs::remove_file(file.path()).map_err(file_error("remove the unfinished", &file.path()))?;
            }
        }
    }
    Ok(())
}

/// One upload: small ones are written in one go, larger ones part by part.
struct Upload {
    location: Location,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    fn new(location: Location) -> Self {
        Self { location, waiting: Vec::new(), waiting_bytes: 0, parts: None }
    }

    async fn write(&mut self, blobs: &LocalFileSystem, chunk: Bytes) -> Result<(), ArtifactError> {
        self.waiting_bytes += chunk.len();
        self.waiting.push(chunk);
        if self.waiting_bytes >= PART_BYTES {
            if self.parts.is_none() {
                self.parts = Some(blobs.put_multipart(&self.location).await.map_err(storage("write"))?);
            }
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ArtifactError> {
        let payload = self.take();
        if let Some(parts) = &mut self.parts {
            parts.put_part(payload).await.map_err(storage("write"))?;
        }
        Ok(())
    }

    async fn finish(&mut self, blobs: &LocalFileSystem) -> Result<(), ArtifactError> {
        self.flush_rest().await?;
        if let Some(parts) = &mut self.parts {
            parts.complete().await.map_err(storage("write"))?;
        } else {
            let payload = self.take();
            blobs.put(&self.location, payload).await.map_err(storage("write"))?;
        }
        Ok(())
    }

    async fn flush_rest(&mut self) -> Result<(), ArtifactError> {
        if self.parts.is_some() { self.flush().await } else { Ok(()) }
    }

    /// Dropping an upload removes its file as well; this one waits for it.
    async fn abort(&mut self) {
        if let Some(mut parts) = self.parts.take()
            && let Err(error) = parts.abort().await
        {
            tracing::warn!(%error, "cannot remove an unfinished upload");
        }
    }

    fn take(&mut self) -> PutPayload {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting).into_iter().collect()
    }
}
