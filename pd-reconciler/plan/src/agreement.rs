//! Agreement: which stored outputs of a job are the same, as far as comparisons have shown, and whose are not. Counted
//! set by set: a ladder of sets says which indexes occur at least once, twice and so on, so the cost is in intervals and
//! pairs of nodes that hold the same indexes, never in indexes.

use std::collections::BTreeMap;

use schemas::{Digest, IndexSet};

use crate::{job::Work, snapshot::Compared};

/// Outputs of a job as its nodes have stored them.
pub(crate) struct Held {
    /// By position of the draft: what of `must` it has an output of; nothing for who is not trusted.
    pub(crate) indexes: Vec<IndexSet>,
    /// Who holds what in which segment.
    segments: BTreeMap<Digest, Vec<(usize, IndexSet)>>,
    /// Where two have been compared.
    pairs: BTreeMap<(usize, usize), Pair>,
}

/// What is known of the outputs of two nodes.
#[derive(Default)]
struct Pair {
    same: IndexSet,
    differ: IndexSet,
}

impl Held {
    pub(crate) fn of(work: &Work<'_>, must: &IndexSet) -> Self {
        let mut held = Self {
            indexes: vec![IndexSet::new(); work.drafts.len()],
            segments: BTreeMap::new(),
            pairs: BTreeMap::new(),
        };
        for (at, draft) in work.drafts.iter().enumerate().filter(|(_, draft)| !draft.is_distrusted) {
            let granted: IndexSet = draft.grants.values().flat_map(IndexSet::ranges).collect();
            let wanted = &granted & must;
            for segment in draft.status().iter().flat_map(|status| &status.segments) {
                let indexes = &segment.indexes & &wanted;
                if !indexes.is_empty() {
                    held.indexes[at] |= &indexes;
                    held.segments.entry(segment.digest).or_default().push((at, indexes));
                }
            }
        }
        for holders in held.segments.values() {
            for (a, left) in holders {
                for (b, right) in holders.iter().filter(|(b, _)| a < b) {
                    held.pairs.entry((*a, *b)).or_default().same |= &(left & right);
                }
            }
        }
        work.memory.compared.iter().for_each(|compared| held.take(compared));
        held
    }

    /// Takes the answer to a comparison in.
    fn take(&mut self, compared: &Compared) {
        let holders = |digest| self.segments.get(&digest).into_iter().flatten();
        for (a, left) in holders(compared.left) {
            for (b, right) in holders(compared.right).filter(|(b, _)| a != b) {
                let both = left & right;
                let pair = self.pairs.entry((*a.min(b), *a.max(b))).or_default();
                pair.same |= &(&both & &compared.same);
                pair.differ |= &(&both & &compared.differ);
            }
        }
    }

    /// Indexes at which some two outputs differ.
    pub(crate) fn differing(&self) -> IndexSet {
        self.pairs.values().flat_map(|pair| pair.differ.ranges()).collect()
    }

    pub(crate) fn holds(&self, segment: Digest) -> bool {
        self.segments.contains_key(&segment)
    }

    /// By position: at which indexes at least `agree` outputs, its own among them, are the same as this draft's.
    pub(crate) fn agreed(&self, agree: usize) -> Vec<IndexSet> {
        let mut levels: Vec<Vec<IndexSet>> = self.indexes.iter().map(|own| ladder(own.clone(), agree)).collect();
        for ((a, b), pair) in &self.pairs {
            climb(&mut levels[*a], &pair.same);
            climb(&mut levels[*b], &pair.same);
        }
        levels.into_iter().filter_map(|mut levels| levels.pop()).collect()
    }

    /// Who has another output than enough others have, and of which index.
    pub(crate) fn liars(&self, agreed: &[IndexSet]) -> BTreeMap<usize, String> {
        let mut liars = BTreeMap::new();
        for ((a, b), pair) in &self.pairs {
            for (liar, other) in [(*a, *b), (*b, *a)] {
                if let Some(index) = (&pair.differ & &agreed[other]).min() {
                    liars.entry(liar).or_insert_with(|| format!("the output of index {index}"));
                }
            }
        }
        liars
    }

    /// Indexes that at least `count` drafts hold.
    pub(crate) fn at_least(&self, count: usize) -> IndexSet {
        let mut levels = ladder(self.indexes.iter().flat_map(IndexSet::ranges).collect(), count + 1);
        self.indexes.iter().for_each(|held| climb(&mut levels, held));
        levels.pop().unwrap_or_default()
    }

