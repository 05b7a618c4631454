//! Backups and what becomes of them.

use std::{fs, path::Path, sync::Arc};

use futures::StreamExt as _;
use schemas::Digest;

use super::{
    write::{BackupError, Source},
    *,
};
use crate::{
    artifacts::ArtifactStore,
    pki::Authority,
    store::{Page, Precondition, Record, Store, Write, redb_store::RedbStore},
};

/// A data folder with an authority, objects and artifacts, as a server has it.
async fn source(folder: &Path) -> Source {
    let store = RedbStore::open(&folder.join("store.redb")).unwrap();
    Authority::open(&folder.join("pki")).unwrap();
    let artifacts = ArtifactStore::open(&folder.join("artifacts")).await.unwrap();
    let source = Source { store: Arc::new(store), artifacts: Arc::new(artifacts), folder: folder.to_owned() };
    let named = put(&source, vec![7; 3_000]).await;
    put(&source, b"named by nobody".to_vec()).await;
    for number in 0..1_200 {
        let object = format!("{{\"number\":{number},\"module\":\"{named}\",\"absent\":\"{}\"}}", Digest::of(b"absent"));
        write(&source, &format!("/jobs/{number:04}"), &object).await;
    }
    source
}

async fn put(source: &Source, bytes: Vec<u8>) -> Digest {
    let digest = Digest::of(&bytes);
    let body = futures::stream::iter([Ok::<_, std::io::Error>(bytes.into())]);
    source.artifacts.put(digest, body, 1 << 20).await.unwrap();
    digest
}

async fn write(source: &Source, key: &str, object: &str) {
    let value = Some(object.to_owned().into());
    let write = Write { key: key.to_owned(), precondition: Precondition::Any, value };
    source.store.commit(vec![write]).await.unwrap();
}

async fn taken(source: &Source) -> Vec<u8> {
    let mut chunks = stream(source.clone());
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

fn restored(bytes: &[u8], folder: &Path) -> Result<Restored, RestoreError> {
    let file = folder.join("backup.tar");
    fs::write(&file, bytes).unwrap();
    restore(&file, &folder.join("data"))
}

#[tokio::test]
async fn a_restored_folder_has_everything_as_it_was() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = source(old.path()).await;
    let before = source.store.list("/", &Page::default()).unwrap();
    let bytes = taken(&source).await;
    write(&source, "/jobs/later", "{}").await;
    let restored = restored(&bytes, new.path()).unwrap();
    assert_eq!((restored.objects, restored.artifacts), (1_200, 1), "what nobody names is left out");
    assert_eq!(restored.about.revision, before.revision);

    let data = new.path().join("data");
    let store = RedbStore::open(&data.join("store.redb")).unwrap();
    let after = store.list("/", &Page::default()).unwrap();
    let plain = |records: &[Record]| records.iter().map(|r| (r.key.clone(), r.value.clone())).collect::<Vec<_>>();
    assert!(plain(&after.records) == plain(&before.records), "a record is another one");
    assert!(after.revision > source.store.revision() && after.revision == restored.revision);
    let read = |folder: &Path, name: &str| fs::read(folder.join(name)).unwrap();
    for name in ["pki/ca.key", "pki/ca.crt", "cluster-id"] {
        assert!(read(old.path(), name) == read(&data, name), "{name}");
    }
    assert!(Authority::open(&data.join("pki")).is_ok(), "the key is private again");
    let artifacts = ArtifactStore::open(&data.join("artifacts")).await.unwrap();
    let artifact = artifacts.read_all(&Digest::of(&[7; 3_000]), 1 << 20).await.unwrap();
    assert_eq!(artifact.as_deref(), Some(&[7; 3_000][..]));
}

#[tokio::test]
async fn a_backup_of_a_backup_is_the_same_but_for_its_epoch() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = source(one.path()).await;
    restored(&taken(&source).await, two.path()).unwrap();
    let data = two.path().join("data");
    let again = Source {
        store: Arc::new(RedbStore::open(&data.join("store.redb")).unwrap()),
        artifacts: Arc::new(ArtifactStore::open(&data.join("artifacts")).await.unwrap()),
        folder: data,
    };
    let three = tempfile::tempdir().unwrap();
    let third = restored(&taken(&again).await, three.path()).unwrap();
    assert_eq!(third.objects, 1_200);
    assert!(third.revision > again.store.revision());
}

#[tokio::test]
async fn no_cut_and_no_flipped_bit_is_taken_for_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = taken(&source(folder.path()).await).await;
    // What follows the last entry is nobody's: two blocks of zeros.
    let used = bytes.len() - 2 * BLOCK;
    for cut in [0, 1, BLOCK, used / 3, used / 2, used - 2 * BLOCK] {
        let new = tempfile::tempdir().unwrap();
        assert!(restored(&bytes[..cut], new.path()).is_err(), "cut at {cut} of {}", bytes.len());
        assert!(!new.path().join("data").exists(), "cut at {cut}: something is left");
    }
    for at in (0..used).step_by(used / 60) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let new = tempfile::tempdir().unwrap();
        match restored(&damaged, new.path()) {
            Err(_) => assert!(!new.path().join("data").exists(), "byte {at}: something is left"),
            // Padding, and fields of a header that mean nothing here.
            Ok(restored) => assert_eq!((restored.objects, restored.artifacts), (1_200, 1), "byte {at}"),
        }
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path()).await;
    let bytes = taken(&source).await;
    let new = tempfile::tempdir().unwrap();
    fs::create_dir(new.path().join("data")).unwrap();
    fs::write(new.path().join("data/mine"), "mine").unwrap();
    assert!(matches!(restored(&bytes, new.path()), Err(RestoreError::NotEmpty { .. })));
    assert_eq!(fs::read(new.path().join("data/mine")).unwrap(), b"mine");
    fs::remove_file(new.path().join("data/mine")).unwrap();
    assert!(restored(&bytes, new.path()).is_ok(), "an empty folder, as a mount point is one");
}

#[tokio::test]
async fn a_damaged_artifact_breaks_the_backup_off() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path()).await;
    let hex = Digest::of(&[7; 3_000]).hex();
    fs::write(folder.path().join("artifacts/sha256").join(&hex[..2]).join(&hex), vec![8; 3_000]).unwrap();
    let mut chunks = stream(source);
    let mut last = None;
    while let Some(chunk) = chunks.next().await {
        last = Some(chunk);
    }
    assert!(matches!(last, Some(Err(BackupError::Artifact(_)))));
}
