//! A set of subtask indexes, O(intervals) in memory and in text: `0-511,600`.
//!
//! The text is Kubernetes' own form of `completedIndexes`: ascending, comma-separated, a run of three or
//! more written `first-last`. We also write runs of two as `a-b`, which every reader of the form accepts.

use std::{
    borrow::Cow,
    fmt,
    ops::{BitAnd, BitOr, BitOrAssign, RangeInclusive, Sub, SubAssign},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{intervals::Intervals, limits::SUBTASKS_MAX};

/// A set of indexes in `0..SUBTASKS_MAX`, kept as disjoint intervals.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct IndexSet(Intervals);

/// Why a text is not an index set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIndexSet {
    /// A part between commas is neither a number nor two numbers with a dash.
    #[error("`{0}` is not an index or a range of indexes; write a set like `0-511,600`")]
    Part(String),
    /// A range ends before it starts.
    #[error("the range `{0}` ends before it starts")]
    Backwards(String),
    /// Parts do not ascend.
    #[error("`{0}` is not above the indexes before it; write them in ascending order, each once")]
    Order(String),
    /// An index is beyond the limit.
    #[error("index {0} is beyond the {SUBTASKS_MAX} subtasks that one job may have")]
    Beyond(u64),
}

impl IndexSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// All of `0..count`.
    pub fn first(count: u64) -> Self {
        match count {
            0 => Self::new(),
            n => Self::from(0..=n - 1),
        }
    }

    /// The union of many sets.
    pub fn join<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sets = sets.into_iter();
        let Some(first) = sets.next() else { return Self::new() };
        match sets.next() {
            None => first.clone(),
            Some(second) => Self(Intervals::join([first, second].into_iter().chain(sets).map(|set| &set.0))),
        }
    }

    /// True when nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of indexes. O(intervals).
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Number of disjoint, non-adjacent intervals.
    pub fn intervals(&self) -> usize {
        self.0.len()
    }

    /// The intervals in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter()
    }

    /// The indexes in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flatten()
    }

    /// True when `index` is in the set.
    pub fn contains(&self, index: u64) -> bool {
        self.0.contains(index)
    }

    /// True when every index of `other` is in this set.
    pub fn is_superset(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// True when no index is in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    /// The smallest index.
    pub fn min(&self) -> Option<u64> {
        self.0.first()
    }

    /// The largest index.
    pub fn max(&self) -> Option<u64> {
        self.0.last()
    }

    /// Adds one index; true when it was not in the set.
    pub fn insert(&mut self, index: u64) -> bool {
        let is_new = !self.contains(index);
        self.0.insert(index..=index);
        is_new
    }

    /// Adds an interval.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        self.0.insert(range);
    }

    /// Removes one index; true when it was in the set.
    pub fn remove(&mut self, index: u64) -> bool {
        let was_there = self.contains(index);
        self.0.remove(index..=index);
        was_there
    }

    /// Takes the `count` smallest indexes out of the set. O(intervals).
    pub fn take_first(&mut self, count: u64) -> Self {
        Self(self.0.take_first(count))
    }

    /// Takes the `count` largest indexes out of the set. O(intervals).
    pub fn take_last(&mut self, count: u64) -> Self {
        Self(self.0.take_last(count))
    }
}

impl From<RangeInclusive<u64>> for IndexSet {
    fn from(range: RangeInclusive<u64>) -> Self {
        Self(Intervals::one(range))
    }
}

impl FromIterator<u64> for IndexSet {
    fn from_iter<I: IntoIterator<Item = u64>>(indexes: I) -> Self {
        Self(Intervals::of(indexes.into_iter().map(|index| (index, index)).collect()))
    }
}

impl FromIterator<RangeInclusive<u64>> for IndexSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u64>>>(ranges: I) -> Self {
        Self(Intervals::of(ranges.into_iter().map(RangeInclusive::into_inner).collect()))
    }
}

impl BitOr for &IndexSet {
    type Output = IndexSet;

    fn bitor(self, other: Self) -> IndexSet {
        IndexSet(self.0.union(&other.0))
    }
}

impl BitAnd for &IndexSet {
    type Output = IndexSet;

    fn bitand(self, other: Self) -> IndexSet {
        IndexSet(self.0.intersection(&other.0))
    }
}

impl Sub for &IndexSet {
    type Output = IndexSet;

    fn sub(self, other: Self) -> IndexSet {
        IndexSet(self.0.difference(&other.0))
    }
}

impl BitOrAssign<&IndexSet> for IndexSet {
    fn bitor_assign(&mut self, other: &Self) {
        self.0.add(&other.0);
    }
}

impl SubAssign<&IndexSet> for IndexSet {
    fn sub_assign(&mut self, other: &Self) {
        self.0.subtract(&other.0);
    }
}

