//! Whatever is done to a folder, and whenever its watcher dies, the cluster ends at what the files say.
//!
//! The reading and the decisions are the real ones, on a real folder; the cluster is a map.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use pd_manifests::{
    Rules,
    desired::{self, Memory, ObjectId},
    folder,
    steps::{self, Missing, PRUNE_AFTER, Step},
};
use proptest::prelude::*;
use schemas::{Digest, manifest_source::InventoryEntry};

/// What can happen to the folder and to its watcher.
#[derive(Clone, Debug)]
enum Event {
    /// A file is written with these objects, each with a size.
    Write(u8, Vec<(u8, u8)>),
    /// Half of a file is written.
    Break(u8),
    Remove(u8),
    Rename(u8, u8),
    /// The watcher looks, that many milliseconds later.
    Look(u16),
    /// The watcher is killed and started again; it dies before its `n`-th write.
    Crash(usize),
}

fn events() -> impl Strategy<Value = Event> {
    let objects = proptest::collection::vec((0..5_u8, 0..3_u8), 0..3);
    prop_oneof![
        (0..4_u8, objects).prop_map(|(file, objects)| Event::Write(file, objects)),
        (0..4_u8).prop_map(Event::Break),
        (0..4_u8).prop_map(Event::Remove),
        (0..4_u8, 0..4_u8).prop_map(|(from, to)| Event::Rename(from, to)),
        (0..1500_u16).prop_map(Event::Look),
        (0..4_usize).prop_map(Event::Crash),
    ]
}

fn name(file: u8) -> String {
    format!("file-{file}.yaml")
}

fn text(objects: &[(u8, u8)]) -> String {
    let object = |(name, size): &(u8, u8)| {
        format!(
            "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: job-{name}}}\nspec:\n  task: {{name: noop, \
             params: {{count: {size}}}}}\n"
        )
    };
    objects.iter().map(object).collect::<Vec<_>>().join("---\n")
}

/// The cluster, what survives a crash, and what does not.
struct World {
    root: tempfile::TempDir,
    rules: Rules,
    objects: BTreeMap<ObjectId, Digest>,
    inventory: BTreeMap<ObjectId, InventoryEntry>,
    memory: Memory,
    missing: Missing,
    now: Timestamp,
}

