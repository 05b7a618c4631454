//! The artifact store's promises.

use std::sync::Arc;

use futures::stream;

use super::{garbage::collect, grants::NodeGrants, *};
use crate::store::{Precondition, Store, Write, redb_store::RedbStore};

async fn open() -> (tempfile::TempDir, ArtifactStore) {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path()).await.unwrap();
    (folder, artifacts)
}

fn body(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, io::Error>> + Unpin + use<> {
    let chunks: Vec<_> = bytes.chunks(64 << 10).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks)
}

async fn put(artifacts: &ArtifactStore, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    artifacts.put(digest, body(bytes), u64::MAX).await.unwrap();
    digest
}

async fn fetch(artifacts: &ArtifactStore, digest: &Digest, range: Option<Range<u64>>) -> Vec<u8> {
    let fetched = artifacts.get(digest, range).await.unwrap().unwrap();
    fetched.body.try_fold(Vec::new(), |all, chunk| async move { Ok([all, chunk.to_vec()].concat()) }).await.unwrap()
}

fn files(folder: &Path) -> usize {
    let root = folder.join(FOLDER);
    let Ok(folders) = fs::read_dir(root) else { return 0 };
    folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn what_goes_in_comes_out_whole_or_in_part() {
    let (_folder, artifacts) = open().await;
    let large: Vec<u8> = (0..5 * PART_BYTES + 77).map(|index| (index * 31 % 251) as u8).collect();
    for bytes in [&b""[..], b"x", &large] {
        let digest = Digest::of(bytes);
        let first = artifacts.put(digest, body(bytes), u64::MAX).await.unwrap();
        assert_eq!(first, Stored { size: bytes.len() as u64, created: true });
        let second = artifacts.put(digest, body(bytes), u64::MAX).await.unwrap();
        assert_eq!(second, Stored { size: bytes.len() as u64, created: false });
        assert_eq!(artifacts.head(&digest).await.unwrap(), Some(bytes.len() as u64));
        assert_eq!(fetch(&artifacts, &digest, None).await, bytes);
        assert_eq!(artifacts.read_all(&digest, u64::MAX).await.unwrap().unwrap(), bytes);
    }
    let digest = Digest::of(&large);
    assert_eq!(fetch(&artifacts, &digest, Some(1_000_000..1_000_010)).await, large[1_000_000..1_000_010]);
    let size = large.len() as u64;
    assert_eq!(fetch(&artifacts, &digest, Some(size - 5..size + 100)).await, large[large.len() - 5..]);
    assert!(matches!(artifacts.get(&digest, Some(size..size + 1)).await, Err(ArtifactError::OutOfRange { .. })));
    assert_eq!(artifacts.list().await.unwrap().len(), 3);
}

#[tokio::test]
async fn wrong_bytes_long_bytes_and_broken_bodies_leave_nothing() {
    let (folder, artifacts) = open().await;
    for size in [10, 3 * PART_BYTES] {
        let bytes = vec![7; size];
        let wrong = Digest::of(b"something else");
        let refused = artifacts.put(wrong, body(&bytes), u64::MAX).await;
        assert!(matches!(refused, Err(ArtifactError::Mismatch { .. })));
        let refused = artifacts.put(Digest::of(&bytes), body(&bytes), size as u64 - 1).await;
        assert!(matches!(refused, Err(ArtifactError::TooLarge { .. })));
        let broken = body(&bytes).chain(stream::iter([Err(io::Error::other("gone"))]));
        let refused = artifacts.put(Digest::of(&bytes), broken, u64::MAX).await;
        assert!(matches!(refused, Err(ArtifactError::Body(_))));
        assert_eq!(artifacts.head(&wrong).await.unwrap(), None);
        assert_eq!(artifacts.head(&Digest::of(&bytes)).await.unwrap(), None);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while files(folder.path()) > 0 {
        assert!(Instant::now() < deadline, "unfinished uploads were left behind");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn uploads_that_a_crash_cut_short_are_cleared_away() {
    let (folder, artifacts) = open().await;
    let digest = put(&artifacts, b"kept").await;
    let path = artifacts.blobs.path_to_filesystem(&location(&digest)).unwrap();
    fs::write(format!("{}#1", path.display()), b"half").unwrap();
    let artifacts = ArtifactStore::open(folder.path()).await.unwrap();
    assert_eq!(files(folder.path()), 1);
    assert_eq!(fetch(&artifacts, &digest, None).await, b"kept");
}

#[tokio::test]
async fn a_damaged_artifact_is_not_passed_on() {
    let (_folder, artifacts) = open().await;
    let digest = put(&artifacts, b"module").await;
    let path = artifacts.blobs.path_to_filesystem(&location(&digest)).unwrap();
    fs::write(path, b"mudule").unwrap();
    assert!(matches!(artifacts.read_all(&digest, 100).await, Err(ArtifactError::Damaged { .. })));
    assert!(matches!(artifacts.read_all(&digest, 3).await, Err(ArtifactError::TooLarge { limit: 3 })));
}

async fn write(store: &RedbStore, key: &str, value: String) {
    let write = Write { key: key.to_owned(), precondition: Precondition::Any, value: Some(value.into()) };
    store.commit(vec![write]).await.unwrap();
}

fn age(artifacts: &ArtifactStore, digest: &Digest) {
    let path = artifacts.blobs.path_to_filesystem(&location(digest)).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    locked(&artifacts.known).clear();
}

#[tokio::test]
async fn only_what_is_old_and_named_nowhere_is_collected() {
    let (_folder, artifacts) = open().await;
    let store = RedbStore::in_memory().unwrap();
    let (named, fresh, used) =
        (put(&artifacts, b"named").await, put(&artifacts, b"fresh").await, put(&artifacts, b"used").await);
    let old = put(&artifacts, b"old").await;
    for digest in [&named, &used, &old] {
        age(&artifacts, digest);
    }
    artifacts.head(&used).await.unwrap();
    write(&store, "/g/jobs/default/j", format!(r#"{{"deep":[{{"x":"{named}"}}],"junk":"sha256:12"}}"#)).await;
    let cutoff = SystemTime::now() - Duration::from_hours(1);
    let collected = collect(&store, &artifacts, cutoff).await.unwrap();
    assert_eq!((collected.deleted, collected.bytes, collected.kept), (1, 3, 3));
    assert_eq!(artifacts.head(&old).await.unwrap(), None);
    for digest in [named, fresh, used] {
        assert!(artifacts.head(&digest).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_node_may_fetch_what_its_assignments_name_at_this_moment() {
    let store = Arc::new(RedbStore::in_memory().unwrap());
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let assignment = |node: &str, digest: &Digest| format!(r#"{{"spec":{{"nodeName":"{node}","m":"{digest}"}}}}"#);
    write(&store, "/processdistro.dev/assignments/default/a", assignment("n1", &one)).await;
    let grants = NodeGrants::new(store.clone());
    assert!(grants.allow("n1", &one).unwrap());
    assert!(!grants.allow("n1", &other).unwrap());
    assert!(!grants.allow("n2", &one).unwrap());
    write(&store, "/processdistro.dev/assignments/default/b", assignment("n2", &one)).await;
    assert!(grants.allow("n2", &one).unwrap());
    write(&store, "/processdistro.dev/assignments/default/a", assignment("n1", &other)).await;
    assert!(grants.allow("n1", &other).unwrap() && !grants.allow("n1", &one).unwrap());
    let key = "/processdistro.dev/assignments/default/b".to_owned();
    store.commit(vec![Write { key, precondition: Precondition::Any, value: None }]).await.unwrap();
    assert!(!grants.allow("n2", &one).unwrap());
}