    /// Pairs of segments that are to be compared: of the indexes of `goal` each output with the first one, of
    /// `disputed` ones each with each.
    pub(crate) fn uncompared(&self, goal: &IndexSet, disputed: &IndexSet) -> Vec<(Digest, Digest, IndexSet)> {
        let mut pairs = BTreeMap::<(usize, usize), IndexSet>::new();
        let mut firsts: Vec<(u64, u64, usize)> = Vec::new();
        let mut taken = IndexSet::new();
        for (at, held) in self.indexes.iter().enumerate() {
            for range in (&(held & goal) & &taken).ranges() {
                for (first, last, other) in overlapping(&firsts, *range.start(), *range.end()) {
                    pairs.entry((other, at)).or_default().insert_range(first..=last);
                }
            }
            let fresh = &(held & goal) - &taken;
            firsts.extend(fresh.ranges().map(|range| (*range.start(), *range.end(), at)));
            firsts.sort_unstable();
            taken |= &fresh;
        }
        let parties: Vec<(usize, IndexSet)> = self.indexes.iter().map(|held| held & disputed).enumerate().collect();
        let parties: Vec<_> = parties.into_iter().filter(|(_, held)| !held.is_empty()).collect();
        for (position, (a, left)) in parties.iter().enumerate() {
            for (b, right) in &parties[position + 1..] {
                *pairs.entry((*a, *b)).or_default() |= &(left & right);
            }
        }
        pairs.into_iter().flat_map(|((a, b), indexes)| self.segments_of(a, b, indexes)).collect()
    }

    /// The pairs of segments in which two drafts hold what was not compared of `indexes`.
    fn segments_of(&self, a: usize, b: usize, mut indexes: IndexSet) -> Vec<(Digest, Digest, IndexSet)> {
        if let Some(known) = self.pairs.get(&(a, b)) {
            indexes -= &known.same;
            indexes -= &known.differ;
        }
        let of = |at: usize| {
            let holders = self.segments.iter().flat_map(|(digest, holders)| holders.iter().map(move |h| (*digest, h)));
            holders.filter(move |(_, (holder, _))| *holder == at).map(|(digest, (_, held))| (digest, held))
        };
        let mut found = Vec::new();
        for (left, here) in of(a) {
            let here = here & &indexes;
            if here.is_empty() {
                continue;
            }
            for (right, there) in of(b) {
                let both = &here & there;
                if !both.is_empty() {
                    found.push((left, right, both));
                }
            }
        }
        found
    }
}

/// Sets of indexes that occur at least once, twice, ... `height` times; they occur once so far.
pub(crate) fn ladder(once: IndexSet, height: usize) -> Vec<IndexSet> {
    let mut levels = vec![IndexSet::new(); height];
    levels[0] = once;
    levels
}

/// Counts `more` once more, where it occurs at all.
pub(crate) fn climb(levels: &mut [IndexSet], more: &IndexSet) {
    for at in (1..levels.len()).rev() {
        let risen = &levels[at - 1] & more;
        levels[at] |= &risen;
    }
}

/// The parts of disjoint, ascending `intervals` that lie within `first..=last`.
fn overlapping(intervals: &[(u64, u64, usize)], first: u64, last: u64) -> Vec<(u64, u64, usize)> {
    let from = intervals.partition_point(|(_, end, _)| *end < first);
    let within = intervals[from..].iter().take_while(|(start, _, _)| *start <= last);
    within.map(|(start, end, at)| (first.max(*start), last.min(*end), *at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> IndexSet {
        text.parse().unwrap()
    }

    #[test]
    fn a_ladder_counts_how_often_indexes_occur() {
        let mut levels = ladder(set("0-9"), 3);
        for more in ["0-4", "3-6", "4"] {
            climb(&mut levels, &set(more));
        }
        let shown: Vec<String> = levels.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0-9", "0-6", "3-4"]);
    }

    #[test]
    fn a_range_is_cut_to_the_intervals_under_it() {
        let intervals = [(0, 3, 7), (5, 9, 8), (20, 30, 9)];
        assert_eq!(overlapping(&intervals, 2, 6), [(2, 3, 7), (5, 6, 8)]);
        assert_eq!(overlapping(&intervals, 10, 19), []);
        assert_eq!(overlapping(&intervals, 25, 25), [(25, 25, 9)]);
    }
}