impl World {
    fn new(rules: Rules) -> Self {
        Self {
            root: tempfile::tempdir().expect("a folder"),
            rules,
            objects: BTreeMap::new(),
            inventory: BTreeMap::new(),
            memory: Memory::default(),
            missing: Missing::new(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn path(&self, file: u8) -> std::path::PathBuf {
        self.root.path().join(name(file))
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Write(file, objects) => fs::write(self.path(*file), text(objects)).expect("writes"),
            Event::Break(file) => fs::write(self.path(*file), "kind: Job\n  spec: [").expect("writes"),
            Event::Remove(file) => drop(fs::remove_file(self.path(*file))),
            Event::Rename(from, to) => drop(fs::rename(self.path(*from), self.path(*to))),
            Event::Look(millis) => {
                self.now += Duration::from_millis((*millis).into());
                self.look(usize::MAX);
            }
            Event::Crash(writes) => {
                self.look(*writes);
                (self.memory, self.missing) = (Memory::default(), Missing::new());
            }
        }
    }

    /// One pass as `source` makes it, ended after that many writes.
    fn look(&mut self, mut writes: usize) {
        let folder = folder::read(self.root.path()).expect("reads");
        let desired = desired::decide(&mut self.memory, &folder, "default", &|_, _| Some(true));
        let decided = steps::decide(&desired, &self.inventory, &mut self.missing, self.rules, false, self.now);
        for (id, wanted) in &desired.objects {
            let entry = self.inventory.entry(id.clone()).or_insert_with(|| entry(id));
            entry.file.clone_from(&wanted.file);
        }
        for step in decided.steps {
            if writes == 0 {
                return;
            }
            writes -= 1;
            match step {
                Step::Apply(id) => {
                    let digest = desired.objects[&id].digest;
                    self.objects.insert(id.clone(), digest);
                    self.inventory.get_mut(&id).expect("announced").digest = Some(digest);
                }
                Step::Prune(id) => {
                    self.objects.remove(&id);
                    self.inventory.remove(&id);
                }
            }
        }
    }

    /// Everything is quiet and every file is in order: looks until nothing more is to be done.
    fn settle(&mut self) {
        for file in 0..4 {
            let is_broken = fs::read_to_string(self.path(file)).is_ok_and(|text| text.ends_with('['));
            if is_broken {
                fs::remove_file(self.path(file)).expect("removes");
            }
        }
        for _ in 0..3 {
            self.now += PRUNE_AFTER;
            self.look(usize::MAX);
        }
    }

    /// The objects that stand in one file only, and those that stand in several.
    fn said(&self) -> (BTreeMap<String, String>, BTreeSet<String>) {
        let (mut once, mut twice) = (BTreeMap::new(), BTreeSet::new());
        for entry in fs::read_dir(self.root.path()).expect("lists") {
            let text = fs::read_to_string(entry.expect("an entry").path()).expect("reads");
            for document in text.split("---\n").filter(|document| !document.trim().is_empty()) {
                let name = document.split("name: ").nth(1).and_then(|rest| rest.split('}').next()).expect("a name");
                if once.insert(name.to_owned(), document.to_owned()).is_some() {
                    twice.insert(name.to_owned());
                }
            }
        }
        once.retain(|name, _| !twice.contains(name));
        (once, twice)
    }
}

fn entry(id: &ObjectId) -> InventoryEntry {
    InventoryEntry {
        api_version: id.api_version.clone(),
        kind: id.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        uid: String::new(),
        file: String::new(),
        digest: None,
        finished: false,
    }
}

fn digest_of(root: &Path, document: &str) -> Digest {
    let path = root.join("one.yaml");
    fs::create_dir_all(root).expect("creates");
    fs::write(path, document).expect("writes");
    let folder = folder::read(root).expect("reads");
    let desired = desired::decide(&mut Memory::default(), &folder, "default", &|_, _| Some(true));
    desired.objects.into_values().next().expect("an object").digest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_cluster_ends_at_what_the_files_say(events in proptest::collection::vec(events(), 1..40)) {
        let mut world = World::new(Rules { prune: true, allow_empty: true });
        for event in &events {
            world.happen(event);
        }
        world.settle();
        let (once, twice) = world.said();
        let scratch = tempfile::tempdir().expect("a folder");
        for (name, document) in &once {
            let stored = world.objects.iter().find(|(id, _)| id.name == *name).map(|(_, digest)| *digest);
            prop_assert_eq!(stored, Some(digest_of(scratch.path(), document)), "{}", name);
        }
        for id in world.objects.keys() {
            prop_assert!(once.contains_key(&id.name) || twice.contains(&id.name), "{} is left over", id);
        }
    }

    #[test]
    fn without_prune_nothing_is_ever_deleted(events in proptest::collection::vec(events(), 1..30)) {
        let mut world = World::new(Rules { prune: false, allow_empty: true });
        let mut seen = BTreeSet::new();
        for event in &events {
            world.happen(event);
            seen.extend(world.objects.keys().cloned());
        }
        world.settle();
        prop_assert!(seen.iter().all(|id| world.objects.contains_key(id)));
    }
}

#[test]
fn an_emptied_folder_deletes_nothing_unless_that_is_allowed() {
    for (allow_empty, left) in [(false, 1), (true, 0)] {
        let mut world = World::new(Rules { prune: true, allow_empty });
        world.happen(&Event::Write(0, vec![(0, 1)]));
        world.look(usize::MAX);
        world.happen(&Event::Remove(0));
        world.settle();
        assert_eq!(world.objects.len(), left, "allow_empty: {allow_empty}");
    }
}

#[test]
fn a_broken_file_keeps_what_it_held_even_over_a_restart() {
    let mut world = World::new(Rules { prune: true, allow_empty: true });
    world.happen(&Event::Write(0, vec![(0, 1), (1, 1)]));
    world.happen(&Event::Write(1, vec![(2, 1)]));
    world.look(usize::MAX);
    world.happen(&Event::Break(0));
    for _ in 0..3 {
        world.happen(&Event::Crash(usize::MAX));
        world.now += PRUNE_AFTER;
    }
    assert_eq!(world.objects.len(), 3);
}

#[test]
fn an_object_in_two_files_stays_as_it_is_and_both_are_told() {
    let mut world = World::new(Rules { prune: true, allow_empty: true });
    world.happen(&Event::Write(0, vec![(0, 1)]));
    world.look(usize::MAX);
    let before = world.objects.clone();
    world.happen(&Event::Write(1, vec![(0, 2)]));
    world.settle();
    assert_eq!(world.objects, before);
    let folder = folder::read(world.root.path()).expect("reads");
    let desired = desired::decide(&mut Memory::default(), &folder, "default", &|_, _| Some(true));
    let told: Vec<String> = desired.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("file-0.yaml:3:18: metadata.name: job/job-0 in default stands in file-1.yaml too"),
        "{told:?}"
    );
}
