//! Policy: the numbers that the plan decides by. Data only; each default carries its arithmetic.

use std::time::Duration;

use schemas::Job;

/// The numbers that the plan decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Silence after which a node is suspect: leases are renewed and listed each second, so two renewals were
    /// missed.
    pub suspect_after: Duration,
    /// Silence after which a node is lost. Leases are renewed each second, so five were missed.
    pub lost_after: Duration,
    /// Silence after which nodes are lost although more than half of them fell silent together: until then
    /// we suspect ourselves, not them.
    pub mass_lost_after: Duration,
    /// Least work of one grant per slot: twenty round trips on a LAN keep the overhead of granting under 5 %.
    pub grant_min: Duration,
    /// Most work of one grant per slot: bounds what a lost node costs, how long a newcomer waits, and how
    /// long a cancelled job runs on.
    pub grant_max: Duration,
    /// A node with less than this queued is topped up: one coalesced report (250 ms) and a few round trips.
    pub refill_below: Duration,
    /// A write, the node that sees it, and its answer: two group commits and a LAN.
    pub round_trip: Duration,
    /// Whether an idle node may be given what another one has not started; each job may say no for itself.
    pub work_stealing: bool,
    /// A node that would end later than an idle one by less than this, or by less than four round trips, is
    /// not stolen from.
    pub steal_gap_min: Duration,
    /// One slot in so many may run a copy of what another node is stuck with; one slot always may.
    pub slots_per_copy: u32,
    /// A slot that copies small subtasks of a silent node takes so much work of it at once.
    pub copy_work: Duration,
    /// First grant of a job on a node whose rate is not known, per slot: one runs, one is queued.
    pub probe_per_slot: u32,
    /// A fresh job with at most this many subtasks per slot is given out whole, in one round.
    pub whole_per_slot: u32,
    /// A fresh job with at most this many subtasks is given out whole however few the slots.
    pub whole_min: u64,
    /// Pairs of a job and a node up to which jobs of one kind take turns on every node. Each pair is an object, and
    /// reports a few times a second: the server stores some thousand reports a second.
    pub pairs_max: usize,
    /// With more pairs than that, a job that is being planned has its part of the slots kept free for so long: else the
    /// first of many jobs would be everywhere before the last one comes, and each would be on many nodes for a moment.
    pub planned_within: Duration,
    /// Longest delay before a retry.
    pub retry_delay_max: Duration,
    /// A node's idleness is explained when the reason has held for so long: nodes between two jobs need no
    /// writes.
    pub explain_after: Duration,
    /// The same for each node that there is, if that is longer: however often reasons change, explaining a thousand nodes
    /// costs no more than fifty writes a second.
    pub explain_after_per_node: Duration,
    /// A CachedResult that no job has used for so long goes, and with it what it names.
    pub cache_unused_max: Duration,
    /// CachedResults kept: they are held in memory here, some 10 KiB each.
    pub cache_entries_max: usize,
    /// Bytes of artifacts kept for CachedResults.
    pub cache_bytes_max: u64,
    /// Least time between two writes of one running job's status.
    pub status_interval_min: Duration,
    /// The same for a job that runs for long.
    pub status_interval_max: Duration,
}

/// A running job's status is written at most that many times while its age doubles, about: the interval is
/// the job's age over this, within the two limits. Ten minutes cost some 400 writes.
pub(crate) const STATUS_WRITES_PER_AGE: u32 = 100;

/// A control plane that is slower than this many times what is usual is not waited for any longer: a grant of half a
/// minute is as much as anybody should lose with a node.
const SLOWNESS_MAX: f64 = 16.0;

impl Policy {
    /// Whether what a node of this job has not started may go to another.
    pub(crate) fn steals(&self, job: &Job) -> bool {
        self.work_stealing && job.spec.work_stealing
    }

    /// The same for a control plane that is slow just now: `uptake` is how long it takes until a node has seen what was
    /// written for it and has said so. What is meant in round trips grows with them, so that a crowded server is asked
    /// less often and no slot waits for it.
    #[must_use]
    pub fn at_uptake(&self, uptake: Duration) -> Self {
        let slowness = uptake.as_secs_f64() / self.refill_below.as_secs_f64().max(f64::MIN_POSITIVE);
        let times = |span: Duration| span.mul_f64(slowness.clamp(1.0, SLOWNESS_MAX));
        Self {
            grant_min: times(self.grant_min),
            grant_max: times(self.grant_max),
            refill_below: times(self.refill_below),
            round_trip: self.round_trip.max(uptake.saturating_sub(self.refill_below)),
            status_interval_min: times(self.status_interval_min),
            ..self.clone()
        }
    }

    /// Time that a steal has to win: it costs four messages, and less than this is noise.
    pub(crate) fn steal_gap(&self) -> Duration {
        self.steal_gap_min.max(4 * self.round_trip)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_millis(2500),
            lost_after: Duration::from_secs(5),
            mass_lost_after: Duration::from_secs(15),
            grant_min: Duration::from_millis(50),
            grant_max: Duration::from_secs(2),
            refill_below: Duration::from_millis(400),
            round_trip: Duration::from_millis(5),
            work_stealing: true,
            steal_gap_min: Duration::from_millis(20),
            slots_per_copy: 10,
            copy_work: Duration::from_millis(500),
            probe_per_slot: 2,
            whole_per_slot: 4,
            whole_min: 24,
            pairs_max: 1024,
            planned_within: Duration::from_secs(3),
            retry_delay_max: Duration::from_mins(1),
            explain_after: Duration::from_secs(2),
            explain_after_per_node: Duration::from_millis(20),
            cache_unused_max: Duration::from_hours(7 * 24),
            cache_entries_max: 2_000,
            cache_bytes_max: 16 << 30,
            status_interval_min: Duration::from_millis(250),
            status_interval_max: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_control_plane_is_asked_less_often() {
        let usual = Policy::default();
        assert_eq!(usual.at_uptake(Duration::from_millis(200)), usual);
        let slow = usual.at_uptake(usual.refill_below * 5);
        assert_eq!((slow.grant_min, slow.grant_max), (usual.grant_min * 5, usual.grant_max * 5));
        assert_eq!(slow.round_trip, usual.refill_below * 4);
        let stuck = usual.at_uptake(Duration::from_hours(1));
        assert!(stuck.grant_max < Duration::from_mins(1), "{stuck:?}");
    }
}
