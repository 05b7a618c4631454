//! Spans of time as kubectl prints them: two units while they matter, one when they do not.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A span in seconds: `97s`, `5m30s`, `45m`, `3h15m`, `30h`, `3d5h`, `300d`, `2y40d`.
pub(crate) fn human(seconds: i64) -> String {
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds, MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds, HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds, DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds, YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The larger unit and, unless it is zero, the rest in the smaller.
fn two(seconds: i64, large: i64, large_name: &str, small: i64, small_name: &str) -> String {
    match (seconds % large) / small {
        0 => format!("{}{large_name}", seconds / large),
        rest => format!("{}{large_name}{rest}{small_name}", seconds / large),
    }
}

/// A measured span: `639ms`, `1.3s`, then as `human`.
pub(crate) fn exact(milliseconds: i128) -> String {
    match milliseconds {
        ..1000 => format!("{}ms", milliseconds.max(0)),
        1000..120_000 => format!("{:.1}s", milliseconds as f64 / 1000.0),
        _ => human(milliseconds as i64 / 1000),
    }
}

/// How long ago `then` was; a time to come is `in 3h`.
pub(crate) fn since(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    // A clock that is a little behind the server's is not a time to come.
    if seconds < -2 { format!("in {}", human(-seconds)) } else { human(seconds) }
}

/// A date cell or field: a timestamp becomes its age, anything else stays.
pub(crate) fn of_text(text: &str, now: Timestamp) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), |then| since(then, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectls() {
        for (seconds, text) in [
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_600, "3h30m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (190_800, "2d5h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn measured_spans_keep_their_digits() {
        assert_eq!([-1, 639, 1292, 119_999, 150_000].map(exact), ["0ms", "639ms", "1.3s", "120.0s", "2m30s"]);
    }

    #[test]
    fn a_time_to_come_says_so() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        assert_eq!(of_text("2026-01-02T00:00:00Z", now), "in 24h");
        assert_eq!(of_text("2026-01-01T00:00:01Z", now), "0s");
        assert_eq!(of_text("2025-12-31T23:59:00Z", now), "60s");
        assert_eq!(of_text("<unknown>", now), "<unknown>");
    }
}
