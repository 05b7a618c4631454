//! Uptake: how long it takes until a node has seen what was written to its assignment.
//!
//! In: our writes, and the reports that say which generation a node has observed. Out: durations, and what is usual just
//! now.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use schemas::Assignment;

use super::shelf::{Key, key};

/// Uptakes by which the usual one is judged: some seconds of a busy cluster. The median of them is not moved by a node
/// that hangs.
const RECENT: usize = 63;

/// The writes that nodes have not taken up.
#[derive(Default)]
pub(super) struct Uptake {
    /// By assignment: the oldest generation that its node has not observed, and when it was written. No more than there
    /// are assignments.
    waiting: BTreeMap<Key, (i64, Instant)>,
    taken: Vec<Duration>,
    recent: VecDeque<Duration>,
}

impl Uptake {
    /// We have written an assignment, and this is what came of it.
    pub(super) fn wrote(&mut self, assignment: &Assignment, now: Instant) {
        let generation = assignment.metadata.generation.unwrap_or_default();
        if observed(assignment) < generation {
            self.waiting.entry(key(assignment)).or_insert((generation, now));
        }
    }

    /// An assignment as it is now; absent: it is gone.
    pub(super) fn saw(&mut self, at: &Key, assignment: Option<&Assignment>, now: Instant) {
        let Some((generation, written)) = self.waiting.get(at).copied() else { return };
        match assignment.map(observed) {
            Some(observed) if observed < generation => {}
            Some(_) => {
                self.waiting.remove(at);
                let uptake = now.saturating_duration_since(written);
                self.taken.push(uptake);
                self.recent.push_back(uptake);
                if self.recent.len() > RECENT {
                    self.recent.pop_front();
                }
            }
            None => drop(self.waiting.remove(at)),
        }
    }

    /// How long it usually takes; zero until enough was measured.
    pub(super) fn usual(&self) -> Duration {
        if self.recent.len() < RECENT {
            return Duration::ZERO;
        }
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted[RECENT / 2]
    }

    /// What was measured since this was last asked.
    pub(super) fn take(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.taken)
    }
}

fn observed(assignment: &Assignment) -> i64 {
    assignment.status.as_ref().map_or(0, |status| status.observed_generation)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assignment(generation: i64, observed: i64) -> Assignment {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Assignment",
            "metadata": {"name": "a", "namespace": "default", "generation": generation},
            "spec": {"job": {"name": "j", "uid": "u"}, "nodeName": "n", "nodeUid": "n",
                "work": {"module": digest, "memory": "1Mi", "subtaskTimeout": "1s"}},
            "status": {"nodeUid": "n", "observedGeneration": observed},
        }))
        .unwrap()
    }

    #[test]
    fn the_oldest_write_that_is_not_seen_counts() {
        let (mut uptake, start) = (Uptake::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let key = key(&assignment(1, 0));
        uptake.wrote(&assignment(1, 0), at(0));
        uptake.wrote(&assignment(2, 0), at(10));
        uptake.saw(&key, Some(&assignment(2, 0)), at(20));
        assert!(uptake.take().is_empty(), "our own write is no report");
        uptake.saw(&key, Some(&assignment(2, 1)), at(30));
        uptake.saw(&key, Some(&assignment(2, 2)), at(40));
        assert_eq!(uptake.take(), [Duration::from_millis(30)]);
    }

    #[test]
    fn the_usual_uptake_is_the_median_of_the_last_ones() {
        let (mut uptake, start) = (Uptake::default(), Instant::now());
        let key = key(&assignment(1, 0));
        for number in 0..2 * RECENT as i64 {
            assert_eq!(uptake.usual().is_zero(), number < RECENT as i64);
            uptake.wrote(&assignment(number + 1, number), start);
            let millis = if number % 3 == 0 { 60_000 } else { 100 };
            uptake.saw(&key, Some(&assignment(number + 1, number + 1)), start + Duration::from_millis(millis));
        }
        assert_eq!(uptake.usual(), Duration::from_millis(100));
    }

    #[test]
    fn what_is_gone_is_waited_for_no_more() {
        let mut uptake = Uptake::default();
        uptake.wrote(&assignment(1, 0), Instant::now());
        uptake.saw(&key(&assignment(1, 0)), None, Instant::now());
        assert!(uptake.waiting.is_empty() && uptake.take().is_empty());
    }
}
