//! Segments made and merged. Blocking; called off the runtime's threads when there is much of it.

use std::{fs, io};

use schemas::{
    Digest, IndexSet,
    assignment::Segment,
    segment::{Entries, encode},
};

use super::tiers::SEGMENT_BYTES_MAX;
use crate::spool::SpoolDir;

/// A segment that lies in the spool, and its artifacts.
#[derive(Debug)]
pub(crate) struct Packed {
    pub segment: Segment,
    pub blobs: Vec<(Digest, u64)>,
}

/// Brings entries into the order of a segment: ascending, each index once.
pub(crate) fn order<T>(entries: &mut Vec<(u64, T)>) {
    entries.sort_unstable_by_key(|(index, _)| *index);
    entries.dedup_by_key(|(index, _)| *index);
}

/// Brings outputs into the order of segments, each index once and none of those that are `known`; each of the answer
/// is of one segment's size.
pub(crate) fn gather(outputs: &[Entries], known: &IndexSet) -> Vec<Entries> {
    let mut stretches: Vec<Entries> = outputs.iter().cloned().flat_map(Entries::split).collect();
    stretches.sort_by_key(Entries::bounds);
    let ascend = stretches.is_sorted_by(|a, b| a.bounds().map(|(_, last)| last) < b.bounds().map(|(first, _)| first));
    let indexes: IndexSet = stretches.iter().flat_map(Entries::ranges).collect();
    let mut gathered = Gathered::default();
    if ascend && indexes.is_disjoint(known) {
        stretches.iter().for_each(|stretch| gathered.append(stretch));
    } else {
        let mut entries: Vec<(u64, &[u8])> = stretches.iter().flat_map(Entries::iter).collect();
        order(&mut entries);
        entries.retain(|(index, _)| !known.contains(*index));
        entries.into_iter().for_each(|(index, bytes)| gathered.push(index, bytes));
    }
    gathered.0
}

/// Entries in as few portions as the size limit of a segment allows.
#[derive(Default)]
struct Gathered(Vec<Entries>);

impl Gathered {
    fn append(&mut self, entries: &Entries) {
        if entries.size() > SEGMENT_BYTES_MAX {
            return entries.iter().for_each(|(index, bytes)| self.push(index, bytes));
        }
        self.with_room(entries.size()).append(entries);
    }

    fn push(&mut self, index: u64, bytes: &[u8]) {
        self.with_room(bytes.len() as u64).push(index, bytes);
    }

    /// The last portion, or a new one where it has no room; one entry may be larger than all room.
    fn with_room(&mut self, bytes: u64) -> &mut Entries {
        let has_room = |last: &Entries| last.is_empty() || last.size() + bytes <= SEGMENT_BYTES_MAX;
        if !self.0.last().is_some_and(has_room) {
            self.0.push(Entries::default());
        }
        self.0.last_mut().expect("invariant: there is a last one, for it was made above where there was none")
    }
}

/// Packs gathered outputs and their logs into a segment each.
pub(crate) fn pack(dir: &SpoolDir, outputs: &[Entries], logs: &[(u64, String)]) -> io::Result<Vec<Packed>> {
    let mut packed = Vec::new();
    for entries in outputs {
        let Some((first, last)) = entries.bounds() else { continue };
        let from = logs.partition_point(|(index, _)| *index < first);
        let to = logs.partition_point(|(index, _)| *index <= last);
        let logs: Vec<(u64, &[u8])> = logs[from..to].iter().map(|(index, log)| (*index, log.as_bytes())).collect();
        packed.push(write(dir, entries, &logs)?);
    }
    Ok(packed)
}

fn write(dir: &SpoolDir, outputs: &Entries, logs: &[(u64, &[u8])]) -> io::Result<Packed> {
    let (digest, size) = dir.write(&outputs.encode())?;
    let mut blobs = vec![(digest, size)];
    let mut logs_digest = None;
    if !logs.is_empty() {
        let (digest, size) = dir.write(&encode(logs))?;
        blobs.push((digest, size));
        logs_digest = Some(digest);
    }
    Ok(Packed { segment: Segment { digest, size, indexes: outputs.indexes(), logs: logs_digest }, blobs })
}

/// Packs logs of failures; answers the artifact.
pub(crate) fn pack_logs(dir: &SpoolDir, logs: &[(u64, &str)]) -> io::Result<(Digest, u64)> {
    dir.write(&encode(logs))
}

