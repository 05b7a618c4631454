//! Segments made and merged. Blocking; called off the runtime's threads when there is much of it.

use std::{fs, io};

use schemas::{
    Digest, IndexSet,
    assignment::Segment,
    segment::{Directory, encode},
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

/// Packs ordered outputs and their logs into as few segments as the size limit allows.
pub(crate) fn pack(dir: &SpoolDir, outputs: &[(u64, Vec<u8>)], logs: &[(u64, String)]) -> io::Result<Vec<Packed>> {
    let mut packed = Vec::new();
    let mut rest = outputs;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(fitting(rest));
        let (first, last) = (chunk[0].0, chunk[chunk.len() - 1].0);
        let from = logs.partition_point(|(index, _)| *index < first);
        let to = logs.partition_point(|(index, _)| *index <= last);
        packed.push(write(dir, &encode(chunk), &logs[from..to], indexes(chunk))?);
        rest = after;
    }
    Ok(packed)
}

/// How many entries fit into one segment; at least one.
fn fitting(outputs: &[(u64, Vec<u8>)]) -> usize {
    let mut bytes = 0;
    let count = outputs.iter().take_while(|(_, output)| {
        bytes += output.len() as u64;
        bytes <= SEGMENT_BYTES_MAX
    });
    count.count().max(1)
}

fn indexes(outputs: &[(u64, Vec<u8>)]) -> IndexSet {
    let mut ranges: Vec<std::ops::RangeInclusive<u64>> = Vec::new();
    for (index, _) in outputs {
        match ranges.last_mut() {
            Some(range) if range.end() + 1 == *index => *range = *range.start()..=*index,
            _ => ranges.push(*index..=*index),
        }
    }
    ranges.into_iter().collect()
}

fn write(dir: &SpoolDir, outputs: &[u8], logs: &[(u64, impl AsRef<[u8]>)], indexes: IndexSet) -> io::Result<Packed> {
    let (digest, size) = dir.write(outputs)?;
    let mut blobs = vec![(digest, size)];
    let mut logs_digest = None;
    if !logs.is_empty() {
        let (digest, size) = dir.write(&encode(logs))?;
        blobs.push((digest, size));
        logs_digest = Some(digest);
    }
    Ok(Packed { segment: Segment { digest, size, indexes, logs: logs_digest }, blobs })
}

/// Packs logs of failures; answers the artifact.
pub(crate) fn pack_logs(dir: &SpoolDir, logs: &[(u64, &str)]) -> io::Result<(Digest, u64)> {
    dir.write(&encode(logs))
}

/// Merges segments whose files are in the spool into one.
pub(crate) fn merge(dir: &SpoolDir, segments: &[Segment]) -> io::Result<Packed> {
    let outputs = read(dir, segments.iter().map(|segment| segment.digest))?;
    let logs = read(dir, segments.iter().filter_map(|segment| segment.logs))?;
    let indexes = segments.iter().flat_map(|segment| segment.indexes.ranges()).collect();
    write(dir, &encode(&entries(&outputs)), &entries(&logs), indexes)
}

fn read(dir: &SpoolDir, digests: impl Iterator<Item = Digest>) -> io::Result<Vec<(Directory, Vec<u8>)>> {
    let read = |digest| {
        let bytes = fs::read(dir.blob(digest))?;
        Ok((Directory::of(&bytes).map_err(io::Error::other)?, bytes))
    };
    digests.map(read).collect()
}

fn entries(blobs: &[(Directory, Vec<u8>)]) -> Vec<(u64, &[u8])> {
    let mut entries = Vec::new();
    for (directory, bytes) in blobs {
        for index in directory.indexes().iter() {
            if let Some(range) = directory.entry(index) {
                entries.push((index, &bytes[range.start as usize..range.end as usize]));
            }
        }
    }
    entries.sort_unstable_by_key(|(index, _)| *index);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;

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
            let mut outputs = vec![(base + 1, b"second".to_vec()), (base, base.to_string().into_bytes())];
            order(&mut outputs);
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
        let outputs: Vec<_> = (0..5).map(|index| (index, vec![0_u8; 12 << 20])).collect();
        let packed = pack(&dir, &outputs, &[]).expect("packs");
        let sets: Vec<_> = packed.iter().map(|packed| packed.segment.indexes.to_string()).collect();
        assert_eq!(sets, ["0-1", "2-3", "4"]);
    }
}
