//! The ledger of one Assignment on one node: what has ended there, and what the server is told of it. Written after the
//! kubelet's; the outputs have no bytes here.

use std::collections::BTreeMap;

use schemas::{
    AssignmentStatus, Digest, IndexSet,
    assignment::{Failure, FailureOutcome, MergeReport, PlanReport, Running, Segment},
};

/// As in the kubelet's ledger.
const ALPHA: f64 = 0.3;
const SAMPLE_SECONDS: f64 = 0.035;

/// What has ended of one Assignment on one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) node_uid: String,
    pub(crate) completed: IndexSet,
    /// By attempt: what `sync` asks for.
    pub(crate) failed: BTreeMap<u32, IndexSet>,
    /// The same by attempt and outcome: what the server is told.
    failures: BTreeMap<(u32, FailureOutcome), IndexSet>,
    pub(crate) plan: Option<PlanReport>,
    /// The try that `plan` answers.
    pub(crate) plan_attempt: u32,
    pub(crate) merge: Option<MergeReport>,
    pub(crate) started: u64,
    pub(crate) rate: f64,
    pub(crate) busy_seconds: f64,
}

/// What a status says beside the outcomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) generation: i64,
    pub(crate) retained: IndexSet,
    pub(crate) running: Vec<Running>,
}

impl Ledger {
    pub(crate) fn new(node_uid: String) -> Self {
        Self { node_uid, ..Self::default() }
    }

    /// Counts a run into rate and use, as the kubelet's ledger does.
    pub(crate) fn sample(&mut self, ended: u64, seconds: f64) {
        self.busy_seconds += seconds;
        if ended > 0 && seconds > 0.0 {
            let sample = ended as f64 / seconds;
            let weight = ALPHA * (seconds / SAMPLE_SECONDS).min(1.0);
            self.rate = if self.rate > 0.0 { self.rate + weight * (sample - self.rate) } else { sample };
        }
    }

    /// Files failed attempts.
    pub(crate) fn fail(&mut self, attempt: u32, outcome: FailureOutcome, indexes: &IndexSet) {
        *self.failed.entry(attempt).or_default() |= indexes;
        *self.failures.entry((attempt, outcome)).or_default() |= indexes;
    }

    /// Takes over what the server knows of us and we do not.
    pub(crate) fn adopt(&mut self, status: &AssignmentStatus) {
        if status.node_uid != self.node_uid {
            return;
        }
        self.completed |= &status.completed();
        if self.failed.is_empty() {
            for failure in &status.failures {
                self.fail(failure.attempt, failure.outcome, &failure.indexes);
            }
        }
        if self.plan.is_none() {
            (self.plan, self.plan_attempt) = (status.plan.clone(), status.plan_attempt);
        }
        self.merge = self.merge.take().or_else(|| status.merge.clone());
        self.started = self.started.max(status.started);
        self.busy_seconds = self.busy_seconds.max(status.busy_seconds);
        self.rate = if self.rate > 0.0 { self.rate } else { status.rate };
    }

    /// What the server is told; the outputs are one segment called `segment`.
    pub(crate) fn status(&self, view: &View, segment: Digest) -> AssignmentStatus {
        let retained = &view.retained - &self.completed;
        let failure = |(&(attempt, outcome), indexes): (&(u32, FailureOutcome), &IndexSet)| Failure {
            attempt,
            outcome,
            message: "simulated".into(),
            indexes: indexes.clone(),
            logs: vec![],
        };
        let failures: Vec<Failure> = self.failures.iter().map(failure).collect();
        let indexes = self.completed.clone();
        let segments = vec![Segment { digest: segment, size: indexes.count(), indexes, logs: None }];
        AssignmentStatus {
            node_uid: self.node_uid.clone(),
            observed_generation: view.generation,
            plan: self.plan.clone(),
            plan_attempt: self.plan_attempt,
            succeeded: self.completed.count(),
            segments: if self.completed.is_empty() { vec![] } else { segments },
            failures,
            retained,
            running: view.running.iter().filter(|run| !self.completed.contains(run.index)).cloned().collect(),
            merge: self.merge.clone(),
            started: self.started,
            rate: self.rate,
            busy_seconds: self.busy_seconds,
            ..AssignmentStatus::default()
        }
    }
}
