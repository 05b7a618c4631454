//! Writing a backup: the entries one after the other, as fast as they are taken.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, TryStreamExt as _};
use schemas::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{ABOUT, ARTIFACTS, AUTHORITY_FILES, About, BLOCK, FORMAT, OBJECTS, PKI, SUMS};
use crate::{
    artifacts::{ArtifactError, ArtifactStore, garbage::digests_in},
    store::{Page, Record, Store, StoreError, View},
};

/// Records read at once: 500 of at most 1 MiB.
const PAGE: usize = 500;
/// Bytes of an entry of records, more or less.
const OBJECTS_BYTES: usize = 1 << 20;
/// Chunks that wait for the reader: of at most 1 MiB each, and mostly far less.
const CHUNKS_WAITING_MAX: usize = 4;

/// What a backup is taken of.
#[derive(Clone)]
pub struct Source {
    /// The objects.
    pub store: Arc<dyn Store>,
    /// What they name.
    pub artifacts: Arc<ArtifactStore>,
    /// The data folder: the cluster's ID and its authority.
    pub folder: PathBuf,
}

/// Why a backup broke off.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The objects cannot be read.
    #[error("cannot read the objects: {0}")]
    Store(#[from] StoreError),
    /// An artifact cannot be read, or is damaged.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A file beside the store.
    #[error("cannot read `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A record that does not fit into a line.
    #[error("the record of `{key}` has a line break in it, and a backup has one record a line")]
    Record {
        /// Its key.
        key: String,
    },
    /// Nobody reads it any more.
    #[error("the reader of the backup is gone")]
    Gone,
}

