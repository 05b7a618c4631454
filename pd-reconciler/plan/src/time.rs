//! Arithmetic on instants that saturates instead of panicking. No clock is read here or anywhere in this crate.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `span` after `from`.
pub(crate) fn after(from: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    from.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// Time from `from` to `now`; zero when `from` lies ahead.
pub(crate) fn since(from: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// `at` cut to whole milliseconds, as times are stored.
pub(crate) fn to_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
