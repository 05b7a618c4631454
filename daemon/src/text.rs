//! The text of a registry in the format that a scraper asks for: OpenMetrics, or Prometheus' older text format
//! for whoever does not name OpenMetrics in `Accept` (curl, `promtool check metrics`).

use std::fmt::{self, Write as _};

use prometheus_client::{encoding::text::encode, registry::Registry};

/// Content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the older format.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Content type and text for a request with that `Accept` header.
pub fn answer(registry: &Registry, accept: Option<&str>) -> Result<(&'static str, String), fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        Ok((OPEN_METRICS, text))
    } else {
        Ok((PLAIN, plain(&text)?))
    }
}

/// From OpenMetrics to the older format: a counter is declared under the name of its samples, infos are gauges,
/// and there are neither units nor an end mark.
fn plain(open_metrics: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(open_metrics.len());
    // A family's HELP stands before its TYPE, and needs to know it.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                writeln!(text, "# HELP {name}{suffix} {help}")?;
            }
            writeln!(text, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
        registry::Unit,
    };

    use super::*;

    fn registry() -> Registry {
        crate::registry("pd_thing", |own| {
            own.register("steps", "Steps taken", Counter::<u64>::default());
            own.register("depth", "Depth now", Gauge::<i64>::default());
            own.register_with_unit("walk", "Time of a walk", Unit::Seconds, Histogram::new([1.0]));
        })
    }

    #[test]
    fn whoever_asks_for_open_metrics_gets_it() {
        let accept = Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        let (kind, text) = answer(&registry(), accept).expect("encodes");
        assert!(kind.starts_with("application/openmetrics-text") && text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains("# TYPE pd_thing_steps counter\n"), "{text}");
    }

    #[test]
    fn everybody_else_gets_the_older_format() {
        for accept in [None, Some("*/*")] {
            let (kind, text) = answer(&registry(), accept).expect("encodes");
            assert!(kind.starts_with("text/plain"));
            for line in [
                "# HELP pd_thing_steps_total Steps taken.",
                "# TYPE pd_thing_steps_total counter",
                "pd_thing_steps_total 0",
                "# TYPE pd_thing_build_info gauge",
                "# TYPE pd_thing_depth gauge",
                "# HELP pd_thing_walk_seconds Time of a walk.",
                "# TYPE pd_thing_walk_seconds histogram",
            ] {
                assert!(text.lines().any(|found| found == line), "`{line}` is missing in\n{text}");
            }
            assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
        }
    }
}
