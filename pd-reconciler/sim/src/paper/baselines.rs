//! Simpler policies on the same machines and the same costs, under better conditions than ours: a chunk costs one
//! round trip at most, nothing is set up, reports are free, and what a dead node had is known to be lost after
//! `DETECTED`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::bound::Machine;
use crate::load::Costs;

/// Two ways and a commit.
const ROUND_TRIP: f64 = 8_600.0;
/// From a node's death to its work being free again, as with our default lease.
const DETECTED: f64 = 5e6;

/// A policy to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Each slot that is there at the start gets an equal part.
    Static,
    /// Two hundred chunks of one size.
    Fixed,
    /// Guided self-scheduling (Polychronopoulos and Kuck 1987): a chunk is what is left over the slots.
    Guided,
    /// Factoring (Hummel et al. 1992): rounds of equal chunks, each round half of what is left.
    Factoring,
    /// List scheduling (Graham 1969): whichever slot is free takes the next index, and that costs nothing. What is
    /// left of its excess over the bound is the price of not knowing the costs, save for what copies win back.
    Free,
}

impl Baseline {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Static, Self::Fixed, Self::Guided, Self::Factoring, Self::Free];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Fixed => "fixed",
            Self::Guided => "guided",
            Self::Factoring => "factoring",
            Self::Free => "one by one, free",
        }
    }

    /// A slot waits that long for its next chunk.
    const fn round_trip(self) -> f64 {
        if matches!(self, Self::Free) { 0.0 } else { ROUND_TRIP }
    }

    /// How long it takes, in microseconds; none when it never ends.
    pub(super) fn makespan(self, machines: &[Machine], costs: &Costs) -> Option<f64> {
        let mut pool = Pool::new(self, machines, costs.count());
        let slots = machines.iter().enumerate().flat_map(|(number, machine)| vec![number; machine.slots]);
        // Slots by when they are free; ties by number.
        let mut free: BinaryHeap<Reverse<(u64, usize, usize)>> = slots
            .enumerate()
            .map(|(slot, machine)| Reverse((machines[machine].end(0.0, 0.0).unwrap_or(0.0) as u64, slot, machine)))
            .collect();
        let mut last: f64 = 0.0;
        while let Some(Reverse((now, slot, machine))) = free.pop() {
            let begin = now as f64 + self.round_trip();
            let dies_at = machines[machine].dies_at();
            if dies_at.is_some_and(|at| begin >= at) {
                continue;
            }
            let Some((first, end)) = pool.take(now as f64) else {
                // Nothing now; lost work may come back.
                if let Some(at) = pool.next_return() {
                    free.push(Reverse((at.ceil() as u64, slot, machine)));
                }
                continue;
            };
            match machines[machine].end(begin, costs.of(first, end)) {
                Some(ended) => {
                    last = last.max(ended);
                    free.push(Reverse((ended.ceil() as u64, slot, machine)));
                }
                None => pool.lose(dies_at? + DETECTED, (first, end)),
            }
        }
        pool.is_done().then_some(last)
    }
}

/// What is not given out.
struct Pool {
    policy: Baseline,
    slots: u64,
    next: u64,
    count: u64,
    /// Chunk size of the present round, and chunks left in it.
    round: (u64, u64),
    /// Lost chunks, by when they are free again.
    lost: VecDeque<(f64, (u64, u64))>,
}

impl Pool {
    fn new(policy: Baseline, machines: &[Machine], count: u64) -> Self {
        let is_there = |machine: &&Machine| policy != Baseline::Static || machine.joins_at() == 0;
        let slots = machines.iter().filter(is_there).map(|machine| machine.slots as u64).sum();
        Self { policy, slots, next: 0, count, round: (0, 0), lost: VecDeque::new() }
    }

    fn take(&mut self, now: f64) -> Option<(u64, u64)> {
        if let Some(position) = self.lost.iter().position(|(at, _)| *at <= now) {
            return self.lost.remove(position).map(|(_, chunk)| chunk);
        }
        let left = self.count - self.next;
        if left == 0 {
            return None;
        }
        let size = match self.policy {
            Baseline::Static => self.count.div_ceil(self.slots),
            Baseline::Fixed => self.count.div_ceil(200),
            Baseline::Guided => left.div_ceil(self.slots),
            Baseline::Free => 1,
            Baseline::Factoring => {
                if self.round.1 == 0 {
                    self.round = (left.div_ceil(2 * self.slots), self.slots);
                }
                self.round.1 -= 1;
                self.round.0
            }
        };
        let first = self.next;
        self.next += size.clamp(1, left);
        Some((first, self.next - 1))
    }

    fn next_return(&self) -> Option<f64> {
        self.lost.iter().map(|(at, _)| *at).min_by(f64::total_cmp)
    }

    fn lose(&mut self, at: f64, chunk: (u64, u64)) {
        self.lost.push_back((at, chunk));
    }

    fn is_done(&self) -> bool {
        self.next == self.count && self.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shape;

    #[test]
    fn equal_machines_and_costs_are_easy_for_everybody() {
        let machines = vec![Machine::new(2, 1.0); 4];
        let costs = Costs::new(Shape::Uniform, 20_000, 1000.0, 5);
        for policy in Baseline::ALL {
            let over = policy.makespan(&machines, &costs).expect("it ends") / (costs.total() / 8.0);
            // Two hundred chunks cost each slot 25 round trips of 8.6 ms in 2.5 s.
            assert!((1.0..1.1).contains(&over), "{policy:?}: {over}");
        }
    }

    #[test]
    fn what_a_dead_machine_had_is_done_by_others() {
        let mut machines = vec![Machine::new(1, 1.0); 2];
        machines[1].change(1_000_000, 0.0);
        let costs = Costs::new(Shape::Uniform, 2000, 10_000.0, 5);
        let makespan = Baseline::Static.makespan(&machines, &costs).expect("it ends");
        assert!(makespan > costs.total() * 0.99, "{makespan}");
    }
}
