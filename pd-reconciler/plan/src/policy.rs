//! Policy: the numbers that the plan decides by. Data only; each default carries its arithmetic.

use std::time::Duration;

/// The numbers that the plan decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
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
    /// First grant of a job on a node whose rate is not known, per slot: one runs, one is queued.
    pub probe_per_slot: u32,
    /// A fresh job with at most this many subtasks per slot is given out whole, in one round.
    pub whole_per_slot: u32,
    /// A fresh job with at most this many subtasks is given out whole however few the slots.
    pub whole_min: u64,
    /// Longest delay before a retry.
    pub retry_delay_max: Duration,
    /// Least time between two writes of one running job's status.
    pub status_interval_min: Duration,
    /// The same for a job that runs for long.
    pub status_interval_max: Duration,
}

/// A running job's status is written at most that many times while its age doubles, about: the interval is
/// the job's age over this, within the two limits. Ten minutes cost some 400 writes.
pub(crate) const STATUS_WRITES_PER_AGE: u32 = 100;

impl Default for Policy {
    fn default() -> Self {
        Self {
            lost_after: Duration::from_secs(5),
            mass_lost_after: Duration::from_secs(15),
            grant_min: Duration::from_millis(50),
            grant_max: Duration::from_secs(2),
            refill_below: Duration::from_millis(400),
            probe_per_slot: 2,
            whole_per_slot: 4,
            whole_min: 24,
            retry_delay_max: Duration::from_mins(1),
            status_interval_min: Duration::from_millis(250),
            status_interval_max: Duration::from_secs(5),
        }
    }
}
