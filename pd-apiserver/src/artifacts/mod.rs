//! Content-addressed blobs.
use std::{ops::Range, path::Path, time::SystemTime};
use bytes::Bytes;
use futures::{Stream, stream::BoxStream};
use schemas::Digest;
/// The artifacts of one server.
pub struct ArtifactStore {}
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
    /// When it was stored last.
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
    /// x
    #[error("x")]
    X,
}
impl ArtifactStore {
    /// Opens `folder`, creating it when it is missing.
    pub async fn open(folder: &Path) -> Result<Self, ArtifactError> { unimplemented!() }
    /// Stores `body` under `expected`.
    pub async fn put<S, E>(&self, expected: Digest, body: S, limit: u64) -> Result<Stored, ArtifactError>
    where S: Stream<Item = Result<Bytes, E>> + Unpin, E: std::fmt::Display { unimplemented!() }
    /// Size of an artifact; `None`: there is none.
    pub async fn head(&self, digest: &Digest) -> Result<Option<u64>, ArtifactError> { unimplemented!() }
    /// An artifact or a part of it; `None`: there is none.
    pub async fn get(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Fetched>, ArtifactError> { unimplemented!() }
    /// All of an artifact of at most `max` bytes; `None`: there is none.
    pub async fn read_all(&self, digest: &Digest, max: u64) -> Result<Option<Bytes>, ArtifactError> { unimplemented!() }
    /// Removes an artifact; false: there was none.
    pub async fn delete(&self, digest: &Digest) -> Result<bool, ArtifactError> { unimplemented!() }
    /// All artifacts.
    pub async fn list(&self) -> Result<Vec<Listed>, ArtifactError> { unimplemented!() }
}
