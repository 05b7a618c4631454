//! The queue of what will happen: by time, and in the order of filing among equals, so that a run is repeated
//! exactly.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Simulated time: microseconds since the start.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;
/// One millisecond.
pub const MILLI: Micros = 1_000;

/// What will happen, soonest first.
#[derive(Debug)]
pub(crate) struct Events<T> {
    heap: BinaryHeap<Reverse<Filed<T>>>,
    filed: u64,
}

#[derive(Debug)]
struct Filed<T> {
    at: Micros,
    number: u64,
    event: T,
}

impl<T> Default for Events<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), filed: 0 }
    }
}

impl<T> Events<T> {
    pub(crate) fn file(&mut self, at: Micros, event: T) {
        self.filed += 1;
        self.heap.push(Reverse(Filed { at, number: self.filed, event }));
    }

    pub(crate) fn next(&mut self) -> Option<(Micros, T)> {
        self.heap.pop().map(|Reverse(filed)| (filed.at, filed.event))
    }
}

impl<T> PartialEq for Filed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Filed<T> {}

impl<T> PartialOrd for Filed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Filed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