/// The bytes of a backup of the present state.
pub fn stream(source: Source) -> impl Stream<Item = Result<Bytes, BackupError>> + Send + Unpin {
    let (to, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
    let failed = to.clone();
    tokio::spawn(async move {
        let mut writer = Writer { to, sums: String::new() };
        if let Err(error) = writer.write(&source).await
            && !matches!(error, BackupError::Gone)
        {
            tracing::warn!(%error, "backup broke off");
            // A reader that is gone needs no reason.
            let _ = failed.send(Err(error)).await;
        }
    });
    Box::pin(futures::stream::unfold(chunks, |mut chunks| async move { Some((chunks.recv().await?, chunks)) }))
}

struct Writer {
    to: mpsc::Sender<Result<Bytes, BackupError>>,
    /// The last entry so far.
    sums: String,
}

impl Writer {
    async fn write(&mut self, source: &Source) -> Result<(), BackupError> {
        let view = source.store.view()?;
        self.entry(ABOUT, about(&source.folder, view.revision())?).await?;
        for name in AUTHORITY_FILES {
            let bytes = read(&source.folder.join(PKI).join(name))?;
            self.entry(&format!("{PKI}{name}"), bytes.into()).await?;
        }
        let named = self.objects(&*view).await?;
        drop(view);
        // Asking counts as use: from now on the garbage collection leaves them alone for longer than this takes.
        let mut kept = Vec::new();
        for digest in named {
            kept.extend(source.artifacts.head(&digest).await?.map(|size| (digest, size)));
        }
        for (digest, size) in kept {
            self.artifact(&source.artifacts, digest, size).await?;
        }
        let sums = std::mem::take(&mut self.sums);
        self.head(SUMS, sums.len() as u64).await?;
        self.body(sums.into()).await?;
        self.send(vec![0; 2 * BLOCK].into()).await
    }

    /// All records, some to an entry; answers the artifacts that they may name.
    async fn objects(&mut self, view: &dyn View) -> Result<BTreeSet<Digest>, BackupError> {
        let (mut named, mut lines, mut entries) = (BTreeSet::new(), BytesMut::new(), 0);
        let mut page = Page { limit: PAGE, ..Page::default() };
        loop {
            let listing = view.list("/", &page)?;
            for record in &listing.records {
                push_line(record, &mut lines)?;
                named.extend(digests_in(&record.value));
                if lines.len() >= OBJECTS_BYTES {
                    self.entry(&format!("{OBJECTS}{entries:06}"), lines.split().freeze()).await?;
                    entries += 1;
                }
            }
            page.after = listing.records.last().map(|record| record.key.clone());
            if listing.remaining == 0 {
                break;
            }
        }
        self.entry(&format!("{OBJECTS}{entries:06}"), lines.freeze()).await?;
        Ok(named)
    }

    /// One artifact, verified on the way: a damaged one breaks the backup off rather than be kept for good.
    async fn artifact(&mut self, artifacts: &ArtifactStore, digest: Digest, size: u64) -> Result<(), BackupError> {
        let fetched = artifacts.get(&digest, None).await?.filter(|fetched| fetched.size == size);
        let mut fetched = fetched.ok_or(ArtifactError::Damaged { digest })?;
        let name = format!("{ARTIFACTS}{}", digest.hex());
        self.head(&name, size).await?;
        let (mut hash, mut sent) = (Sha256::new(), 0);
        while let Some(chunk) = fetched.body.try_next().await? {
            hash.update(&chunk);
            sent += chunk.len() as u64;
            self.send(chunk).await?;
        }
        if sent != size || Digest::from_bytes(hash.finalize().into()) != digest {
            return Err(ArtifactError::Damaged { digest }.into());
        }
        self.pad(size).await?;
        self.remember(&name, &digest.hex());
        Ok(())
    }

    async fn entry(&mut self, name: &str, bytes: Bytes) -> Result<(), BackupError> {
        let hash = hex::encode(Sha256::digest(&bytes));
        self.remember(name, &hash);
        self.head(name, bytes.len() as u64).await?;
        self.body(bytes).await
    }

    /// As `sha256sum` writes it.
    fn remember(&mut self, name: &str, hex: &str) {
        self.sums.extend([hex, "  ", name, "\n"]);
    }

    async fn head(&self, name: &str, size: u64) -> Result<(), BackupError> {
        let mut header = tar::Header::new_ustar();
        let named = header.set_path(name);
        named.map_err(|source| BackupError::File { path: name.into(), source })?;
        header.set_size(size);
        header.set_mode(0o600);
        header.set_cksum();
        self.send(Bytes::copy_from_slice(header.as_bytes())).await
    }

    async fn body(&self, bytes: Bytes) -> Result<(), BackupError> {
        let size = bytes.len() as u64;
        self.send(bytes).await?;
        self.pad(size).await
    }

    async fn pad(&self, size: u64) -> Result<(), BackupError> {
        let missing = size.next_multiple_of(BLOCK as u64) - size;
        self.send(vec![0; missing as usize].into()).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), BackupError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.to.send(Ok(bytes)).await.map_err(|_| BackupError::Gone)
    }
}

fn about(folder: &Path, revision: u64) -> Result<Bytes, BackupError> {
    let marker = folder.join("cluster-id");
    let text = String::from_utf8_lossy(&read(&marker)?).trim().to_owned();
    let cluster = text.parse().map_err(|error| BackupError::File { path: marker, source: io::Error::other(error) })?;
    let about = About {
        format: FORMAT,
        cluster,
        revision,
        created: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(serde_json::to_vec_pretty(&about).expect("invariant: plain fields are JSON").into())
}

fn push_line(record: &Record, lines: &mut BytesMut) -> Result<(), BackupError> {
    if record.key.contains(['\t', '\n']) || record.value.contains(&b'\n') {
        return Err(BackupError::Record { key: record.key.clone() });
    }
    lines.extend_from_slice(format!("{}\t{}\t", record.key, record.revision).as_bytes());
    lines.extend_from_slice(&record.value);
    lines.extend_from_slice(b"\n");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, BackupError> {
    std::fs::read(path).map_err(|source| BackupError::File { path: path.to_owned(), source })
}
