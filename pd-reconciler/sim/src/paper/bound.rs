//! The lower bound of the makespan: no schedule is faster, whatever it knows.

use crate::{events::Micros, load::Costs};

/// A machine and how its speed changes.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) slots: usize,
    /// When it is well.
    pub(super) speed: f64,
    /// Share of the speed from a moment on, ascending.
    changes: Vec<(Micros, f64)>,
    /// Where the clock of this table begins.
    begun: Micros,
}

impl Machine {
    pub(super) fn new(slots: usize, speed: f64) -> Self {
        Self { slots, speed, changes: vec![(0, 1.0)], begun: 0 }
    }

    /// Work a microsecond of all slots together.
    pub(super) fn power(&self) -> f64 {
        self.slots as f64 * self.speed
    }

    pub(super) fn change(&mut self, at: Micros, share: f64) {
        self.changes.push((at, share));
    }

    pub(super) fn join(&mut self, at: Micros) {
        self.changes = vec![(0, 0.0), (at, 1.0)];
    }

    /// When it joined.
    pub(super) fn joins_at(&self) -> Micros {
        self.changes.iter().find(|(_, share)| *share > 0.0).map_or(0, |(at, _)| *at)
    }

    /// The clock begins at `begun`.
    pub(super) fn begin(&mut self, begun: Micros) {
        self.begun = begun;
    }

    /// From when to when at what speed, in microseconds of this table's clock.
    pub(super) fn stretches(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        let begun = self.begun as f64;
        self.changes.iter().enumerate().filter_map(move |(number, (from, share))| {
            let until = self.changes.get(number + 1).map_or(f64::INFINITY, |(at, _)| *at as f64 - begun);
            let from = (*from as f64 - begun).max(0.0);
            (from < until).then_some((from, until, share * self.speed))
        })
    }

    /// When work of `cost` that one slot begins at `from` ends; none when it never does.
    pub(super) fn end(&self, from: f64, cost: f64) -> Option<f64> {
        let mut left = cost;
        for (start, until, speed) in self.stretches() {
            let start = start.max(from);
            if start >= until || speed <= 0.0 {
                // A dead machine loses what it was at; one that is not there yet has begun nothing.
                if speed <= 0.0 && start < until && left < cost {
                    return None;
                }
                continue;
            }
            if left <= (until - start) * speed {
                return Some(start + left / speed);
            }
            left -= (until - start) * speed;
        }
        None
    }

    /// When it is gone for good.
    pub(super) fn dies_at(&self) -> Option<f64> {
        self.stretches().last().filter(|(_, _, speed)| *speed <= 0.0).map(|(from, ..)| from)
    }
}

/// The least T in which all slots together do all the work, and in which the fastest slot does the longest index.
pub(super) fn least(machines: &[Machine], costs: &Costs) -> f64 {
    let mut moments: Vec<f64> = machines.iter().flat_map(Machine::stretches).map(|(from, ..)| from).collect();
    moments.sort_by(f64::total_cmp);
    moments.dedup();
    let power = |at: f64| -> f64 {
        let now = |machine: &Machine| {
            machine.stretches().find(|(from, until, _)| *from <= at && at < *until).map_or(0.0, |(_, _, speed)| speed)
        };
        machines.iter().map(|machine| now(machine) * machine.slots as f64).sum()
    };
    let (mut left, mut least) = (costs.total(), 0.0);
    for (number, from) in moments.iter().enumerate() {
        let until = moments.get(number + 1).copied().unwrap_or(f64::INFINITY);
        let power = power(*from);
        least = from + left / power;
        if least <= until {
            break;
        }
        left -= (until - from) * power;
    }
    let fastest = machines.iter().map(|machine| machine.speed).fold(0.0, f64::max);
    least.max(costs.longest() / fastest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shape;

    #[test]
    fn capacity_is_counted_while_it_is_there() {
        let costs = Costs::new(Shape::Uniform, 1000, 1000.0, 1);
        let steady = Machine::new(1, 1.0);
        assert!((least(std::slice::from_ref(&steady), &costs) - 1e6).abs() < 1.0);
        let mut dies = Machine::new(1, 1.0);
        dies.change(250_000, 0.0);
        assert!((least(&[steady.clone(), dies], &costs) - 750_000.0).abs() < 1.0);
        let mut joins = Machine::new(1, 1.0);
        joins.join(500_000);
        assert!((least(&[steady, joins], &costs) - 750_000.0).abs() < 1.0);
    }

    #[test]
    fn a_slot_goes_on_at_its_new_speed_and_a_dead_one_loses_its_work() {
        let mut machine = Machine::new(1, 1.0);
        machine.change(100, 0.5);
        assert_eq!(machine.end(0.0, 150.0), Some(200.0));
        let mut dies = Machine::new(1, 1.0);
        dies.change(100, 0.0);
        assert_eq!((dies.end(0.0, 150.0), dies.dies_at()), (None, Some(100.0)));
        let mut joins = Machine::new(1, 1.0);
        joins.join(100);
        assert_eq!(joins.end(0.0, 50.0), Some(150.0));
    }
}
