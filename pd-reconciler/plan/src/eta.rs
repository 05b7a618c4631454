//! Estimated time: when a running job will be through.
//!
//! In: which indexes are done and what slot-seconds were spent, plan after plan. Out: the slot-seconds that what is
//! left will take, by the mean cost of an index; or, where the cost rises or falls along the indexes beyond doubt, by the
//! line through it (weighted least squares). Each node works on a stretch of its own, so what has ended lies anywhere:
//! its mean position is what the line goes by, which is all that matters to a line.

use std::ops::RangeInclusive;

use schemas::IndexSet;

/// Points that are kept: enough for a line, few enough to be copied with each plan.
const POINTS_MAX: usize = 32;
/// A line through fewer stretches than this says nothing.
const STRETCHES_MIN: usize = 8;
/// So many standard errors the slope has to be away from none. A Pareto-distributed cost reaches five by chance.
const CERTAIN: f64 = 8.0;
/// What is left is not believed to cost so many times more, or less, than what has ended.
const CHANGE_MAX: f64 = 4.0;

/// What a job's indexes have cost so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Ascending.
    points: Vec<Point>,
    /// Indexes between two points, at least.
    step: u64,
    /// Slots that the job may count on.
    slots: f64,
}

/// How far a job was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    /// Indexes that were done.
    done: f64,
    /// The sum of them.
    sum: f64,
    /// Slot-seconds that were spent.
    busy: f64,
}

/// Indexes that were done between two points, their mean position, and what one of them took.
struct Stretch {
    count: f64,
    middle: f64,
    cost: f64,
}

impl Pace {
    /// Takes in what is done by now, and the slot-seconds that were spent.
    pub(crate) fn observe(&mut self, done: &IndexSet, busy: f64, slots: f64) {
        self.slots = slots;
        self.step = self.step.max(1);
        let count = done.count() as f64;
        if self.points.last().is_some_and(|last| count < last.done || busy < last.busy) {
            // Assignments are gone, with what they reported.
            self.points.clear();
        }
        let reached = self.points.last().map_or(0.0, |last| last.done);
        if count < reached + self.step as f64 {
            return;
        }
        self.points.push(Point { done: count, sum: sum(done), busy });
        if self.points.len() > POINTS_MAX {
            self.step *= 2;
            let mut number = 0;
            self.points.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
    }

    /// Seconds until the rest of `total` indexes is done, `open` of them; none while nothing is known.
    pub(crate) fn seconds_left(&self, total: u64, open: u64) -> Option<f64> {
        if open == 0 {
            return Some(0.0);
        }
        let last = self.points.last()?;
        let (mean, total) = (last.busy / last.done, total as f64);
        let rest = (total * (total - 1.0) / 2.0 - last.sum) / (total - last.done).max(1.0);
        let line = self.line(rest).map(|cost| cost.clamp(mean / CHANGE_MAX, mean * CHANGE_MAX));
        let cost = line.unwrap_or_else(|| f64::midpoint(mean, self.lately()));
        let left = cost * (open as f64 / self.slots).max(0.5);
        left.is_finite().then_some(left)
    }

    /// What an index cost in the second half of what has ended.
    fn lately(&self) -> f64 {
        let stretches = self.stretches();
        let half = &stretches[stretches.len() / 2..];
        let sum = |of: fn(&Stretch) -> f64| half.iter().map(of).sum::<f64>();
        sum(|stretch| stretch.cost * stretch.count) / sum(|stretch| stretch.count)
    }

    /// What an index at `place` costs by the line through what is done; none when there is no certain one.
    fn line(&self, place: f64) -> Option<f64> {
        let stretches = self.stretches();
        if stretches.len() < STRETCHES_MIN {
            return None;
        }
        let sum =
            |of: &dyn Fn(&Stretch) -> f64| stretches.iter().map(|stretch| stretch.count * of(stretch)).sum::<f64>();
        let count = sum(&|_| 1.0);
        let (middle, cost) = (sum(&|s| s.middle) / count, sum(&|s| s.cost) / count);
        let spread = sum(&|s| (s.middle - middle).powi(2));
        let slope = sum(&|s| (s.middle - middle) * (s.cost - cost)) / spread;
        let at = |place: f64| cost + slope * (place - middle);
        let error = sum(&|s| (s.cost - at(s.middle)).powi(2)) / (stretches.len() - 2) as f64;
        let is_certain = slope.powi(2) > CERTAIN.powi(2) * error / spread;
        is_certain.then(|| at(place))
    }

    fn stretches(&self) -> Vec<Stretch> {
        let begins = std::iter::once(&Point { done: 0.0, sum: 0.0, busy: 0.0 }).chain(&self.points);
        let between = |(from, to): (&Point, &Point)| {
            let count = to.done - from.done;
            Stretch { count, middle: (to.sum - from.sum) / count, cost: (to.busy - from.busy) / count }
        };
        begins.zip(&self.points).map(between).collect()
    }
}

/// The sum of the indexes.
fn sum(indexes: &IndexSet) -> f64 {
    let of_one = |(first, last): (u64, u64)| (last - first + 1) as f64 * f64::midpoint(first as f64, last as f64);
    indexes.ranges().map(RangeInclusive::into_inner).map(of_one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a job of a thousand indexes on two slots, estimated once `ended` are done, over the truth.
    fn estimate(cost: impl Fn(u64) -> f64, ended: u64) -> f64 {
        let mut pace = Pace::default();
        let mut busy = 0.0;
        for index in 0..ended {
            busy += cost(index);
            pace.observe(&IndexSet::first(index + 1), busy, 2.0);
        }
        let truth: f64 = (ended..1000).map(&cost).sum::<f64>() / 2.0;
        pace.seconds_left(1000, 1000 - ended).unwrap() / truth
    }

    #[test]
    fn a_steady_cost_and_a_rising_one_are_foreseen() {
        assert!((estimate(|_| 0.5, 100) - 1.0).abs() < 1e-9);
        assert!((estimate(|index| 0.5 + 0.002 * index as f64, 100) - 1.0).abs() < 0.01);
    }

    #[test]
    fn more_than_fourfold_is_not_believed() {
        let believed = estimate(|index| 0.1 + 0.002 * index as f64, 100);
        assert!((believed - 4.0 * 0.199 / 1.199).abs() < 0.02, "{believed}");
    }

    #[test]
    fn one_dear_index_is_no_trend() {
        let over = estimate(|index| if index == 90 { 30.0 } else { 1.0 }, 100);
        assert!((1.0..1.6).contains(&over), "{over}");
    }

    #[test]
    fn points_stay_few_and_nothing_is_known_before_the_first() {
        let mut pace = Pace::default();
        assert_eq!(pace.seconds_left(10, 10), None);
        for ended in 1..5000 {
            pace.observe(&IndexSet::first(ended), ended as f64, 1.0);
            assert!(pace.points.len() <= POINTS_MAX);
        }
        assert_eq!(pace.seconds_left(10_000, 0), Some(0.0));
    }
}
