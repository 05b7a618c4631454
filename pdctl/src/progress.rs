//! Progress on stderr: bars on a terminal, nothing otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use schemas::job::JobStatus;

use crate::{age, output, text};

/// Between two redraws of a bar that nothing happens to.
const TICK: Duration = Duration::from_millis(120);

/// Bytes on their way.
#[derive(Clone)]
pub(crate) struct Transfer(ProgressBar);

impl Transfer {
    /// Shows up only when there is a terminal to show it on.
    pub(crate) fn new(message: String, bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), target());
        bar.set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"));
        bar.set_message(text::one_line(&message).into_owned());
        Self(bar)
    }

    /// One that nobody sees.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A Job on its way.
pub(crate) struct JobBar {
    bar: ProgressBar,
    nodes: Option<usize>,
    status: Option<JobStatus>,
}

impl JobBar {
    pub(crate) fn new(job: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        bar.set_style(style("{prefix} {spinner} {msg}"));
        bar.set_prefix(job.to_owned());
        bar.set_message("waiting to be planned");
        bar.enable_steady_tick(TICK);
        Self { bar, nodes: None, status: None }
    }

    /// For what is a job; nothing to see otherwise.
    pub(crate) fn for_kind(is_job: bool, name: &str) -> Self {
        if is_job { Self::new(name) } else { Self::hidden() }
    }

    /// One that nobody sees.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), nodes: None, status: None }
    }

    /// Whether anybody sees it: what only the bar needs is not worth asking for otherwise.
    pub(crate) fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows a new status.
    pub(crate) fn update(&mut self, status: &JobStatus) {
        let total = status.subtasks.total;
        if total > 0 && self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style("{prefix} [{bar:30}] {pos}/{len} {msg}"));
        }
        self.bar.set_position(status.subtasks.succeeded);
        self.status = Some(status.clone());
        self.redraw();
    }

    /// Shows how many nodes work on it.
    pub(crate) fn set_nodes(&mut self, nodes: usize) {
        self.nodes = Some(nodes);
        self.redraw();
    }

    /// Says something beside the bar.
    pub(crate) fn note(&self, line: &str) {
        self.bar.suspend(|| output::note(line));
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn redraw(&self) {
        if let Some(status) = &self.status {
            self.bar.set_message(summary(status, self.nodes, Timestamp::now()));
        }
    }
}

/// `120/s  16 running  2 failed  3 nodes  ETA 5s`
fn summary(status: &JobStatus, nodes: Option<usize>, now: Timestamp) -> String {
    let counts = &status.subtasks;
    let state = status.state.as_deref().unwrap_or("Waiting");
    let mut parts = Vec::new();
    if state != "Running" {
        parts.push(state.to_lowercase());
    }
    parts.extend(status.throughput.filter(|rate| *rate > 0.0).map(rate));
    if counts.running > 0 {
        parts.push(format!("{} running", counts.running));
    }
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    parts.extend(nodes.filter(|nodes| *nodes > 0).map(|nodes| text::counted(nodes as u64, "node")));
    if let Some(eta) = status.estimated_completion_time.filter(|eta| *eta > now && counts.pending + counts.running > 0)
    {
        parts.push(format!("ETA {}", age::human(eta.as_second() - now.as_second())));
    }
    parts.join("  ")
}

/// `0.25/s`, `12.5/s`, `8300/s`
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        ..1.0 => format!("{per_second:.2}/s"),
        1.0..100.0 => format!("{per_second:.1}/s"),
        _ => format!("{per_second:.0}/s"),
    }
}

fn target() -> ProgressDrawTarget {
    if output::stderr_is_live() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("invariant: the templates are constants");
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use schemas::job::SubtaskCounts;

    use super::*;

    #[test]
    fn the_bar_says_what_matters_now() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut status = JobStatus {
            state: Some("Running".to_owned()),
            subtasks: SubtaskCounts { total: 100, succeeded: 50, failed: 1, running: 16, pending: 33 },
            throughput: Some(120.4),
            estimated_completion_time: "2026-01-01T00:00:05Z".parse().ok(),
            ..JobStatus::default()
        };
        assert_eq!(summary(&status, Some(3), now), "120/s  16 running  1 failed  3 nodes  ETA 5s");
        status = JobStatus { state: Some("Planning".to_owned()), ..JobStatus::default() };
        assert_eq!(summary(&status, None, now), "planning");
    }

    #[test]
    fn rates_have_the_digits_they_deserve() {
        assert_eq!([0.254, 12.54, 8300.4].map(rate), ["0.25/s", "12.5/s", "8300/s"]);
    }
}
