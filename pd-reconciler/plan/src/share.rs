//! Sharing: how jobs divide nodes, and how a number is divided by weights.

use std::collections::BTreeMap;

use schemas::IndexSet;

use crate::{
    backoff::Due,
    job::{Draft, Stage, Work},
    placement::Allotment,
};

/// How many jobs want each node now: each counts on an equal share of its slots, so the windows of all of
/// them together stay one window.
pub(crate) fn contenders(jobs: &[Work<'_>], dues: &[Due], allotments: &[Allotment]) -> BTreeMap<String, u32> {
    let mut contenders = BTreeMap::new();
    for ((work, due), allotment) in jobs.iter().zip(dues).zip(allotments) {
        let is_hungry = due.values().any(|due| !due.is_empty()) || !work.fold.outstanding.is_empty();
        if work.stage == Stage::Running && is_hungry {
            for node_uid in allotment.keys() {
                *contenders.entry(node_uid.clone()).or_default() += 1;
            }
        }
    }
    contenders
}

/// Positions of the jobs, the one with the fewest slot-seconds out first; the older one first among equals
/// (`jobs` stand in the order of age).
pub(crate) fn order(jobs: &[Work<'_>]) -> Vec<usize> {
    let seconds: Vec<f64> = jobs.iter().map(slot_seconds).collect();
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|a, b| seconds[*a].total_cmp(&seconds[*b]));
    order
}

/// Work that is out, in slot-seconds; a second for an index of unknown cost.
fn slot_seconds(work: &Work<'_>) -> f64 {
    let out = |draft: &Draft<'_>| {
        let count: u64 = draft.outstanding.values().map(IndexSet::count).sum();
        count as f64 / draft.rate().unwrap_or(1.0)
    };
    work.drafts.iter().map(out).sum()
}

/// Splits `total` in proportion to `weights`; the parts add up to it. The largest remainders get what is
/// left over, the first among equals.
pub(crate) fn split(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let exact = |weight: u64| u128::from(total) * u128::from(weight);
    let mut parts: Vec<u64> = weights.iter().map(|weight| (exact(*weight) / sum) as u64).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(exact(weights[*at]) % sum));
    let left_over = total - parts.iter().sum::<u64>();
    by_remainder.into_iter().cycle().take(left_over as usize).for_each(|at| parts[at] += 1);
    parts
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn parts_follow_the_weights_and_add_up() {
        assert_eq!(split(16, &[2, 2, 2]), [6, 5, 5]);
        assert_eq!(split(10, &[4, 1, 0]), [8, 2, 0]);
        assert_eq!(split(1, &[1, 3]), [0, 1]);
        assert_eq!(split(5, &[0, 0]), [0, 0]);
    }
}
