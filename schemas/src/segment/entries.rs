//! The entries of a segment before they are one: packed, so that an entry costs its bytes and no allocation.

use std::ops::RangeInclusive;

use crate::IndexSet;

use super::{Header, InvalidSegment, MAGIC, PREFIX_BYTES, header_of};

/// Entries with ascending indexes, each index once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    intervals: Vec<(u64, u64)>,
    /// How many entries in a row have how many bytes each.
    lengths: Vec<(u64, u64)>,
    bytes: Vec<u8>,
    count: u64,
}

impl Entries {
    /// The entries of consecutive indexes from `first` on: how many in a row have how many bytes, and their bytes.
    ///
    /// # Panics
    /// When the lengths do not add up to the bytes.
    pub fn of_run(first: u64, lengths: Vec<(u64, u64)>, bytes: Vec<u8>) -> Self {
        let count: u64 = lengths.iter().map(|(times, _)| times).sum();
        let sum: u64 = lengths.iter().map(|(times, length)| times * length).sum();
        assert_eq!(sum, bytes.len() as u64, "invariant: the lengths of a run add up to its bytes");
        let intervals = if count == 0 { Vec::new() } else { vec![(first, first + count - 1)] };
        Self { intervals, lengths, bytes, count }
    }

    /// Takes a segment apart.
    pub fn decode(segment: &[u8]) -> Result<Self, InvalidSegment> {
        let (header, body) = header_of(segment)?;
        let Header { intervals, lengths } = header.checked()?;
        let mut entries = Self { intervals, count: lengths.len() as u64, ..Self::default() };
        for length in lengths {
            entries.add_length(1, length);
        }
        entries.bytes = body.to_vec();
        Ok(entries)
    }

    /// Adds the entry of a higher index than all.
    pub fn push(&mut self, index: u64, bytes: &[u8]) {
        self.add_interval(index, index);
        self.add_length(1, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self.count += 1;
    }

    /// Adds entries of higher indexes than all.
    pub fn append(&mut self, other: &Self) {
        other.intervals.iter().for_each(|(first, last)| self.add_interval(*first, *last));
        other.lengths.iter().for_each(|(times, length)| self.add_length(*times, *length));
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
    }

    /// How many they are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// True when there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all of them.
    pub const fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The lowest index and the highest.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        Some((self.intervals.first()?.0, self.intervals.last()?.1))
    }

    /// Consecutive indexes, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.intervals.iter().map(|(first, last)| *first..=*last)
    }

    /// Their indexes.
    pub fn indexes(&self) -> IndexSet {
        self.ranges().collect()
    }

    /// Each index with its bytes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let lengths = self.lengths.iter().flat_map(|(times, length)| (0..*times).map(|_| *length as usize));
        let mut rest = self.bytes.as_slice();
        self.ranges().flatten().zip(lengths).map(move |(index, length)| {
            let (bytes, after) = rest.split_at(length);
            rest = after;
            (index, bytes)
        })
    }

    /// The entries of each range of consecutive indexes on their own.
    pub fn split(self) -> Vec<Self> {
        if self.intervals.len() <= 1 {
            return vec![self];
        }
        let mut lengths = self.lengths.iter().copied();
        let (mut next, mut rest) = (lengths.next(), self.bytes.as_slice());
        let parts = self.intervals.iter().map(|(first, last)| {
            let mut part = Self { intervals: vec![(*first, *last)], count: last - first + 1, ..Self::default() };
            let mut wanted = part.count;
            while wanted > 0
                && let Some((times, length)) = next
            {
                let taken = times.min(wanted);
                part.add_length(taken, length);
                wanted -= taken;
                next = if taken < times { Some((times - taken, length)) } else { lengths.next() };
            }
            let bytes: u64 = part.lengths.iter().map(|(times, length)| times * length).sum();
            let (own, after) = rest.split_at(bytes as usize);
            (part.bytes, rest) = (own.to_vec(), after);
            part
        });
        parts.collect()
    }

    /// The segment that holds them.
    pub fn encode(&self) -> Vec<u8> {
        let lengths = self.lengths.iter().flat_map(|(times, length)| std::iter::repeat_n(*length, *times as usize));
        let header = Header { intervals: self.intervals.clone(), lengths: lengths.collect() };
        let header = postcard::to_stdvec(&header).expect("invariant: plain integers always encode");
        let mut blob = Vec::with_capacity(PREFIX_BYTES + header.len() + self.bytes.len());
        blob.extend_from_slice(&MAGIC);
        blob.extend_from_slice(&(header.len() as u32).to_le_bytes());
        blob.extend_from_slice(&header);
        blob.extend_from_slice(&self.bytes);
        blob
    }

    fn add_interval(&mut self, first: u64, last: u64) {
        match self.intervals.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            above => {
                debug_assert!(above.is_none_or(|(_, end)| *end < first), "entries ascend");
                self.intervals.push((first, last));
            }
        }
    }

    fn add_length(&mut self, times: u64, length: u64) {
        match self.lengths.last_mut() {
            Some((already, same)) if *same == length => *already += times,
            _ => self.lengths.push((times, length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::{btree_map, vec},
        prelude::*,
    };

    use super::*;
    use crate::segment::encode;

    fn packed<'a>(entries: impl IntoIterator<Item = (&'a u64, &'a Vec<u8>)>) -> Entries {
        let mut packed = Entries::default();
        entries.into_iter().for_each(|(index, bytes)| packed.push(*index, bytes));
        packed
    }

    #[test]
    fn a_run_is_what_its_entries_are_one_by_one() {
        let run = Entries::of_run(5, vec![(2, 1), (1, 0), (1, 3)], b"abcde".to_vec());
        let expected: [(u64, &[u8]); 4] = [(5, b"a"), (6, b"b"), (7, b""), (8, b"cde")];
        assert_eq!(run.iter().collect::<Vec<_>>(), expected);
        assert_eq!((run.count(), run.size(), run.bounds()), (4, 5, Some((5, 8))));
        assert!(Entries::of_run(9, vec![], vec![]).is_empty());
    }

    #[test]
    fn damaged_segments_are_refused() {
        let segment = packed([(&3, &b"abc".to_vec())]).encode();
        assert!(Entries::decode(&segment).is_ok());
        assert_eq!(Entries::decode(&segment[..4]), Err(InvalidSegment::Magic));
        assert!(matches!(Entries::decode(&segment[..segment.len() - 1]), Err(InvalidSegment::Length { .. })));
    }

    proptest! {
        #[test]
        fn packed_entries_are_the_same_as_single_ones(
            entries in btree_map(0_u64..200, vec(any::<u8>(), 0..4), 0..60)
        ) {
            let all = packed(&entries);
            let list: Vec<(u64, Vec<u8>)> = entries.clone().into_iter().collect();
            prop_assert_eq!(all.encode(), encode(&list));
            prop_assert_eq!(&Entries::decode(&all.encode()).expect("decodes"), &all);
            let mut again = Entries::default();
            for part in all.clone().split() {
                prop_assert!(part.intervals.len() <= 1);
                again.append(&part);
            }
            prop_assert_eq!(&again, &all);
            let found: Vec<(u64, Vec<u8>)> = all.iter().map(|(index, bytes)| (index, bytes.to_vec())).collect();
            prop_assert_eq!(found, list);
        }
    }
}
