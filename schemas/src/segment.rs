//! The segment format: the bytes (outputs or logs) of a set of indexes in one blob.
//!
//! Layout, all integers little-endian:
//! ```text
//! "PDSEG\0\0\1"            8 bytes, the last one the format's version
//! header length            u32
//! header                   postcard of (interval list, length of each entry, ascending by index)
//! entries                  back to back, in the header's order
//! ```
//! The header stands in front so that a reader can find one entry with two ranged reads.

mod entries;

use std::ops::Range;

pub use entries::Entries;
use serde::{Deserialize, Serialize};

use crate::{IndexSet, limits::SUBTASKS_MAX};

/// First bytes of every segment.
const MAGIC: [u8; 8] = *b"PDSEG\0\0\x01";
/// Bytes before the header.
pub const PREFIX_BYTES: usize = MAGIC.len() + 4;

/// Why bytes are not a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSegment {
    /// The first bytes are wrong.
    #[error("not a segment of version 1")]
    Magic,
    /// The header does not decode, or contradicts itself.
    #[error("the segment's header is damaged")]
    Header,
    /// The blob is shorter or longer than its header says.
    #[error("the segment has {actual} bytes where its header says {expected}")]
    Length {
        /// As the header says.
        expected: u64,
        /// As found.
        actual: u64,
    },
}

/// The header as it stands in the blob.
#[derive(Serialize, Deserialize)]
struct Header {
    intervals: Vec<(u64, u64)>,
    lengths: Vec<u64>,
}

impl Header {
    /// Itself, if its intervals ascend and have as many indexes as there are lengths.
    fn checked(self) -> Result<Self, InvalidSegment> {
        let mut count = 0_u64;
        let mut above = None;
        for (first, last) in &self.intervals {
            if last < first || *last >= SUBTASKS_MAX || above.is_some_and(|previous| *first <= previous) {
                return Err(InvalidSegment::Header);
            }
            above = Some(*last);
            count += last - first + 1;
        }
        if count == self.lengths.len() as u64 { Ok(self) } else { Err(InvalidSegment::Header) }
    }
}

/// Header and entries of a whole segment; its length must be as the header says.
fn header_of(segment: &[u8]) -> Result<(Header, &[u8]), InvalidSegment> {
    let length = Directory::header_bytes(segment)?;
    let (header, body) = segment[PREFIX_BYTES..].split_at_checked(length).ok_or(InvalidSegment::Header)?;
    let header: Header = postcard::from_bytes(header).map_err(|_| InvalidSegment::Header)?;
    let bytes = header.lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length));
    let expected = bytes.and_then(|bytes| bytes.checked_add((PREFIX_BYTES + length) as u64));
    let (expected, actual) = (expected.ok_or(InvalidSegment::Header)?, segment.len() as u64);
    if expected == actual { Ok((header, body)) } else { Err(InvalidSegment::Length { expected, actual }) }
}

/// Where each entry of a segment lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    indexes: IndexSet,
    /// First index of each interval and the position of its entry in `offsets`.
    intervals: Vec<(u64, u64, usize)>,
    /// Start of each entry from the blob's first byte, and one past the last entry.
    offsets: Vec<u64>,
}

impl Directory {
    /// Length of the header, read from a segment's first `PREFIX_BYTES`.
    pub fn header_bytes(prefix: &[u8]) -> Result<usize, InvalidSegment> {
        let (magic, rest) = prefix.split_at_checked(MAGIC.len()).ok_or(InvalidSegment::Magic)?;
        let length = rest.first_chunk::<4>().ok_or(InvalidSegment::Magic)?;
        if magic == MAGIC { Ok(u32::from_le_bytes(*length) as usize) } else { Err(InvalidSegment::Magic) }
    }

    /// From the header alone (the bytes after the prefix).
    pub fn decode(header: &[u8]) -> Result<Self, InvalidSegment> {
        let start = (PREFIX_BYTES + header.len()) as u64;
        let header: Header = postcard::from_bytes(header).map_err(|_| InvalidSegment::Header)?;
        let header = header.checked()?;
        let mut intervals = Vec::with_capacity(header.intervals.len());
        let mut position = 0_usize;
        for (first, last) in &header.intervals {
            intervals.push((*first, *last, position));
            position += (last - first + 1) as usize;
        }
        let indexes = header.intervals.iter().map(|(first, last)| *first..=*last).collect();
        let mut offsets = Vec::with_capacity(position + 1);
        offsets.push(start);
        let mut end = start;
        for length in header.lengths {
            end = end.checked_add(length).ok_or(InvalidSegment::Header)?;
            offsets.push(end);
        }
        Ok(Self { indexes, intervals, offsets })
    }

    /// From a whole segment; its length must be as the header says.
    pub fn of(segment: &[u8]) -> Result<Self, InvalidSegment> {
        let length = Self::header_bytes(segment)?;
        let header = segment.get(PREFIX_BYTES..PREFIX_BYTES + length).ok_or(InvalidSegment::Header)?;
        let directory = Self::decode(header)?;
        let (expected, actual) = (directory.size(), segment.len() as u64);
        if expected == actual { Ok(directory) } else { Err(InvalidSegment::Length { expected, actual }) }
    }

