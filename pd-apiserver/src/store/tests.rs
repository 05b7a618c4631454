//! The promises of `Store`, tried on the redb store.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;
use redb::{Builder, StorageBackend, backends::FileBackend};

use super::{redb_store::RedbStore, *};

fn put(key: &str, value: &str, precondition: Precondition) -> Write {
    Write { key: key.to_owned(), precondition, value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn set(key: &str, value: &str) -> Write {
    put(key, value, Precondition::Any)
}

fn remove(key: &str) -> Write {
    Write { key: key.to_owned(), precondition: Precondition::Any, value: None }
}

fn commit(store: &RedbStore, writes: Vec<Write>) -> Result<u64, StoreError> {
    futures::executor::block_on(store.commit(writes))
}

fn store() -> RedbStore {
    RedbStore::in_memory().unwrap()
}

fn text(store: &RedbStore, key: &str) -> Option<String> {
    store.get(key).unwrap().map(|record| String::from_utf8(record.value.to_vec()).unwrap())
}

fn take(changes: &mut Changes, count: usize) -> Vec<Arc<Change>> {
    (0..count).map(|_| changes.blocking_recv().expect("the stream has ended early")).collect()
}

#[test]
fn revisions_grow_and_preconditions_guard() {
    let store = store();
    let first = commit(&store, vec![put("/a", "1", Precondition::Absent)]).unwrap();
    let conflict = StoreError::Conflict { key: "/a".to_owned(), actual: Some(first) };
    assert_eq!(commit(&store, vec![put("/a", "2", Precondition::Absent)]), Err(conflict.clone()));
    assert_eq!(commit(&store, vec![put("/a", "2", Precondition::Revision(first + 1))]), Err(conflict));
    let second = commit(&store, vec![put("/a", "2", Precondition::Revision(first))]).unwrap();
    assert!(second > first);
    assert_eq!(store.get("/a").unwrap().unwrap().revision, second);
    let absent = StoreError::Conflict { key: "/b".to_owned(), actual: None };
    assert_eq!(commit(&store, vec![put("/b", "1", Precondition::Revision(second))]), Err(absent));
    assert_eq!(store.revision(), second);
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let store = store();
    let before = commit(&store, vec![set("/a", "1")]).unwrap();
    let refused = commit(&store, vec![set("/b", "1"), remove("/a"), put("/a", "2", Precondition::Absent)]);
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    assert_eq!((text(&store, "/a").as_deref(), text(&store, "/b")), (Some("1"), None));
    assert_eq!(store.revision(), before);
    let after = commit(&store, vec![set("/b", "1"), remove("/a")]).unwrap();
    assert_eq!((text(&store, "/a"), text(&store, "/b").as_deref()), (None, Some("1")));
    assert_eq!(store.get("/b").unwrap().unwrap().revision, after);
}

#[test]
fn a_write_that_changes_nothing_leaves_no_trace() {
    let store = store();
    let written = commit(&store, vec![set("/a", "1")]).unwrap();
    let newest = commit(&store, vec![set("/b", "1")]).unwrap();
    let mut changes = store.watch("", newest).unwrap();
    assert_eq!(commit(&store, vec![set("/a", "1")]), Ok(written));
    assert_eq!(commit(&store, vec![remove("/c")]), Ok(newest));
    assert_eq!(store.revision(), newest);
    commit(&store, vec![set("/a", "2"), set("/b", "1")]).unwrap();
    assert_eq!(store.get("/b").unwrap().unwrap().revision, newest, "the unchanged part keeps its revision");
    assert_eq!(take(&mut changes, 1)[0].key, "/a");
    assert!(changes.try_recv().is_err());
}

#[test]
fn waiting_writes_share_one_commit() {
    let store = store();
    let requests: Vec<_> = (0..200).map(|number| store.commit(vec![set(&format!("/{number}"), "x")])).collect();
    let before = store.stats().commits.get();
    let revisions = futures::executor::block_on(futures::future::join_all(requests));
    let distinct: std::collections::BTreeSet<u64> = revisions.into_iter().map(Result::unwrap).collect();
    assert_eq!(distinct.len(), 200, "each transaction has its own revision");
    let commits = store.stats().commits.get() - before;
    assert!(commits < 100, "{commits} commits for 200 writes");
}

#[test]
fn within_a_batch_only_the_first_of_two_rivals_wins() {
    let store = store();
    let rivals = (0..50).map(|number| store.commit(vec![put("/a", &number.to_string(), Precondition::Absent)]));
    let answers = futures::executor::block_on(futures::future::join_all(rivals));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[test]
fn pages_show_one_state() {
    let store = store();
    for number in 0..10 {
        commit(&store, vec![set(&format!("/a/{number}"), "old")]).unwrap();
    }
    commit(&store, vec![set("/b/0", "other")]).unwrap();
    let first = store.list("/a/", &Page { limit: 4, ..Page::default() }).unwrap();
    assert_eq!((first.records.len(), first.remaining), (4, 6));
    commit(&store, vec![set("/a/5", "new"), remove("/a/6"), set("/a/99", "new")]).unwrap();
    let after = first.records.last().map(|record| record.key.clone());
    let rest = Page { limit: 0, after, revision: Some(first.revision) };
    let second = store.list("/a/", &rest).unwrap();
    assert_eq!((second.records.len(), second.remaining, second.revision), (6, 0, first.revision));
    assert!(second.records.iter().all(|record| record.value == "old"));
    assert_eq!(store.list("/a/", &Page::default()).unwrap().records.len(), 10);
}

#[test]
fn a_state_that_nobody_pages_through_is_gone() {
    let store = store();
    let old = commit(&store, vec![set("/a", "1")]).unwrap();
    let newest = commit(&store, vec![set("/a", "2")]).unwrap();
    let at = |revision| store.list("/", &Page { revision: Some(revision), ..Page::default() });
    assert_eq!(at(old), Err(StoreError::Compacted { requested: old, oldest: newest }));
    assert_eq!(at(newest + 1), Err(StoreError::Future { requested: newest + 1, newest }));
}

#[test]
fn watches_carry_old_and_new_values() {
    let store = store();
    let start = store.revision();
    commit(&store, vec![set("/a", "1")]).unwrap();
    let mut changes = store.watch("/a", start).unwrap();
    commit(&store, vec![set("/a", "2")]).unwrap();
    commit(&store, vec![remove("/a")]).unwrap();
    let seen: Vec<_> =
        take(&mut changes, 3).iter().map(|change| (change.previous.clone(), change.value.clone())).collect();
    let bytes = |text: &'static str| Some(Bytes::from(text));
    assert_eq!(seen, [(None, bytes("1")), (bytes("1"), bytes("2")), (bytes("2"), None)]);
    assert!(matches!(store.watch("/", store.revision() + 1), Err(StoreError::Future { .. })));
}

#[test]
fn watches_have_no_gap_and_no_repetition_beside_concurrent_writers() {
    const WRITERS: usize = 4;
    const EACH: usize = 150;
    let store = store();
    let start = store.revision();
    let check = |after: u64, changes: &mut Changes| {
        let mut newest = after;
        while newest < start + (WRITERS * EACH) as u64 {
            let change = changes.blocking_recv().expect("the stream has ended early");
            assert_eq!(change.revision, newest + 1, "after {after}");
            newest = change.revision;
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for number in 0..EACH {
                    commit(store, vec![set(&format!("/{writer}"), &number.to_string())]).unwrap();
                }
            });
        }
        for _ in 0..8 {
            scope.spawn(|| {
                let mut after = start;
                while after < start + (WRITERS * EACH) as u64 {
                    let mut changes = store.watch("/", after).unwrap();
                    let first = changes.blocking_recv().expect("the stream has ended early");
                    assert_eq!(first.revision, after + 1);
                    after = store.list("/", &Page::default()).unwrap().revision;
                }
                let mut changes = store.watch("/", start).unwrap();
                check(start, &mut changes);
            });
        }
    });
}

