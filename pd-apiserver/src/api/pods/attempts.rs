//! Attempts: what one node runs, and what has ended there. Pure.

use jiff::Timestamp;
use schemas::{
    Assignment, Digest,
    assignment::{FailureOutcome, Progress},
};

/// Attempts that have ended and are still shown, for each Assignment and each way to end.
const ENDED_MAX: usize = 10;

/// One try at one index on one node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attempt {
    pub(super) index: u64,
    /// From 1 up.
    pub(super) number: u32,
    pub(super) state: State,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Running {
        started_at: Timestamp,
        progress: Option<Progress>,
    },
    Succeeded {
        /// Artifact with its log, if it or a neighbour logged anything.
        logs: Option<Digest>,
    },
    Failed {
        outcome: FailureOutcome,
        message: String,
        /// Artifacts one of which may hold its log.
        logs: Vec<Digest>,
    },
}

impl Attempt {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// What runs, and the newest of what has ended.
pub(super) fn recent(assignment: &Assignment) -> Vec<Attempt> {
    let Some(status) = &assignment.status else { return Vec::new() };
    let mut all: Vec<Attempt> = status.running.iter().map(running).collect();
    let failed = status.failures.iter().rev().flat_map(|failure| {
        let indexes: Vec<u64> = failure.indexes.iter().take(ENDED_MAX).collect();
        indexes.into_iter().map(|index| failed(index, failure))
    });
    all.extend(failed.take(ENDED_MAX));
    let succeeded = status.segments.iter().rev().flat_map(|segment| {
        let indexes: Vec<u64> = segment.indexes.iter().take(ENDED_MAX).collect();
        indexes.into_iter().map(|index| succeeded(assignment, index, segment.logs))
    });
    all.extend(succeeded.take(ENDED_MAX));
    all
}

/// The attempt of that number at that index, if this node knows of it.
pub(super) fn find(assignment: &Assignment, index: u64, attempt: u32) -> Option<Attempt> {
    let status = assignment.status.as_ref()?;
    if let Some(found) = status.running.iter().find(|run| run.index == index && run.attempt == attempt) {
        return Some(running(found));
    }
    let failure = status.failures.iter().find(|f| f.attempt == attempt && f.indexes.contains(index));
    if let Some(failure) = failure {
        return Some(failed(index, failure));
    }
    let segment = status.segments.iter().find(|segment| segment.indexes.contains(index))?;
    Some(succeeded(assignment, index, segment.logs)).filter(|found| found.number == attempt)
}

fn running(running: &schemas::assignment::Running) -> Attempt {
    let state = State::Running { started_at: running.started_at, progress: running.progress };
    Attempt { index: running.index, number: running.attempt, state }
}

fn failed(index: u64, failure: &schemas::assignment::Failure) -> Attempt {
    let (message, logs) = (failure.message.clone(), failure.logs.clone());
    Attempt { index, number: failure.attempt, state: State::Failed { outcome: failure.outcome, message, logs } }
}

/// A segment does not say which attempt it was: the grant does.
fn succeeded(assignment: &Assignment, index: u64, logs: Option<Digest>) -> Attempt {
    let grant = assignment.spec.grants.iter().find(|grant| grant.indexes.contains(index));
    Attempt { index, number: grant.map_or(1, |grant| grant.attempt), state: State::Succeeded { logs } }
}
