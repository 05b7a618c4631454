//! What guests read: inputs, state and parts, served by `pread` from files that stay open. The executor has
//! no file of its own, and a file that the cache evicts meanwhile stays readable.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use executor_protocol::{Blob, Context, FRAME_BYTES_MAX, ReadAnswer};
use schemas::{
    IndexSet,
    segment::{self, Directory},
};

/// Longest read that is answered: a frame must hold it. Guests have at most 4 GiB of memory, and the abi reads
/// in pieces far below this.
const READ_BYTES_MAX: u64 = (FRAME_BYTES_MAX - 1024) as u64;
/// Largest header of a segment that is believed: 2^20 entries of 10 bytes.
const HEADER_BYTES_MAX: usize = 64 << 20;

/// A file and its length.
#[derive(Clone, Debug)]
pub(crate) struct OpenBlob {
    file: Arc<File>,
    size: u64,
}

impl OpenBlob {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), size })
    }

    fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }
}

/// What the calls of one job need on this machine.
#[derive(Debug)]
pub(crate) struct Job {
    pub context: Context,
    pub inputs: BTreeMap<String, OpenBlob>,
    pub state: Option<OpenBlob>,
}

/// The outputs that a merge or a check reads.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    segments: Vec<(OpenBlob, Directory)>,
    /// First index, last index, position in `segments`; ascending.
    ranges: Vec<(u64, u64, usize)>,
}

impl Parts {
    /// Opens a segment and lets `indexes` be read from it.
    pub(crate) fn add(&mut self, path: &Path, indexes: &IndexSet) -> io::Result<()> {
        let blob = OpenBlob::open(path)?;
        let directory = directory(&blob)?;
        if !directory.indexes().is_superset(indexes) {
            return Err(damaged("it lacks indexes that were asked of it"));
        }
        let position = self.segments.len();
        self.ranges.extend(indexes.ranges().map(|range| (*range.start(), *range.end(), position)));
        self.ranges.sort_unstable();
        self.segments.push((blob, directory));
        Ok(())
    }

    /// Both sets of parts in one.
    pub(crate) fn with(mut self, other: Self) -> Self {
        let offset = self.segments.len();
        self.segments.extend(other.segments);
        self.ranges.extend(other.ranges.into_iter().map(|(first, last, at)| (first, last, at + offset)));
        self.ranges.sort_unstable();
        self
    }

    fn find(&self, index: u64) -> Option<(&OpenBlob, std::ops::Range<u64>)> {
        let at = self.ranges.partition_point(|(first, _, _)| *first <= index).checked_sub(1)?;
        let (_, last, position) = self.ranges[at];
        if index > last {
            return None;
        }
        let (blob, directory) = &self.segments[position];
        Some((blob, directory.entry(index)?))
    }
}

/// Reads a segment's directory.
pub(crate) fn directory(blob: &OpenBlob) -> io::Result<Directory> {
    let prefix = blob.read(0, (segment::PREFIX_BYTES as u64).min(blob.size))?;
    let length = Directory::header_bytes(&prefix).map_err(io::Error::other)?;
    let end = (segment::PREFIX_BYTES + length) as u64;
    if length > HEADER_BYTES_MAX || end > blob.size {
        return Err(damaged("its header is longer than it"));
    }
    let header = blob.read(segment::PREFIX_BYTES as u64, end)?;
    let directory = Directory::decode(&header).map_err(io::Error::other)?;
    if directory.size() == blob.size { Ok(directory) } else { Err(damaged("its length contradicts its header")) }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the segment is damaged: {what}"))
}

/// Answers one `Read`; none when there is no such blob.
pub(super) fn read(
    job: &Job,
    parts: Option<&Parts>,
    blob: &Blob,
    offset: u64,
    length: u32,
) -> io::Result<Option<ReadAnswer>> {
    let found = match blob {
        Blob::Input(name) => job.inputs.get(name).map(|input| (input, 0..input.size)),
        Blob::State => job.state.as_ref().map(|state| (state, 0..state.size)),
        Blob::Part(index) | Blob::Delivered(index) => parts.and_then(|parts| parts.find(*index)),
    };
    let Some((file, range)) = found else { return Ok(None) };
    let size = range.end - range.start;
    let start = offset.min(size);
    let wanted = u64::from(length).min(size - start);
    if wanted > READ_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the guest reads {wanted} bytes at once; at most {READ_BYTES_MAX} fit into one message"),
        ));
    }
    let bytes = file.read(range.start + start, range.start + start + wanted)?;
    Ok(Some(ReadAnswer { size, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("writes");
        file
    }

    #[test]
    fn reads_are_cut_at_the_end_and_parts_are_only_what_counts() {
        let segment = file(&segment::encode(&[(3, "three"), (4, "four"), (9, "nine")]));
        let mut parts = Parts::default();
        parts.add(segment.path(), &"4,9".parse().expect("a set")).expect("opens");
        let input = file(b"0123456789");
        let job = Job {
            context: super::super::tests::context(),
            inputs: BTreeMap::from([("a".to_owned(), OpenBlob::open(input.path()).expect("opens"))]),
            state: None,
        };
        let read = |blob, offset, length| read(&job, Some(&parts), &blob, offset, length).expect("reads");
        let text = |answer: Option<ReadAnswer>| answer.map(|a| (a.size, String::from_utf8(a.bytes).expect("text")));
        assert_eq!(text(read(Blob::Input("a".into()), 8, 100)), Some((10, "89".into())));
        assert_eq!(text(read(Blob::Input("a".into()), 80, 1)), Some((10, String::new())));
        assert_eq!(text(read(Blob::Input("b".into()), 0, 1)), None);
        assert_eq!(text(read(Blob::State, 0, 1)), None);
        assert_eq!(text(read(Blob::Part(4), 0, 0)), Some((4, String::new())));
        assert_eq!(text(read(Blob::Part(9), 1, 2)), Some((4, "in".into())));
        assert_eq!(text(read(Blob::Part(3), 0, 9)), None);
        assert!(Parts::default().add(segment.path(), &"5".parse().expect("a set")).is_err());
        assert!(Parts::default().add(input.path(), &IndexSet::new()).is_err());
    }
}
