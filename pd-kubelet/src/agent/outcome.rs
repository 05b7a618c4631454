//! What slots say, filed where it belongs.

use std::{sync::atomic::Ordering, time::Duration};

use schemas::{
    IndexSet,
    assignment::{FailureOutcome, Progress},
};
use tokio::time::Instant;

use super::{
    Agent,
    dispatch::{Busy, Doing},
    setup,
    work::SetupState,
};
use crate::{
    metrics::{OutcomeLabel, ResultLabel},
    report::Message,
    slots::{Batch, End, Event, EventKind, Failed},
    sync::{self, Stage, Stretch},
};

impl Agent {
    pub(super) fn on_slot(&mut self, event: Event) {
        match event.kind {
            EventKind::Batch(batch) => self.on_batch(event.slot, batch),
            EventKind::Progress { index, done, total } => {
                if let Some(busy) = &mut self.slots[event.slot].busy {
                    let is_current = matches!(busy.doing, Doing::Run { next, .. } if next == index);
                    busy.progress = is_current.then_some(Progress { done, total });
                }
            }
            EventKind::Finished { end, busy } => self.on_finished(event.slot, end, busy),
        }
    }

    fn on_batch(&mut self, slot: usize, batch: Batch) {
        let Some(Busy { uid, doing: Doing::Run { attempt, next, ended, .. }, progress, .. }) =
            &mut self.slots[slot].busy
        else {
            return;
        };
        *next = batch.last + 1;
        *ended += batch.ended();
        *progress = None;
        let attempt = *attempt;
        count(&self.means.setting.metrics, &batch);
        let Some(work) = self.works.get_mut(uid) else { return };
        self.means.setting.backlog.fetch_add(batch.bytes, Ordering::Relaxed);
        let failed: IndexSet = batch.failures.iter().map(|failed| failed.index).collect();
        work.take_batch(attempt, batch);
        if sync::is_owed(&work.object.spec, attempt, &failed) {
            let uid = uid.clone();
            self.sync(&uid);
        }
    }

    fn on_finished(&mut self, slot: usize, end: End, spent: Duration) {
        let Some(busy) = self.slots[slot].busy.take() else { return };
        self.means.setting.metrics.busy_seconds.inc_by(spent.as_secs_f64());
        if let (Some(work), Doing::Run { ended, .. }) = (self.works.get_mut(&busy.uid), &busy.doing) {
            work.pace.measured(*ended, spent.as_secs_f64());
            work.send(Message::Busy { ended: *ended, seconds: spent.as_secs_f64() });
        }
        // The slot goes on before anything is said about what it did.
        if matches!(end, End::Run) {
            self.dispatch();
        }
        self.file(&busy, end);
        // A slot without work is what an idle node is told by: it may get what another node has not started.
        let is_idle = self.slots[slot].busy.is_none();
        let is_dry = self.works.get(&busy.uid).is_some_and(|work| work.queue.is_empty());
        if is_dry && (is_idle || self.busy_slots(&busy.uid) == 0) {
            self.show(&busy.uid);
            if let Some(work) = self.works.get(&busy.uid) {
                work.send(Message::Flush);
            }
        }
    }

    fn file(&mut self, busy: &Busy, end: End) {
        let Some(work) = self.works.get_mut(&busy.uid) else { return };
        match (&busy.doing, end) {
            (_, End::Run) => {}
            (Doing::Plan, End::Planned(result)) => work.end_plan(result),
            (Doing::Merge { attempt }, End::Merged(result)) => work.end_merge(*attempt, result),
            (Doing::Plan, End::SetupFailed(text)) => {
                work.end_plan(Err(setup::failure(text.clone())));
                self.setup_failed(&busy.uid, &text);
            }
            (Doing::Merge { attempt }, End::SetupFailed(text)) => {
                work.end_merge(*attempt, Err(setup::failure(text.clone())));
                self.setup_failed(&busy.uid, &text);
            }
            (Doing::Run { attempt, next, last, .. }, End::SetupFailed(text)) => {
                if next <= last {
                    let unfinished = Stretch { attempt: *attempt, first: *next, last: *last };
                    work.queue.push_front(unfinished);
                    work.queued += unfinished.count();
                }
                self.setup_failed(&busy.uid, &text);
            }
            // Interrupted: whatever is still wanted of it is begun again.
            (Doing::Plan, _) => {
                work.plan = Stage::Idle;
                self.sync(&busy.uid);
            }
            (Doing::Merge { .. }, _) => {
                work.merge = None;
                self.sync(&busy.uid);
            }
            (Doing::Run { .. }, _) => self.sync(&busy.uid),
        }
    }

