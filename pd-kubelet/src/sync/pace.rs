//! How many indexes one run takes: enough that hand-overs cost nothing, few enough that what has started
//! ends soon (a started run cannot be withdrawn).

/// A run aims at this many seconds; between the 20 ms under which hand-overs begin to show and the 50 ms a
/// thief should wait at most.
const RUN_SECONDS: f64 = 0.035;
/// Weight of the newest run in the average.
const ALPHA: f64 = 0.3;
/// As above, for a run that was more than twice as fast.
const ALPHA_FASTER: f64 = 0.8;
/// A run is at most this many times the last one: an estimate from a few cheap indexes may be wrong.
const GROWTH_MAX: u64 = 32;
/// The least share of a run's time that is worth a hand-over: about a millisecond.
const CRUMBS: u64 = 32;
/// Indexes of one run: some 35 ms of calls of a third of a microsecond, which is the least that one takes.
const RUN_INDEXES_MAX: u64 = 1 << 17;

/// Measured cost of one job's indexes on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    seconds: Option<f64>,
    longest: u64,
}

impl Pace {
    /// Takes in a run that has ended.
    pub fn measured(&mut self, indexes: u64, seconds: f64) {
        if indexes == 0 {
            return;
        }
        let sample = seconds.max(0.0) / indexes as f64;
        // A first run also pays for loading the job, so good news is believed sooner than bad news.
        let weight = |average: f64| if sample < average / 2.0 { ALPHA_FASTER } else { ALPHA };
        self.seconds = Some(self.seconds.map_or(sample, |average| average + weight(average) * (sample - average)));
        self.longest = self.longest.max(indexes);
    }

    /// Length of the next run, when `queued` indexes wait for `slots` slots. The first is a probe of one.
    pub fn run_length(&self, queued: u64, slots: u64) -> u64 {
        let Some(seconds) = self.seconds else { return 1 };
        let aimed = (RUN_SECONDS / seconds.max(1e-9)) as u64;
        // Near the end the rest is shared out, so that all slots stop at about the same time; but not into
        // crumbs.
        let share = queued.div_ceil(slots.max(1)).max(aimed / CRUMBS);
        aimed.min(self.longest.saturating_mul(GROWTH_MAX)).min(share).clamp(1, RUN_INDEXES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_is_a_probe_and_the_next_ones_last_about_a_run_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.run_length(1_000_000, 4), 1);
        pace.measured(1, 0.000_03);
        assert_eq!(pace.run_length(1_000_000, 4), GROWTH_MAX);
        pace.measured(32, 32.0 * 0.000_03);
        let length = pace.run_length(1_000_000, 4);
        assert!((900..1200).contains(&length), "{length}");
    }

    #[test]
    fn long_indexes_run_alone_and_the_tail_is_shared() {
        let mut pace = Pace::default();
        pace.measured(1, 2.0);
        assert_eq!(pace.run_length(1000, 4), 1);
        let mut pace = Pace::default();
        pace.measured(10, 0.01);
        assert_eq!(pace.run_length(15, 4), 4);
        assert_eq!(pace.run_length(0, 4), 1);
        let mut pace = Pace::default();
        pace.measured(1000, 0.03);
        assert!(pace.run_length(15, 4) > 15, "crumbs are not shared");
    }
}
