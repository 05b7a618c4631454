//! Back-off: when a failed index may be tried again. The first delay is the job's `retryDelay`, each further
//! one is doubled, up to a limit, and spread by up to a quarter so that what failed together does not come
//! back together. Time counts from when we first saw the failure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use schemas::IndexSet;

use crate::{
    action::Plan,
    job::{Stage, Work},
    policy::Policy,
    retry,
    snapshot::Cohort,
    time::after,
};

/// Doublings beyond this are the limit anyway: 2^20 of even a millisecond is a quarter of an hour.
const DOUBLINGS_MAX: u32 = 20;

/// What may be given out now, by the attempt that it would be.
pub(crate) type Due = BTreeMap<u32, IndexSet>;

/// Remembers new failures and says what is due.
pub(crate) fn release(work: &mut Work<'_>, now: Timestamp, policy: &Policy, plan: &mut Plan) -> Due {
    let mut due = Due::new();
    if work.stage != Stage::Running {
        return due;
    }
    remember(work, now);
    if let Some(fresh) = work.fold.waiting.get(&0) {
        due.insert(1, fresh.clone());
    }
    let base = work.job.spec.retry_delay.0;
    for cohort in &work.memory.failed {
        let delayed = retry::counting(work.job, cohort.attempt, &cohort.indexes);
        // Somebody who asks for a retry does not want to wait for it.
        let asked_for = &cohort.indexes - &delayed;
        if !asked_for.is_empty() {
            *due.entry(cohort.attempt + 1).or_default() |= &asked_for;
        }
        for interval in delayed.ranges() {
            let delay = delay(base, cohort.attempt, work.uid(), *interval.start(), policy.retry_delay_max);
            let at = after(cohort.seen, delay);
            if at <= now {
                due.entry(cohort.attempt + 1).or_default().insert_range(interval);
            } else {
                plan.wake(at);
            }
        }
    }
    due
}

/// Keeps the moment at which each waiting failure was first seen.
fn remember(work: &mut Work<'_>, now: Timestamp) {
    let waiting = &work.fold.waiting;
    for cohort in &mut work.memory.failed {
        let left = waiting.get(&cohort.attempt).map_or_else(IndexSet::new, |waiting| waiting & &cohort.indexes);
        if left != cohort.indexes {
            cohort.indexes = left;
        }
    }
    work.memory.failed.retain(|cohort| !cohort.indexes.is_empty());
    for (attempt, waiting) in waiting.range(1..) {
        let mut unseen = waiting.clone();
        let known = work.memory.failed.iter().filter(|cohort| cohort.attempt == *attempt);
        known.for_each(|cohort| unseen -= &cohort.indexes);
        if !unseen.is_empty() {
            work.memory.failed.push(Cohort { attempt: *attempt, seen: now, indexes: unseen });
        }
    }
}

/// Delay after the failure of `attempt`.
pub(crate) fn delay(base: Duration, attempt: u32, job_uid: &str, index: u64, max: Duration) -> Duration {
    let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
    let plain = base.saturating_mul(1 << doublings).min(max);
    let spread = plain.mul_f64(0.25 * fraction(job_uid, attempt, index));
    plain.saturating_add(spread).min(max)
}

/// A number in 0..1 that depends on its arguments only (FNV-1a, 64 bit).
fn fraction(job_uid: &str, attempt: u32, index: u64) -> f64 {
    let bytes = job_uid.bytes().chain(attempt.to_le_bytes()).chain(index.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_are_spread() {
        let max = Duration::from_mins(1);
        let delay = |attempt, index| delay(Duration::from_millis(100), attempt, "uid", index, max).as_millis();
        for (attempt, plain) in [(1, 100), (2, 200), (3, 400), (4, 800)] {
            assert!((plain..=plain * 5 / 4).contains(&delay(attempt, 7)), "{attempt}");
        }
        assert_eq!(delay(30, 7), 60_000);
        assert_ne!(delay(1, 7), delay(1, 8));
        assert_eq!(delay(1, 7), delay(1, 7));
    }
}
