//! Intervals: sets of integers as a sorted vector of disjoint, non-adjacent closed intervals.
//!
//! The reconciler joins, cuts and copies such sets for every node each time a report comes in. A vector is copied by
//! one `memcpy` and walked without a miss, and operations skip what the other set does not touch by galloping
//! (Bentley and Yao 1976): O(m log n) beside the copy, for m intervals against n.

use std::ops::RangeInclusive;

/// So few intervals are put in or taken out one by one, in place.
const FEW: usize = 4;

/// Both ends are in it.
type Interval = (u64, u64);

/// Sorted, disjoint, never adjacent.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Intervals(Vec<Interval>);

impl Intervals {
    /// One interval.
    pub(crate) fn one(range: RangeInclusive<u64>) -> Self {
        let (first, last) = range.into_inner();
        if first > last { Self::default() } else { Self(vec![(first, last)]) }
    }

    /// Of intervals that may overlap and stand in any order.
    pub(crate) fn of(mut parts: Vec<Interval>) -> Self {
        parts.retain(|(first, last)| first <= last);
        if !parts.is_sorted() {
            parts.sort_unstable();
        }
        let mut joined = Self(Vec::with_capacity(parts.len()));
        for part in parts {
            joined.push(part);
        }
        joined
    }

    /// The union of many.
    pub(crate) fn join<'a>(sets: impl Iterator<Item = &'a Self>) -> Self {
        let mut parts = Vec::new();
        sets.for_each(|set| parts.extend_from_slice(&set.0));
        Self::of(parts)
    }

    /// Adds an interval that begins no earlier than the last one.
    fn push(&mut self, (first, last): Interval) {
        match self.0.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of integers.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Number of intervals.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter().map(|(first, last)| *first..=*last)
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.0.first().map(|(first, _)| *first)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    pub(crate) fn contains(&self, value: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < value);
        self.0.get(at).is_some_and(|(first, _)| *first <= value)
    }

    /// Adds an interval.
    pub(crate) fn insert(&mut self, range: RangeInclusive<u64>) {
        let (first, last) = range.into_inner();
        if first > last {
            return;
        }
        if self.0.last().is_none_or(|(begin, _)| *begin <= first) {
            return self.push((first, last));
        }
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let until = from + self.0[from..].partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        if from == until {
            return self.0.insert(from, (first, last));
        }
        self.0[from] = (first.min(self.0[from].0), last.max(self.0[until - 1].1));
        self.0.drain(from + 1..until);
    }

    /// Takes an interval out.
    pub(crate) fn remove(&mut self, range: RangeInclusive<u64>) {
        let (first, last) = range.into_inner();
        let from = self.0.partition_point(|(_, end)| *end < first);
        let until = from + self.0[from..].partition_point(|(begin, _)| *begin <= last);
        if first > last || from == until {
            return;
        }
        let (left, right) = (self.0[from].0, self.0[until - 1].1);
        let (keeps_left, keeps_right) = (left < first, last < right);
        if keeps_left && keeps_right && from + 1 == until {
            self.0[from].0 = last + 1;
            return self.0.insert(from, (left, first - 1));
        }
        if keeps_left {
            self.0[from].1 = first - 1;
        }
        if keeps_right {
            self.0[until - 1].0 = last + 1;
        }
        self.0.drain(from + usize::from(keeps_left)..until - usize::from(keeps_right));
    }

    /// Takes the `count` smallest integers out.
    pub(crate) fn take_first(&mut self, count: u64) -> Self {
        let (whole, left) = self.split(self.0.iter(), count);
        let mut taken = Self(self.0.drain(..whole).collect());
        if let Some((first, _)) = self.0.first_mut().filter(|_| left > 0) {
            taken.0.push((*first, *first + left - 1));
            *first += left;
        }
        taken
    }

    /// Takes the `count` largest integers out.
    pub(crate) fn take_last(&mut self, count: u64) -> Self {
        let (whole, left) = self.split(self.0.iter().rev(), count);
        let mut taken = Self(self.0.split_off(self.0.len() - whole));
        if let Some((_, last)) = self.0.last_mut().filter(|_| left > 0) {
            taken.0.insert(0, (*last - left + 1, *last));
            *last -= left;
        }
        taken
    }

    /// How many of `intervals` hold `count` integers at most, and how many of the next one are missing then.
    fn split<'a>(&self, intervals: impl Iterator<Item = &'a Interval>, count: u64) -> (usize, u64) {
        let mut left = count;
        for (whole, (first, last)) in intervals.enumerate() {
            let size = last - first + 1;
            if left < size {
                return (whole, left);
            }
            left -= size;
        }
        (self.0.len(), 0)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut union = Self(Vec::with_capacity(self.0.len() + other.0.len()));
        let (mut a, mut b) = (&self.0[..], &other.0[..]);
        while let (Some(x), Some(y)) = (a.first(), b.first()) {
            if y.0 < x.0 {
                (a, b) = (b, a);
                continue;
            }
            union.push(*x);
            a = &a[1..];
            // What lies behind all that is there and begins before the other's next is copied at once.
            if a.first().is_some_and(|next| union.is_before(next)) {
                let clear = gallop(a, |(first, _)| *first < y.0);
                union.0.extend_from_slice(&a[..clear]);
                a = &a[clear..];
            }
        }
        union.append(if a.is_empty() { b } else { a });
        union
    }

    /// True when there is a gap between all that is there and `part`.
    fn is_before(&self, part: &Interval) -> bool {
        self.last().is_none_or(|last| last.saturating_add(1) < part.0)
    }

    /// Adds intervals, sorted, that begin no earlier than the last one.
    fn append(&mut self, mut rest: &[Interval]) {
        while let Some(part) = rest.first().filter(|part| !self.is_before(part)) {
            self.push(*part);
            rest = &rest[1..];
        }
        self.0.extend_from_slice(rest);
    }

    /// The union, in place.
    pub(crate) fn add(&mut self, other: &Self) {
        match other.0.len() {
            0 => {}
            few if few <= FEW => other.iter().for_each(|part| self.insert(part)),
            _ if self.last().is_none_or(|last| other.0[0].0 > last) => self.append(&other.0),
            _ => *self = self.union(other),
        }
    }

    /// The difference, in place.
    pub(crate) fn subtract(&mut self, other: &Self) {
        if other.0.len() <= FEW {
            other.iter().for_each(|part| self.remove(part));
        } else if !self.is_disjoint(other) {
            *self = self.difference(other);
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        let (mut a, mut b) = (&self.0[..], &other.0[..]);
        while let (Some(x), Some(y)) = (a.first(), b.first()) {
            if x.1 < y.0 {
                a = &a[gallop(a, |(_, last)| *last < y.0)..];
            } else if y.1 < x.0 {
                b = &b[gallop(b, |(_, last)| *last < x.0)..];
            } else {
                both.0.push((x.0.max(y.0), x.1.min(y.1)));
                if x.1 < y.1 { a = &a[1..] } else { b = &b[1..] }
            }
        }
        both
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut left = Self(Vec::with_capacity(self.0.len()));
        let (mut a, mut b) = (self.0.as_slice(), other.0.as_slice());
        while let Some(part) = a.first() {
            b = &b[gallop(b, |(_, last)| *last < part.0)..];
            let Some(next) = b.first() else { break };
            // What lies before the next cut stays whole.
            let whole = gallop(a, |(_, last)| *last < next.0);
            if whole > 0 {
                left.0.extend_from_slice(&a[..whole]);
                a = &a[whole..];
                continue;
            }
            b = left.cut(*part, b);
            a = &a[1..];
        }
        left.0.extend_from_slice(a);
        left
    }

    /// Adds what is left of `part` without `cuts`, which begin at the first that touches it; answers those that may
    /// touch the next one.
    fn cut<'a>(&mut self, part: Interval, mut cuts: &'a [Interval]) -> &'a [Interval] {
        let (mut first, last) = part;
        while let Some(cut) = cuts.first().filter(|cut| cut.0 <= last) {
            if first < cut.0 {
                self.0.push((first, cut.0 - 1));
            }
            if cut.1 >= last {
                return cuts;
            }
            first = cut.1 + 1;
            cuts = &cuts[1..];
        }
        self.0.push((first, last));
        cuts
    }

    pub(crate) fn is_disjoint(&self, other: &Self) -> bool {
        let (mut a, mut b) = (&self.0[..], &other.0[..]);
        while let (Some(x), Some(y)) = (a.first(), b.first()) {
            if x.1 < y.0 {
                a = &a[gallop(a, |(_, last)| *last < y.0)..];
            } else if y.1 < x.0 {
                b = &b[gallop(b, |(_, last)| *last < x.0)..];
            } else {
                return false;
            }
        }
        true
    }

    pub(crate) fn is_superset(&self, other: &Self) -> bool {
        let mut a = &self.0[..];
        other.0.iter().all(|(first, last)| {
            a = &a[gallop(a, |(_, end)| end < last)..];
            a.first().is_some_and(|(begin, _)| begin <= first)
        })
    }
}

/// How many of `parts` come first for which `is_before` holds: first in steps that double, then by halving.
fn gallop(parts: &[Interval], is_before: impl Fn(&Interval) -> bool) -> usize {
    let mut step = 1;
    while step <= parts.len() && is_before(&parts[step - 1]) {
        step *= 2;
    }
    let from = step / 2;
    from + parts[from..parts.len().min(step)].partition_point(is_before)
}
