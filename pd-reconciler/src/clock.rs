//! The one clock that decides: wall time at our start plus what a monotonic clock has counted since. It never
//! jumps, so no silence is mistaken for another.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started_at: Timestamp::now(), started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.started_at.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}