/// Merges segments whose files are in the spool into one.
pub(crate) fn merge(dir: &SpoolDir, segments: &[Segment]) -> io::Result<Packed> {
    let outputs = read(dir, segments.iter().map(|segment| segment.digest))?;
    let logs = read(dir, segments.iter().filter_map(|segment| segment.logs))?;
    let join = |entries: Vec<Entries>| {
        let mut joined = Entries::default();
        gather(&entries, &IndexSet::new()).iter().for_each(|part| joined.append(part));
        joined
    };
    let (outputs, logs) = (join(outputs), join(logs));
    write(dir, &outputs, &logs.iter().collect::<Vec<_>>())
}

fn read(dir: &SpoolDir, digests: impl Iterator<Item = Digest>) -> io::Result<Vec<Entries>> {
    digests.map(|digest| Entries::decode(&fs::read(dir.blob(digest))?).map_err(io::Error::other)).collect()
}

#[cfg(test)]
mod tests {
    use schemas::segment::Directory;

    use super::*;
    use crate::spool::Spool;

    fn entries(list: &[(u64, &[u8])]) -> Entries {
        let mut entries = Entries::default();
        list.iter().for_each(|(index, bytes)| entries.push(*index, bytes));
        entries
    }

    fn output(dir: &SpoolDir, digest: Digest, index: u64) -> Option<Vec<u8>> {
        let bytes = fs::read(dir.blob(digest)).expect("is there");
        let range = Directory::of(&bytes).expect("a segment").entry(index)?;
        Some(bytes[range.start as usize..range.end as usize].to_vec())
    }

    #[test]
    fn merged_segments_hold_what_the_single_ones_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Spool::open(folder.path()).expect("opens").dir("u");
        let mut segments = Vec::new();
        for base in [10_u64, 0, 5] {
            let outputs = [entries(&[(base, base.to_string().as_bytes()), (base + 1, b"second")])];
            let packed = pack(&dir, &outputs, &[(base, format!("log {base}"))]).expect("packs");
            segments.extend(packed.into_iter().map(|packed| packed.segment));
        }
        let merged = merge(&dir, &segments).expect("merges").segment;
        assert_eq!(merged.indexes.to_string(), "0-1,5-6,10-11");
        assert_eq!(output(&dir, merged.digest, 5), Some(b"5".to_vec()));
        assert_eq!(output(&dir, merged.digest, 11), Some(b"second".to_vec()));
        let logs = merged.logs.expect("has logs");
        assert_eq!(output(&dir, logs, 10), Some(b"log 10".to_vec()));
        assert_eq!(output(&dir, logs, 11), None);
    }

    #[test]
    fn large_outputs_are_split_over_segments() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Spool::open(folder.path()).expect("opens").dir("u");
        let large = vec![0_u8; 12 << 20];
        let single: Vec<Entries> = (0..5).map(|index| entries(&[(index, &large)])).collect();
        let together = Entries::of_run(0, vec![(5, 12 << 20)], vec![0; 60 << 20]);
        for outputs in [single, vec![together]] {
            let packed = pack(&dir, &gather(&outputs, &IndexSet::new()), &[]).expect("packs");
            let sets: Vec<_> = packed.iter().map(|packed| packed.segment.indexes.to_string()).collect();
            assert_eq!(sets, ["0-1", "2-3", "4"]);
        }
    }

    #[test]
    fn what_two_slots_ran_is_brought_into_order_and_nothing_is_kept_twice() {
        let all = |gathered: &[Entries]| {
            let entries = gathered.iter().flat_map(Entries::iter);
            entries.map(|(index, bytes)| (index, bytes.to_vec())).collect::<Vec<_>>()
        };
        let outputs = [
            entries(&[(4, b"e"), (5, b"f"), (9, b"j")]),
            entries(&[(0, b"a"), (1, b"b")]),
            entries(&[(2, b"c"), (6, b"g")]),
        ];
        let expected: Vec<(u64, Vec<u8>)> =
            [(0, b"a"), (1, b"b"), (2, b"c"), (4, b"e"), (5, b"f"), (6, b"g"), (9, b"j")]
                .map(|(index, byte)| (index, byte.to_vec()))
                .to_vec();
        assert_eq!(all(&gather(&outputs, &IndexSet::new())), expected);
        let twice = [outputs.as_slice(), &[entries(&[(5, b"f")])]].concat();
        assert_eq!(all(&gather(&twice, &IndexSet::new())), expected);
        let known = "1,5".parse().expect("a set");
        let fresh: Vec<_> = expected.into_iter().filter(|(index, _)| ![1, 5].contains(index)).collect();
        assert_eq!(all(&gather(&outputs, &known)), fresh);
    }
}
