//! Ages as kubectl prints them: `45s`, `3m20s`, `2d`.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// From an RFC 3339 time to `now`; `<unknown>` when it is none.
pub(crate) fn age(since: &str, now: Timestamp) -> String {
    since
        .parse::<Timestamp>()
        .map_or_else(|_| "<unknown>".to_owned(), |since| human(now.as_second() - since.as_second()))
}

/// Follows `k8s.io/apimachinery/pkg/util/duration.HumanDuration`; a negative span (a time to come) is
/// marked with `in`, where upstream prints `<invalid>`.
fn human(seconds: i64) -> String {
    if seconds < -1 {
        return format!("in {}", human(-seconds));
    }
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
    };
    match seconds.max(0) {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (3 * HOUR + 60, "3h1m"),
            (9 * HOUR, "9h"),
            (2 * DAY, "2d"),
            (3 * DAY + HOUR, "3d1h"),
            (400 * DAY, "400d"),
            (-1, "0s"),
            (-90, "in 90s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }
}