#[test]
fn a_watch_older_than_memory_reads_the_log() {
    let store = store();
    let start = store.revision();
    let total = hub::RECENT_CHANGES_MAX as u64 + 500;
    for chunk in 0..=total / 100 {
        let writes = (0..100).map(|number| store.commit(vec![set(&format!("/{number}"), &chunk.to_string())]));
        futures::executor::block_on(futures::future::join_all(writes));
    }
    let newest = store.revision();
    let mut changes = store.watch("/", start).unwrap();
    let revisions: Vec<u64> =
        take(&mut changes, (newest - start) as usize).iter().map(|change| change.revision).collect();
    assert!(revisions.iter().copied().eq(start + 1..=newest));
    assert!(changes.try_recv().is_err());
}

#[test]
fn what_the_log_has_lost_is_said() {
    let store = store();
    let start = store.revision();
    let big = "x".repeat(1 << 20);
    for number in 0..80 {
        commit(&store, vec![set("/a", &format!("{number}{big}"))]).unwrap();
    }
    let Err(StoreError::Compacted { requested, oldest }) = store.watch("/", start) else {
        panic!("80 MiB of changes fit a log of 64 MiB");
    };
    assert_eq!(requested, start);
    assert!(oldest > start);
    assert!(store.watch("/", store.revision()).is_ok());
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    (folder, path)
}