    /// The node cannot run this job now: everything that waits for it fails, and is retried as the reconciler
    /// sees fit.
    pub(super) fn setup_failed(&mut self, uid: &str, text: &str) {
        let Some(work) = self.works.get_mut(uid) else { return };
        tracing::warn!(assignment = work.object.metadata.name, text, "work cannot be set up on this node");
        self.means.modules.forget(work.object.spec.work.module);
        work.setup = SetupState::Failed(Instant::now());
        work.calls.clear();
        let spec = &work.object.spec;
        let merge = spec.merge.as_ref().map(|order| order.attempt);
        let (is_planning, is_planned) = (spec.plan && spec.layout.is_none(), spec.layout.is_some());
        let is_answered = work.plan == Stage::Done && work.plan_attempt >= spec.plan_attempt;
        if is_planning && !is_answered {
            work.plan_attempt = spec.plan_attempt;
            work.end_plan(Err(setup::failure(text.to_owned())));
        }
        if let Some(attempt) = merge.filter(|attempt| is_planned && work.merge != Some((*attempt, Stage::Done))) {
            work.end_merge(attempt, Err(setup::failure(text.to_owned())));
        }
        work.queued = 0;
        for stretch in std::mem::take(&mut work.queue) {
            let failed = |index| Failed {
                index,
                outcome: FailureOutcome::SetupFailed,
                message: crate::slots::cut(text.to_owned(), schemas::limits::MESSAGE_BYTES_MAX),
                log: String::new(),
            };
            let failures: Vec<Failed> = (stretch.first..=stretch.last).map(failed).collect();
            let batch = Batch { failures, last: stretch.last, ..Batch::default() };
            count(&self.means.setting.metrics, &batch);
            work.take_batch(stretch.attempt, batch);
        }
        work.send(Message::Flush);
    }
}

fn count(metrics: &crate::metrics::Metrics, batch: &Batch) {
    if !batch.outputs.is_empty() {
        metrics.subtasks.get_or_create(&OutcomeLabel { outcome: "Success" }).inc_by(batch.outputs.count());
    }
    let checks =
        [("attested", batch.checks.attested), ("refused", batch.checks.refused), ("failed", batch.checks.failed)];
    for (result, count) in checks.into_iter().filter(|(_, count)| *count > 0) {
        metrics.checks.get_or_create(&ResultLabel { result }).inc_by(count);
    }
    for failed in &batch.failures {
        metrics.subtasks.get_or_create(&OutcomeLabel { outcome: name(failed.outcome) }).inc();
    }
}

const fn name(outcome: FailureOutcome) -> &'static str {
    match outcome {
        FailureOutcome::Trap => "Trap",
        FailureOutcome::OutOfMemory => "OutOfMemory",
        FailureOutcome::Timeout => "Timeout",
        FailureOutcome::TaskErrorRetryable => "TaskErrorRetryable",
        FailureOutcome::TaskErrorPermanent => "TaskErrorPermanent",
        FailureOutcome::InvalidOutput => "InvalidOutput",
        FailureOutcome::ExecutorLost => "ExecutorLost",
        FailureOutcome::SetupFailed => "SetupFailed",
    }
}
