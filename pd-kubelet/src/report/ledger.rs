//! The ledger of one Assignment: what has ended here and where its bytes are. Plain data, written to the
//! spool before it is reported.

use std::collections::BTreeMap;

use schemas::{
    AssignmentStatus, Digest, IndexSet,
    assignment::{Failure, FailureOutcome, MergeReport, PlanReport, Segment},
    limits::FAILURE_GROUPS_MAX,
};
use serde::{Deserialize, Serialize};

use super::{View, pack::Packed};
use crate::slots::Failed;

/// Groups that keep their own message; the rest of `FAILURE_GROUPS_MAX` is for groups that several messages
/// were folded into, one for each attempt and outcome.
const DISTINCT_GROUPS_MAX: usize = FAILURE_GROUPS_MAX / 2;
/// Log artifacts kept for one group of failures.
const FAILURE_LOGS_MAX: usize = 16;
/// What a folded group says.
const FOLDED: &str = "several different messages; only the first groups of failures keep theirs";
/// Weight of the newest sample in the rate, as scheduling's rule 1 has it.
const ALPHA: f64 = 0.3;
/// A run that lasted less counts for less: it says more of hand-overs than of work.
const SAMPLE_SECONDS: f64 = 0.035;

/// Where an artifact that was made here stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobState {
    pub size: u64,
    pub uploaded: bool,
}

/// What has ended here of one Assignment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Our node's UID when the work was done.
    pub node_uid: String,
    pub segments: Vec<Segment>,
    pub failures: Vec<Failure>,
    pub found: IndexSet,
    pub plan: Option<PlanReport>,
    /// The try that `plan` answers.
    #[serde(default)]
    pub plan_attempt: u32,
    pub merge: Option<MergeReport>,
    pub started: u64,
    pub rate: f64,
    pub busy_seconds: f64,
    /// Every artifact made here that the status names.
    pub blobs: BTreeMap<Digest, BlobState>,
}

impl Ledger {
    pub(crate) fn new(node_uid: String) -> Self {
        Self { node_uid, ..Self::default() }
    }

    /// Indexes whose output is kept.
    pub(crate) fn completed(&self) -> IndexSet {
        self.segments.iter().flat_map(|segment| segment.indexes.ranges()).collect()
    }

    /// Indexes that failed, by attempt.
    pub(crate) fn failed(&self) -> BTreeMap<u32, IndexSet> {
        let mut failed: BTreeMap<u32, IndexSet> = BTreeMap::new();
        for failure in &self.failures {
            *failed.entry(failure.attempt).or_default() |= &failure.indexes;
        }
        failed
    }

    /// Takes a packed segment in.
    pub(crate) fn add(&mut self, packed: Packed) {
        for (digest, size) in packed.blobs {
            self.blob(digest, size);
        }
        self.segments.push(packed.segment);
    }

    /// Names an artifact that was made here.
    pub(crate) fn blob(&mut self, digest: Digest, size: u64) {
        self.blobs.entry(digest).or_insert(BlobState { size, uploaded: false });
    }

    /// Puts one segment in the place of those at `positions` (ascending); answers the blobs that nothing
    /// names any more.
    pub(crate) fn replace(&mut self, positions: &[usize], packed: Packed) -> Vec<Digest> {
        let mut old = Vec::new();
        for position in positions.iter().rev() {
            let segment = self.segments.remove(*position);
            old.push(segment.digest);
            old.extend(segment.logs);
        }
        self.add(packed);
        old.retain(|digest| !self.segments.iter().any(|s| s.digest == *digest || s.logs == Some(*digest)));
        for digest in &old {
            self.blobs.remove(digest);
        }
        old
    }

    /// Files a failed attempt under what happened. `logs` is the artifact with its log.
    pub(crate) fn fail(&mut self, attempt: u32, failed: &Failed, logs: Option<Digest>) {
        let position = self.group(attempt, failed.outcome, &failed.message);
        let group = &mut self.failures[position];
        group.indexes.insert(failed.index);
        if let Some(logs) = logs
            && !group.logs.contains(&logs)
            && group.logs.len() < FAILURE_LOGS_MAX
        {
            group.logs.push(logs);
        }
    }

    fn group(&mut self, attempt: u32, outcome: FailureOutcome, message: &str) -> usize {
        let same = |text: &str| {
            let text = text.to_owned();
            move |group: &Failure| group.attempt == attempt && group.outcome == outcome && group.message == text
        };
        if let Some(position) = self.failures.iter().position(same(message)) {
            return position;
        }
        let distinct = self.failures.iter().filter(|group| group.message != FOLDED).count();
        let message = if distinct < DISTINCT_GROUPS_MAX { message } else { FOLDED };
        if let Some(position) = self.failures.iter().position(same(message)) {
            return position;
        }
        let message = message.to_owned();
        self.failures.push(Failure { attempt, outcome, message, indexes: IndexSet::new(), logs: Vec::new() });
        self.failures.len() - 1
    }

    /// Counts a run into rate and use.
    pub(crate) fn sample(&mut self, ended: u64, seconds: f64) {
        self.busy_seconds += seconds;
        if ended > 0 && seconds > 0.0 {
            let sample = ended as f64 / seconds;
            let weight = ALPHA * (seconds / SAMPLE_SECONDS).min(1.0);
            self.rate = if self.rate > 0.0 { self.rate + weight * (sample - self.rate) } else { sample };
        }
    }