/// The folder as a kill at this moment would leave it.
fn crash_copy(path: &Path) -> (tempfile::TempDir, PathBuf) {
    let (folder, copy) = file();
    std::fs::copy(path, &copy).unwrap();
    std::fs::copy(journal::path_of(path), journal::path_of(&copy)).unwrap();
    std::fs::copy(path.with_file_name("cluster-id"), copy.with_file_name("cluster-id")).unwrap();
    (folder, copy)
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let (_folder, path) = file();
    let store = RedbStore::open(&path).unwrap();
    for number in 0..30 {
        let revision = commit(&store, vec![set(&format!("/{number}"), "kept")]).unwrap();
        if number % 10 == 9 {
            let (_copied, copy) = crash_copy(&path);
            let reopened = RedbStore::open(&copy).unwrap();
            assert_eq!(reopened.revision(), revision);
            assert_eq!(reopened.list("/", &Page::default()).unwrap().records.len(), number + 1);
            assert_eq!(take(&mut reopened.watch("/", 1).unwrap(), number + 1).len(), number + 1);
            assert!(commit(&reopened, vec![set("/new", "x")]).unwrap() > revision, "revisions are never reused");
        }
    }
}

#[test]
fn flipped_bits_are_never_served_as_data() {
    let (_folder, path) = file();
    let values: BTreeMap<String, String> =
        (0..64).map(|number| (format!("/object/{number:02}"), format!("{number:02}").repeat(100))).collect();
    {
        let store = RedbStore::open(&path).unwrap();
        commit(&store, values.iter().map(|(key, value)| set(key, value)).collect()).unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    let needle = "33".repeat(100);
    let place = whole.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
    let mut noticed = 0;
    for offset in [place, place + 99, place + needle.len() - 1, place - 1, place - 9] {
        let (_copied, copy) = crash_copy(&path);
        let mut flipped = whole.clone();
        flipped[offset] ^= 0x10;
        std::fs::write(&copy, &flipped).unwrap();
        let Ok(store) = RedbStore::open(&copy) else {
            noticed += 1;
            continue;
        };
        for (key, value) in &values {
            match store.get(key) {
                Ok(record) => assert_eq!(record.map(|record| record.value), Some(Bytes::from(value.clone()))),
                Err(StoreError::Corrupt { .. }) => noticed += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(noticed > 0);
}

/// A file whose writes fail on demand.
#[derive(Debug)]
struct Failing {
    file: FileBackend,
    broken: Arc<AtomicBool>,
}

impl StorageBackend for Failing {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        self.file.write(offset, data)
    }
}

#[test]
fn a_failing_disk_stops_the_store_until_it_is_well_again() {
    let (_folder, path) = file();
    drop(RedbStore::open(&path).unwrap());
    let broken = Arc::new(AtomicBool::new(false));
    let opened = Arc::new(AtomicU64::new(0));
    let open = {
        let (broken, opened) = (Arc::clone(&broken), Arc::clone(&opened));
        move || {
            opened.fetch_add(1, Ordering::SeqCst);
            let options = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let backend = Failing { file: FileBackend::new(options).unwrap(), broken: Arc::clone(&broken) };
            let failed =
                |source: redb::Error| file::OpenError::Database { path: path.clone(), source: Box::new(source) };
            let database = Builder::new().create_with_backend(backend).map_err(|error| failed(error.into()))?;
            if broken.load(Ordering::SeqCst) {
                return Err(failed(redb::Error::PreviousIo));
            }
            Ok(file::Opened { database, journal: None })
        }
    };
    let store = RedbStore::over(open().unwrap(), Box::new(open), None, |_, _| None).unwrap();
    commit(&store, vec![set("/a", "1")]).unwrap();
    let mut changes = store.watch("/", store.revision()).unwrap();

    broken.store(true, Ordering::SeqCst);
    assert!(matches!(commit(&store, vec![set("/a", "2")]), Err(StoreError::Unavailable(_))));
    wait_until(|| store.ready().is_err());
    assert!(matches!(commit(&store, vec![set("/a", "3")]), Err(StoreError::Unavailable(_))));
    wait_until(|| matches!(store.get("/a"), Err(StoreError::Unavailable(_))));
    assert!(changes.blocking_recv().is_none(), "watches end");

    broken.store(false, Ordering::SeqCst);
    wait_until(|| store.ready().is_ok());
    let value = text(&store, "/a");
    assert!(matches!(value.as_deref(), Some("1" | "2")), "{value:?}");
    commit(&store, vec![set("/a", "4")]).unwrap();
    assert_eq!(text(&store, "/a").as_deref(), Some("4"));
    assert!(opened.load(Ordering::SeqCst) >= 2);
}

/// A file system of its own, of so many MiB; `None`, and a line that says so, where this process may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn of_mib(mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(folder.path());
        if command.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("SKIPPED: this process may not mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.path().display());
        }
    }
}

#[test]
fn a_full_disk_takes_deletes_only_and_then_everything_again() {
    let Some(disk) = SmallDisk::of_mib(32) else { return };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let store = RedbStore::open(&disk.0.path().join("store.redb")).unwrap();
    let value = "x".repeat(128 << 10);
    let mut written = Vec::new();
    for number in 0.. {
        let key = format!("/{number:04}");
        match commit(&store, vec![set(&key, &format!("{number}{value}"))]) {
            Ok(_) => written.push(key),
            Err(StoreError::Unavailable(reason)) => {
                assert!(reason.contains("No space"), "{reason}");
                break;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(number < 1_000, "the disk does not become full");
    }
    wait_until(|| store.ready() == Err(StoreError::Full));
    assert_eq!(commit(&store, vec![set("/more", "x")]), Err(StoreError::Full));
    assert_eq!(commit(&store, vec![remove(&written[0]), set("/more", "x")]), Err(StoreError::Full));
    assert!(written.iter().all(|key| text(&store, key).is_some()), "what was acknowledged is there");
    for key in &written[..4] {
        commit(&store, vec![remove(key)]).unwrap();
        assert_eq!(text(&store, key), None);
    }

    std::fs::remove_file(&ballast).unwrap();
    wait_until(|| store.ready().is_ok());
    commit(&store, vec![set("/more", "x")]).unwrap();
    drop(store);
    let store = RedbStore::open(&disk.0.path().join("store.redb")).unwrap();
    assert_eq!(text(&store, "/more").as_deref(), Some("x"));
    assert!(written[4..].iter().all(|key| text(&store, key).is_some()));
    assert_eq!(text(&store, &written[0]), None);
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Create(u8, u8),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, 0..3u8).prop_map(|(key, value)| Step::Put(key, value)),
        (0..6u8, 0..3u8).prop_map(|(key, value)| Step::Create(key, value)),
        (0..6u8).prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Replaying the changes after any revision onto the state of that revision gives the newest state.
    #[test]
    fn changes_lead_from_any_state_to_the_newest(steps in proptest::collection::vec(step(), 1..40)) {
        let store = store();
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        let mut states = vec![(store.revision(), model.clone())];
        for step in steps {
            let write = match step {
                Step::Put(key, value) => set(&format!("/{key}"), &value.to_string()),
                Step::Create(key, value) => put(&format!("/{key}"), &value.to_string(), Precondition::Absent),
                Step::Remove(key) => remove(&format!("/{key}")),
            };
            let refused = write.precondition == Precondition::Absent && model.contains_key(&write.key);
            let result = commit(&store, vec![write.clone()]);
            prop_assert_eq!(result.is_err(), refused);
            if !refused {
                match &write.value {
                    Some(value) => model.insert(write.key.clone(), String::from_utf8(value.to_vec()).unwrap()),
                    None => model.remove(&write.key),
                };
            }
            let revision = store.revision();
            let last = states.last().unwrap();
            prop_assert_eq!(revision > last.0, model != last.1, "the revision moves exactly when the state does");
            states.push((revision, model.clone()));
        }
        for (revision, mut state) in states {
            let mut changes = store.watch("/", revision).unwrap();
            while let Ok(change) = changes.try_recv() {
                let previous = change.previous.as_ref().map(|value| String::from_utf8(value.to_vec()).unwrap());
                prop_assert_eq!(state.get(&change.key), previous.as_ref());
                match &change.value {
                    Some(value) => state.insert(change.key.clone(), String::from_utf8(value.to_vec()).unwrap()),
                    None => state.remove(&change.key),
                };
            }
            prop_assert_eq!(&state, &model);
        }
    }
}