impl fmt::Display for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.ranges().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match range.into_inner() {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl FromStr for IndexSet {
    type Err = InvalidIndexSet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ranges = Vec::new();
        let mut above: Option<u64> = None;
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (index(first, part)?, index(last, part)?);
            if last < first {
                return Err(InvalidIndexSet::Backwards(excerpt(part)));
            }
            if above.is_some_and(|previous| first <= previous) {
                return Err(InvalidIndexSet::Order(excerpt(part)));
            }
            above = Some(last);
            ranges.push((first, last));
        }
        Ok(Self(Intervals::of(ranges)))
    }
}

/// One number of a part; digits only, as `u64::from_str` would also take a plus sign.
fn index(digits: &str, part: &str) -> Result<u64, InvalidIndexSet> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let value = digits.parse().ok().filter(|_| is_number).ok_or_else(|| InvalidIndexSet::Part(excerpt(part)))?;
    if value < SUBTASKS_MAX { Ok(value) } else { Err(InvalidIndexSet::Beyond(value)) }
}

/// Enough of a wrong part to recognise it by.
fn excerpt(part: &str) -> String {
    part.chars().take(48).collect()
}

impl Serialize for IndexSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IndexSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// As a JSON Schema states it; the validation walk knows the type by it.
pub(crate) const PATTERN: &str = "^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$";

impl JsonSchema for IndexSet {
    fn schema_name() -> Cow<'static, str> {
        "IndexSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN})
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    /// Small indexes, so that intervals touch and overlap often.
    fn indexes() -> impl Strategy<Value = BTreeSet<u64>> {
        btree_set(0_u64..64, 0..48)
    }

    fn set(indexes: &BTreeSet<u64>) -> IndexSet {
        indexes.iter().copied().collect()
    }

    fn plain(set: &IndexSet) -> BTreeSet<u64> {
        set.iter().collect()
    }

    proptest! {
        #[test]
        fn it_computes_what_a_plain_set_computes(a in indexes(), b in indexes()) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(plain(&(&x | &y)), &a | &b);
            prop_assert_eq!(plain(&(&x & &y)), &a & &b);
            prop_assert_eq!(plain(&(&x - &y)), &a - &b);
            prop_assert_eq!(x.is_disjoint(&y), a.is_disjoint(&b));
            prop_assert_eq!(x.is_superset(&y), a.is_superset(&b));
            prop_assert_eq!((x.count(), x.min(), x.max()), (a.len() as u64, a.first().copied(), a.last().copied()));
            let (mut union, mut difference) = (x.clone(), x.clone());
            union |= &y;
            difference -= &y;
            prop_assert_eq!((union, difference), (&x | &y, &x - &y));
        }

        #[test]
        fn one_index_more_or_less_is_as_in_a_plain_set(mut a in indexes(), index in 0_u64..64) {
            let mut x = set(&a);
            prop_assert_eq!(x.contains(index), a.contains(&index));
            prop_assert_eq!(x.insert(index), a.insert(index));
            prop_assert_eq!(plain(&x), a.clone());
            prop_assert_eq!(x.remove(index), a.remove(&index));
            prop_assert_eq!(plain(&x), a);
        }

        #[test]
        fn taking_loses_and_doubles_nothing(a in indexes(), count in 0_u64..80) {
            let taken_count = count.min(a.len() as u64) as usize;
            let mut rest = set(&a);
            let first = rest.take_first(count);
            prop_assert_eq!(plain(&first), a.iter().copied().take(taken_count).collect());
            prop_assert!(first.is_disjoint(&rest));
            prop_assert_eq!(&first | &rest, set(&a));
            let mut rest = set(&a);
            let last = rest.take_last(count);
            prop_assert_eq!(plain(&last), a.iter().copied().skip(a.len() - taken_count).collect());
            prop_assert!(last.is_disjoint(&rest));
            prop_assert_eq!(&last | &rest, set(&a));
        }

        #[test]
        fn its_text_reads_back(a in btree_set(0_u64..SUBTASKS_MAX, 0..32)) {
            let x = set(&a);
            prop_assert_eq!(x.to_string().parse(), Ok(x.clone()));
            let json = serde_json::to_string(&x).expect("encodes");
            prop_assert_eq!(serde_json::from_str::<IndexSet>(&json).expect("decodes"), x);
        }

        #[test]
        fn no_text_panics(text in "[0-9,\\- +a]{0,24}") {
            if let Ok(set) = text.parse::<IndexSet>() {
                prop_assert_eq!(set.to_string().parse(), Ok(set));
            }
        }
    }

    #[test]
    fn the_text_is_kubernetes_own() {
        assert_eq!("0-511,600".parse::<IndexSet>().map(|set| set.count()), Ok(513));
        assert_eq!(IndexSet::first(0).to_string(), "");
        assert_eq!(IndexSet::first(1).to_string(), "0");
        assert_eq!(" ".parse(), Ok(IndexSet::new()));
        for text in ["1,1", "3-1", "1,,2", "a", "+1", "1-", "-1", "5,1", "1-3,3", &SUBTASKS_MAX.to_string()] {
            assert!(text.parse::<IndexSet>().is_err(), "{text}");
        }
    }
}