    /// Takes over what the server knows of us and we do not: after our disk was lost.
    pub(crate) fn adopt(&mut self, status: &AssignmentStatus) {
        if status.node_uid != self.node_uid {
            return;
        }
        let mut completed = self.completed();
        for segment in &status.segments {
            if segment.indexes.is_disjoint(&completed) {
                completed |= &segment.indexes;
                self.segments.push(segment.clone());
            }
        }
        if self.failures.is_empty() {
            self.failures.clone_from(&status.failures);
        }
        self.found |= &status.found;
        if self.plan.is_none() {
            (self.plan, self.plan_attempt) = (status.plan.clone(), status.plan_attempt);
        }
        self.merge = self.merge.take().or_else(|| status.merge.clone());
        self.started = self.started.max(status.started);
        self.busy_seconds = self.busy_seconds.max(status.busy_seconds);
        self.rate = if self.rate > 0.0 { self.rate } else { status.rate };
    }

    /// Drops what is neither at the server nor whole on this disk; answers the indexes that lost their output.
    pub(crate) fn drop_damaged(&mut self, whole: impl Fn(Digest) -> bool) -> IndexSet {
        let lost: Vec<Digest> =
            self.blobs.iter().filter(|(digest, state)| !state.uploaded && !whole(**digest)).map(|(d, _)| *d).collect();
        let mut indexes = IndexSet::new();
        self.segments.retain_mut(|segment| {
            if segment.logs.is_some_and(|logs| lost.contains(&logs)) {
                segment.logs = None;
            }
            let keep = !lost.contains(&segment.digest);
            if !keep {
                indexes |= &segment.indexes;
            }
            keep
        });
        for failure in &mut self.failures {
            failure.logs.retain(|logs| !lost.contains(logs));
        }
        if let Some(PlanReport::Layout(layout)) = &self.plan
            && layout.state.is_some_and(|state| lost.contains(&state))
        {
            self.plan = None;
        }
        if self.merge.as_ref().and_then(|merge| merge.result.as_ref()).is_some_and(|r| lost.contains(&r.artifact)) {
            self.merge = None;
        }
        for digest in &lost {
            self.blobs.remove(digest);
        }
        indexes
    }

    /// What the server is told.
    pub(crate) fn status(&self, view: &View) -> AssignmentStatus {
        let completed = self.completed();
        let retained = &view.retained - &completed;
        AssignmentStatus {
            node_uid: self.node_uid.clone(),
            observed_generation: view.generation,
            plan: self.plan.clone(),
            plan_attempt: self.plan_attempt,
            succeeded: completed.count(),
            segments: self.segments.clone(),
            failures: self.failures.clone(),
            retained,
            running: view.running.iter().filter(|running| !completed.contains(running.index)).cloned().collect(),
            found: self.found.clone(),
            merge: self.merge.clone(),
            started: self.started,
            rate: self.rate,
            busy_seconds: self.busy_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(index: u64, message: &str) -> Failed {
        Failed { index, outcome: FailureOutcome::Trap, message: message.to_owned(), log: String::new() }
    }

    #[test]
    fn failures_are_grouped_and_their_number_is_bounded() {
        let mut ledger = Ledger::new("n".into());
        for index in 0..500 {
            ledger.fail(1, &failed(index, &format!("message {}", index % 100)), None);
        }
        assert!(ledger.failures.len() <= FAILURE_GROUPS_MAX);
        assert_eq!(ledger.failed()[&1].count(), 500, "folding loses no index");
        assert_eq!(ledger.failures.iter().filter(|group| group.message == FOLDED).count(), 1);
        ledger.fail(2, &failed(7, "message 0"), None);
        assert_eq!(ledger.failed()[&2].to_string(), "7");
    }

    #[test]
    fn the_status_adds_up() {
        let mut ledger = Ledger::new("n".into());
        let segment = Segment { digest: Digest::of(b"s"), size: 1, indexes: IndexSet::first(4), logs: None };
        ledger.add(Packed { segment, blobs: vec![(Digest::of(b"s"), 1)] });
        ledger.fail(1, &failed(9, "boom"), None);
        ledger.sample(4, 2.0);
        let view = View { generation: 3, retained: "2-5,9".parse().expect("a set"), running: vec![] };
        let status = ledger.status(&view);
        assert_eq!((status.succeeded, status.observed_generation), (4, 3));
        assert_eq!(status.retained.to_string(), "4-5,9", "what failed before and runs again is retained");
        assert!((status.rate - 2.0).abs() < 1e-9 && (status.busy_seconds - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_the_server_knows_of_us_is_not_done_again() {
        let segment = |text: &str| Segment {
            digest: Digest::of(text.as_bytes()),
            size: 1,
            indexes: text.parse().expect("a set"),
            logs: None,
        };
        let mut ledger = Ledger::new("n".into());
        ledger.segments.push(segment("0-3"));
        let status = AssignmentStatus {
            node_uid: "n".into(),
            segments: vec![segment("2-5"), segment("7")],
            ..AssignmentStatus::default()
        };
        ledger.adopt(&status);
        assert_eq!(ledger.completed().to_string(), "0-3,7", "segments stay disjoint");
        let mut other = Ledger::new("another".into());
        other.adopt(&status);
        assert!(other.segments.is_empty());
    }
}