    /// The indexes that have an entry.
    pub fn indexes(&self) -> &IndexSet {
        &self.indexes
    }

    /// Bytes of the whole blob.
    pub fn size(&self) -> u64 {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// Where in the blob the entry of `index` lies.
    pub fn entry(&self, index: u64) -> Option<Range<u64>> {
        let at = self.intervals.partition_point(|(first, _, _)| *first <= index).checked_sub(1)?;
        let (first, last, position) = self.intervals[at];
        if index > last {
            return None;
        }
        let position = position + (index - first) as usize;
        Some(self.offsets[position]..self.offsets[position + 1])
    }
}

/// Packs entries, ascending by index and each index once, into one blob.
pub fn encode(entries: &[(u64, impl AsRef<[u8]>)]) -> Vec<u8> {
    debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "entries ascend");
    let mut intervals: Vec<(u64, u64)> = Vec::new();
    for (index, _) in entries {
        match intervals.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => intervals.push((*index, *index)),
        }
    }
    let lengths: Vec<u64> = entries.iter().map(|(_, bytes)| bytes.as_ref().len() as u64).collect();
    let header = postcard::to_stdvec(&Header { intervals, lengths }).expect("invariant: plain integers always encode");
    let body: usize = entries.iter().map(|(_, bytes)| bytes.as_ref().len()).sum();
    let mut blob = Vec::with_capacity(PREFIX_BYTES + header.len() + body);
    blob.extend_from_slice(&MAGIC);
    blob.extend_from_slice(&(header.len() as u32).to_le_bytes());
    blob.extend_from_slice(&header);
    for (_, bytes) in entries {
        blob.extend_from_slice(bytes.as_ref());
    }
    blob
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::{btree_map, vec},
        prelude::*,
    };

    use super::*;

    #[test]
    fn every_entry_is_found_again() {
        let entries = [(0, "a".to_owned()), (1, String::new()), (7, "seven".to_owned()), (8, "x".repeat(1000))];
        let blob = encode(&entries);
        let directory = Directory::of(&blob).expect("a segment");
        assert_eq!(directory.indexes().to_string(), "0-1,7-8");
        for (index, text) in &entries {
            let range = directory.entry(*index).expect("an entry");
            assert_eq!(&blob[range.start as usize..range.end as usize], text.as_bytes());
        }
        assert_eq!(directory.entry(2), None);
        assert_eq!(directory.entry(9), None);
    }

    #[test]
    fn damage_is_noticed() {
        let blob = encode(&[(3, b"abc")]);
        assert_eq!(Directory::of(&blob[..4]), Err(InvalidSegment::Magic));
        assert!(matches!(Directory::of(&blob[..blob.len() - 1]), Err(InvalidSegment::Length { .. })));
        let mut damaged = blob;
        damaged[0] ^= 1;
        assert_eq!(Directory::of(&damaged), Err(InvalidSegment::Magic));
    }

    #[test]
    fn a_header_that_claims_every_index_is_refused() {
        let header = Header { intervals: vec![(0, u64::MAX)], lengths: Vec::new() };
        let header = postcard::to_stdvec(&header).expect("encodes");
        assert_eq!(Directory::decode(&header), Err(InvalidSegment::Header));
    }

    proptest! {
        #[test]
        fn any_entries_are_found_again(entries in btree_map(0_u64..200, vec(any::<u8>(), 0..40), 0..60)) {
            let entries: Vec<(u64, Vec<u8>)> = entries.into_iter().collect();
            let blob = encode(&entries);
            let header = Directory::header_bytes(&blob).expect("a header");
            let directory = Directory::decode(&blob[PREFIX_BYTES..PREFIX_BYTES + header]).expect("a directory");
            prop_assert_eq!(Directory::of(&blob), Ok(directory.clone()));
            prop_assert_eq!(directory.size(), blob.len() as u64);
            prop_assert_eq!(directory.indexes().iter().collect::<Vec<_>>(), entries.iter().map(|e| e.0).collect::<Vec<_>>());
            for (index, bytes) in &entries {
                let range = directory.entry(*index).expect("an entry");
                prop_assert_eq!(&blob[range.start as usize..range.end as usize], &bytes[..]);
            }
        }

        #[test]
        fn damage_never_panics(entries in btree_map(0_u64..20, vec(any::<u8>(), 0..8), 0..12), at: usize, byte: u8) {
            let entries: Vec<(u64, Vec<u8>)> = entries.into_iter().collect();
            let mut blob = encode(&entries);
            let at = at % blob.len();
            blob[at] = byte;
            if let Ok(directory) = Directory::of(&blob) {
                for index in directory.indexes().iter().take(100) {
                    let range = directory.entry(index).expect("an entry");
                    prop_assert!(range.start <= range.end && range.end <= blob.len() as u64);
                }
            }
        }
    }
}
