//! Scatter: in which order the first tries of a job are given out.
//!
//! In: what was never tried. Out: stretches of it, in an order in which whatever is done stands for all: a sample of
//! every region of the job, then region after region, both in the order of reversed bits (van der Corput 1935). Costs
//! that rise along the indexes, or lie in blocks, are met early so, and their mean is foreseen. It costs no more
//! intervals than two for each region. A job that may end before its last index keeps the order of its indexes: the
//! likeliest may come first.

use std::{collections::VecDeque, ops::RangeInclusive};

use schemas::{IndexSet, Job, job::Layout};

/// Regions of a job, a power of two: each is one interval in its status, some 15 bytes; 4 KiB in all.
const REGIONS_MAX: u64 = 256;
/// Indexes that make a region of their own, at least.
const REGION_MIN: u64 = 64;
/// One index in so many belongs to the sample: it is done when the first estimates are looked at.
const SAMPLE: u64 = 12;

/// What was never tried of one job, in the order in which it is given out.
pub(crate) struct Scatter {
    left: VecDeque<RangeInclusive<u64>>,
}

impl Scatter {
    /// Puts `waiting` in order.
    pub(crate) fn of(job: &Job, layout: Option<&Layout>, waiting: &IndexSet) -> Self {
        let may_end_early = job.spec.success_policy.is_some() || layout.is_some_and(|layout| layout.goal.is_some());
        let total = layout.map_or(0, |layout| layout.subtasks);
        if may_end_early || total < 2 * REGION_MIN {
            return Self { left: waiting.ranges().collect() };
        }
        let within = |part: RangeInclusive<u64>| (waiting & &IndexSet::from(part)).ranges().collect::<Vec<_>>();
        Self { left: parts(total).into_iter().flat_map(within).collect() }
    }

    /// Takes the next `count` indexes, or what is left.
    pub(crate) fn take(&mut self, count: u64) -> IndexSet {
        let mut room = count;
        let mut taken = Vec::new();
        while room > 0
            && let Some(next) = self.left.pop_front()
        {
            let (first, last) = next.into_inner();
            let end = last.min(first.saturating_add(room - 1));
            if end < last {
                self.left.push_front(end + 1..=last);
            }
            room -= end - first + 1;
            taken.push(first..=end);
        }
        taken.into_iter().collect()
    }
}

/// The samples of all regions of `0..total`, then what else is in them.
fn parts(total: u64) -> Vec<RangeInclusive<u64>> {
    let regions = 1_u64 << (total / REGION_MIN).clamp(1, REGIONS_MAX).ilog2();
    let begin = |region: u64| (u128::from(total) * u128::from(region) / u128::from(regions)) as u64;
    let sample = (total / regions).div_ceil(SAMPLE);
    let order: Vec<u64> = (0..regions).map(|number| reversed(number, regions)).collect();
    let samples = order.iter().map(|region| begin(*region)..=begin(*region) + sample - 1);
    let rests = order.iter().map(|region| begin(*region) + sample..=begin(*region + 1) - 1);
    samples.chain(rests).collect()
}

/// The bits of `number` of `0..count`, a power of two, in reverse.
fn reversed(number: u64, count: u64) -> u64 {
    number.reverse_bits().checked_shr(u64::BITS - count.ilog2()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_its_place_and_regions_are_met_far_from_each_other() {
        for total in [128, 129, 1000, 8191, 20_000, 1_000_003] {
            let parts = parts(total);
            assert!(parts.len() <= 2 * REGIONS_MAX as usize);
            let sum: u64 = parts.iter().map(|part| part.end() - part.start() + 1).sum();
            let all: IndexSet = parts.into_iter().collect();
            assert_eq!((all, sum), (IndexSet::first(total), total));
        }
        let firsts: Vec<u64> = parts(1 << 20).iter().take(4).map(|part| part.start() >> 13).collect();
        assert_eq!(firsts, [0, 64, 32, 96]);
    }

    #[test]
    fn what_is_given_out_is_taken_out_and_stays_compact() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {},
            "spec": {"task": {"name": "x"}},
        }))
        .unwrap();
        let layout = Layout { subtasks: 100_000, media_type: String::new(), goal: None, state: None };
        let mut waiting = IndexSet::first(100_000);
        let mut done = IndexSet::new();
        while !waiting.is_empty() {
            let taken = Scatter::of(&job, Some(&layout), &waiting).take(777);
            assert_eq!(taken.count(), 777.min(waiting.count()));
            assert!(taken.is_disjoint(&done));
            done |= &taken;
            waiting -= &taken;
            assert!(done.intervals() <= 2 * REGIONS_MAX as usize && waiting.intervals() <= 2 * REGIONS_MAX as usize);
            let share = done.count() as f64 / 100_000.0;
            let mean = done.iter().map(|index| index as f64).sum::<f64>() / done.count() as f64;
            assert!(share < 0.05 || (mean / 50_000.0 - 1.0).abs() < 0.1, "{share}: {mean}");
        }
        let goal = Layout { goal: Some(1), ..layout };
        assert_eq!(Scatter::of(&job, Some(&goal), &IndexSet::first(100_000)).take(777), IndexSet::first(777));
    }
}
