//! Garbage collection of artifacts: what no object names, and nobody has used for an hour, goes.
//!
//! In: all stored objects as bytes, all artifacts. Out: deletions. Any `sha256:<hex>` anywhere in any object
//! counts as a reference, whatever the field: a new field can never lose data.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use schemas::Digest;
use tokio_util::sync::CancellationToken;

use super::{ArtifactError, ArtifactStore};
use crate::store::{Page, Store, StoreError};

/// Between two collections.
const EVERY: Duration = Duration::from_hours(1);
/// How long an artifact stays unreferenced: an upload comes before the object that names it.
const GRACE: Duration = Duration::from_hours(1);
/// Objects read at once: 500 of at most 1 MiB.
const PAGE: usize = 500;

/// Why a collection was given up. Nothing has been deleted that should stay.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The objects could not be read.
    #[error("cannot read the objects: {0}")]
    Store(#[from] StoreError),
    /// The artifacts could not be listed or deleted.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
}

/// What one collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Artifacts deleted.
    pub deleted: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Artifacts kept.
    pub kept: u64,
}

/// Collects every hour until `stop`.
pub async fn run(store: &dyn Store, artifacts: &ArtifactStore, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        match collect(store, artifacts, SystemTime::now() - GRACE).await {
            Ok(Collected { deleted, bytes, kept }) => tracing::info!(deleted, bytes, kept, "artifacts collected"),
            Err(error) => tracing::warn!(%error, "artifacts not collected"),
        }
    }
}

/// Deletes what no object names and nobody has used since `cutoff`.
pub async fn collect(
    store: &dyn Store,
    artifacts: &ArtifactStore,
    cutoff: SystemTime,
) -> Result<Collected, CollectError> {
    // The artifacts are listed before the objects are read: an object that names one of them later than that has
    // been admitted later, and admission counts as use.
    let listed = artifacts.list().await?;
    let referenced = references(store)?;
    let mut collected = Collected::default();
    for artifact in listed {
        let unused = artifact.modified < cutoff && !referenced.contains(&artifact.digest);
        if unused && artifacts.delete_unused(&artifact.digest, cutoff).await? {
            collected.deleted += 1;
            collected.bytes += artifact.size;
        } else {
            collected.kept += 1;
        }
    }
    Ok(collected)
}

fn references(store: &dyn Store) -> Result<HashSet<Digest>, StoreError> {
    let mut referenced = HashSet::new();
    let mut page = Page { limit: PAGE, ..Page::default() };
    loop {
        let listing = store.list("/", &page)?;
        for record in &listing.records {
            referenced.extend(digests_in(&record.value));
        }
        page.after = listing.records.last().map(|record| record.key.clone());
        page.revision = Some(listing.revision);
        if listing.remaining == 0 {
            return Ok(referenced);
        }
    }
}

/// Every `sha256:<64 hex digits>` in `bytes`.
pub(crate) fn digests_in(bytes: &[u8]) -> impl Iterator<Item = Digest> + '_ {
    const NAME: &[u8] = b"sha256:";
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let start = rest.windows(NAME.len()).position(|window| window == NAME)?;
            let text = &rest[start..];
            rest = &text[NAME.len()..];
            let digest = text.get(..NAME.len() + 64).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            if digest.is_some() {
                return digest;
            }
        }
    })
}
