//! Estimated time: when a running job will be through.
//!
//! In: what each node has done and the slot-seconds that it spent, plan after plan. Out: the slot-seconds that what is
//! left will take, by the mean cost of an index; or, where the cost rises or falls along the indexes beyond doubt, by the
//! line through it (weighted least squares). What a node did from one report to the next is one stretch: it lies anywhere,
//! its mean position is what the line goes by, which is all that matters to a line. `scatter` sees to it that what has
//! ended stands for the rest, unless the job keeps the order of its indexes.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use schemas::IndexSet;

/// Points that are kept: enough to tell the later half, few enough to be copied with each plan.
const POINTS_MAX: usize = 32;
/// A line through fewer stretches than this says nothing.
const STRETCHES_MIN: f64 = 8.0;
/// So many standard errors the slope has to be away from none. A Pareto-distributed cost reaches five by chance.
const CERTAIN: f64 = 8.0;
/// What is left is not believed to cost so many times more, or less, than what has ended.
const CHANGE_MAX: f64 = 8.0;

/// What a job's indexes have cost so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Of all nodes together, ascending.
    points: Vec<Point>,
    /// Indexes between two points, at least.
    step: u64,
    /// By node UID: how far it was. A job may be on hundreds of nodes: copied with a plan only when one has got further.
    nodes: Arc<BTreeMap<String, Point>>,
    line: Line,
    /// Slots that the job may count on.
    slots: f64,
}

/// How far a job, or a node, was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    /// Indexes that were done.
    done: f64,
    /// The sum of them.
    sum: f64,
    /// Slot-seconds that were spent.
    busy: f64,
}

/// Sums over stretches, each weighted by its indexes: what a line through cost and position is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Line {
    stretches: f64,
    indexes: f64,
    place: f64,
    cost: f64,
    place_place: f64,
    place_cost: f64,
    cost_cost: f64,
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

    /// Takes in what one node has done by now, and the slot-seconds that it spent.
    pub(crate) fn observe_node(&mut self, node_uid: &str, done: &IndexSet, busy: f64) {
        let known = self.nodes.get(node_uid).copied().unwrap_or_default();
        let count = done.count() as f64;
        // Both are whole numbers.
        if (count - known.done).abs() < 0.5 {
            return;
        }
        let now = Point { done: count, sum: sum(done), busy };
        if count > known.done && busy > known.busy {
            self.line.add(known, now);
        }
        if count < known.done || busy > known.busy {
            Arc::make_mut(&mut self.nodes).insert(node_uid.to_owned(), now);
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
        let line = self.line.at(rest).map(|cost| cost.clamp(mean / CHANGE_MAX, mean * CHANGE_MAX));
        let cost = line.unwrap_or_else(|| f64::midpoint(mean, self.lately()));
        let left = cost * (open as f64 / self.slots).max(0.5);
        left.is_finite().then_some(left)
    }

    /// What an index cost in the second half of what has ended.
    fn lately(&self) -> f64 {
        let half = self.points.len() / 2;
        let from = half.checked_sub(1).and_then(|before| self.points.get(before)).copied().unwrap_or_default();
        self.points.last().map_or(0.0, |last| (last.busy - from.busy) / (last.done - from.done))
    }
}

impl Line {
    /// Adds the stretch between two points.
    fn add(&mut self, from: Point, to: Point) {
        let count = to.done - from.done;
        let (place, cost) = ((to.sum - from.sum) / count, (to.busy - from.busy) / count);
        self.stretches += 1.0;
        self.indexes += count;
        self.place += count * place;
        self.cost += count * cost;
        self.place_place += count * place * place;
        self.place_cost += count * place * cost;
        self.cost_cost += count * cost * cost;
    }

    /// What an index at `place` costs; none when the line is not certain.
    fn at(&self, place: f64) -> Option<f64> {
        if self.stretches < STRETCHES_MIN {
            return None;
        }
        let (middle, cost) = (self.place / self.indexes, self.cost / self.indexes);
        let spread = self.place_place - self.indexes * middle * middle;
        let slope = (self.place_cost - self.indexes * middle * cost) / spread;
        let scatter = self.cost_cost - self.indexes * cost * cost - slope * slope * spread;
        let error = scatter.max(0.0) / (self.stretches - 2.0);
        let is_certain = slope.powi(2) > CERTAIN.powi(2) * error / spread;
        is_certain.then_some(cost + slope * (place - middle))
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
            pace.observe_node("a", &IndexSet::first(index + 1), busy);
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
    fn a_cost_that_rises_twentyfold_is_foreseen_and_one_that_falls() {
        let over = estimate(|index| 0.1 + 0.002 * index as f64, 100);
        assert!((over - 1.0).abs() < 0.01, "{over}");
        let over = estimate(|index| 2.1 - 0.002 * index as f64, 100);
        assert!((over - 1.0).abs() < 0.01, "{over}");
    }

    #[test]
    fn what_lies_scattered_stands_for_the_rest() {
        let job = (0..20_000_u64).map(|index| if index / 100 % 10 == 3 { 20.0 } else { 1.0 });
        let costs: Vec<f64> = job.collect();
        let (mut pace, mut done, mut busy) = (Pace::default(), IndexSet::new(), 0.0);
        let spec = serde_json::json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {}, "spec": {"task": {"name": "x"}},
        });
        let layout = serde_json::json!({"subtasks": 20_000, "mediaType": "text/plain"});
        let (job, layout) = (serde_json::from_value(spec).unwrap(), serde_json::from_value(layout).unwrap());
        while done.count() < 2000 {
            let waiting = &IndexSet::first(20_000) - &done;
            let taken = crate::scatter::Scatter::of(&job, Some(&layout), &waiting).take(70);
            busy += taken.iter().map(|index| costs[index as usize]).sum::<f64>();
            done |= &taken;
            pace.observe(&done, busy, 2.0);
            pace.observe_node("a", &done, busy);
        }
        let truth = (costs.iter().sum::<f64>() - busy) / 2.0;
        let over = pace.seconds_left(20_000, 18_000).unwrap() / truth;
        assert!((over - 1.0).abs() < 0.2, "{over}");
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
