//! One slot: orders in, outcomes out, one executor after another behind it.

use std::{path::Path, sync::Arc, time::Duration};

use executor_protocol::{Blob, Isolation, Reply, Request};
use schemas::assignment::{CallFailure, FailureOutcome};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Batch, Delivered, End, Event, EventKind, Events, Executor, Job, Order, Parts, Spawner, blobs,
    sinks::{MergeSink, PlanSink, RunSink, Sink},
};

/// What an executor gets beyond its own time limit before it is killed for it.
const WALL_GRACE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 2000 });
/// What a cancelled call gets to stop by itself.
const CANCEL_GRACE: Duration = Duration::from_millis(100);
/// Loading a compiled module; it takes well under a millisecond on an idle machine.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);
/// Executors that may die while loading the same job before the job is blamed.
const PREPARE_TRIES: u32 = 3;
/// Reads longer than this are done on a thread that may block.
const INLINE_READ_BYTES_MAX: u32 = 256 << 10;
/// Between two tries to start an executor on a machine that is out of something.
const RESPAWN_DELAY: Duration = Duration::from_millis(200);

/// A slot and its executor.
pub(crate) struct Slot {
    number: usize,
    spawner: Spawner,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    events: Events,
    executor: Option<Executor>,
    /// The job that the executor has loaded.
    prepared: Option<Arc<Job>>,
}

/// How one request to an executor ended.
enum CallEnd {
    Done,
    /// The executor died; how.
    Died(String),
    /// It was killed for being far beyond its time limit.
    Walled,
    Cancelled,
    /// A blob could not be read, or the executor could not load the job.
    Broken(String),
}

impl Slot {
    pub(crate) fn new(number: usize, spawner: Spawner, orders: mpsc::UnboundedReceiver<Order>, events: Events) -> Self {
        Self { number, spawner, orders, events, executor: None, prepared: None }
    }

    /// Serves until nobody gives orders any more; the executor dies with it.
    pub(crate) async fn serve(mut self) {
        while let Some(order) = self.idle().await {
            let started = Instant::now();
            let end = match order {
                Order::Run { job, first, last, delivered } => self.run(&job, first, last, delivered).await,
                Order::Plan { job } => self.plan(&job).await,
                Order::Merge { job, parts, subtasks, folder } => self.merge(&job, &parts, subtasks, &folder).await,
                // What it was meant for has ended meanwhile.
                Order::Cancel => continue,
            };
            let finished = EventKind::Finished { end, busy: started.elapsed() };
            if self.events.send(Event { slot: self.number, kind: finished }).is_err() {
                return;
            }
        }
    }

    /// Waits for an order with a living executor at hand.
    async fn idle(&mut self) -> Option<Order> {
        loop {
            let Some(executor) = &mut self.executor else {
                match (self.spawner)() {
                    Ok(executor) => self.executor = Some(executor),
                    Err(error) => {
                        tracing::error!(slot = self.number, %error, "executor not started");
                        tokio::time::sleep(RESPAWN_DELAY).await;
                        if self.orders.is_closed() {
                            return None;
                        }
                    }
                }
                continue;
            };
            tokio::select! {
                biased;
                order = self.orders.recv() => return order,
                // An idle executor has nothing to say; whatever it does now, it is replaced.
                _ = executor.next() => {
                    let how = self.lose().await;
                    tracing::warn!(slot = self.number, how, "an idle executor ended");
                    tokio::time::sleep(RESPAWN_DELAY).await;
                }
            }
        }
    }

    /// Runs the indexes. When an executor dies and does not say why, what has no outcome is run again one
    /// index at a time, until the guilty one is found. Where outputs were being checked that may be theirs: no more are.
    async fn run(&mut self, job: &Arc<Job>, first: u64, last: u64, delivered: Option<Delivered>) -> End {
        let mut shown = match self.fetched(delivered).await {
            Ok(shown) => shown,
            Err(end) => return end,
        };
        let mut next = first;
        let mut careful = false;
        while next <= last {
            if let Err(end) = self.prepare(job).await {
                return end;
            }
            let until = if careful { next } else { last };
            let before = next;
            let events = self.events.clone();
            let mut sink = RunSink { slot: self.number, events: &events, next: &mut next, until, excused: false };
            let request = match shown {
                Some(_) => Request::Check { first: before, last: until, careful },
                None => Request::Run { first: before, last: until, careful },
            };
            let end = self.call(job, shown.as_ref(), request, &mut sink).await;
            let excused = sink.excused;
            match end {
                CallEnd::Done if next > until => {}
                CallEnd::Cancelled => return End::Cancelled,
                CallEnd::Broken(text) => return End::SetupFailed(text),
                CallEnd::Died(_) | CallEnd::Walled | CallEnd::Done if excused || next > last => {}
                _ if shown.take().is_some() => {
                    tracing::warn!(slot = self.number, index = next, "an executor ended while it checked an output");
                    self.discard();
                }
                guilty if careful && next <= until => {
                    self.send(EventKind::Batch(blame(next, guilty)));
                    next += 1;
                    careful = false;
                }
                _ => {
                    self.discard();
                    careful = true;
                }
            }
        }
        End::Run
    }

    async fn plan(&mut self, job: &Arc<Job>) -> End {
        let mut lost = String::new();
        for _ in 0..2 {
            if let Err(end) = self.prepare(job).await {
                return end;
            }
            let mut sink = PlanSink::default();
            let end = self.call(job, None, Request::Plan, &mut sink).await;
            match (sink.0, end) {
                (Some(planned), _) => return End::Planned(planned),
                (None, CallEnd::Cancelled) => return End::Cancelled,
                (None, CallEnd::Broken(text)) => return End::SetupFailed(text),
                (None, CallEnd::Walled) => return End::Planned(Err(timed_out())),
                (None, CallEnd::Died(how)) => lost = how,
                (None, CallEnd::Done) => "it ended the call without an answer".clone_into(&mut lost),
            }
        }
        End::Planned(Err(executor_lost(&lost)))
    }

    async fn merge(&mut self, job: &Arc<Job>, parts: &Arc<Parts>, subtasks: u64, folder: &Path) -> End {
        let mut lost = String::new();
        for _ in 0..2 {
            if let Err(end) = self.prepare(job).await {
                return end;
            }
            let mut sink = match MergeSink::new(folder) {
                Ok(sink) => sink,
                Err(error) => return End::SetupFailed(format!("the result cannot be written: {error}")),
            };
            let end = self.call(job, Some(parts), Request::Merge { subtasks }, &mut sink).await;
            match (sink.answer.take(), end) {
                (Some(Ok(())), _) => {
                    return match sink.finish() {
                        Ok(result) => End::Merged(Ok(result)),
                        Err(error) => End::SetupFailed(format!("the result cannot be written: {error}")),
                    };
                }
                (Some(Err(failure)), _) => return End::Merged(Err(failure)),
                (None, CallEnd::Cancelled) => return End::Cancelled,
                (None, CallEnd::Broken(text)) => return End::SetupFailed(text),
                (None, CallEnd::Walled) => return End::Merged(Err(timed_out())),
                (None, CallEnd::Died(how)) => lost = how,
                (None, CallEnd::Done) => "it ended the call without an answer".clone_into(&mut lost),
            }
        }
        End::Merged(Err(executor_lost(&lost)))
    }

    /// Has the executor load the job, unless it has it already.
    async fn prepare(&mut self, job: &Arc<Job>) -> Result<(), End> {
        let mut how = String::new();
        for _ in 0..PREPARE_TRIES {
            if self.executor.is_none() {
                self.respawn().await?;
            }
            if self.prepared.as_ref().is_some_and(|prepared| is_served_by(job, prepared)) {
                self.prepared = Some(Arc::clone(job));
                return Ok(());
            }
            let Some(executor) = &mut self.executor else { continue };
            let answer = async {
                executor.send(&Request::Prepare(job.context.clone())).await?;
                executor.next().await
            };
            match tokio::time::timeout(PREPARE_TIMEOUT, answer).await {
                Ok(Ok(Some(Reply::Prepared))) => {
                    self.prepared = Some(Arc::clone(job));
                    return Ok(());
                }
                Ok(Ok(Some(Reply::Broken(why) | Reply::Refused { why, .. }))) => return Err(End::SetupFailed(why)),
                Ok(Ok(Some(_))) => {
                    "it spoke out of turn".clone_into(&mut how);
                    self.discard();
                }
                Err(_) => {
                    "it fell silent and was killed".clone_into(&mut how);
                    self.discard();
                }
                Ok(Ok(None) | Err(_)) => how = self.lose().await,
            }
        }
        Err(End::SetupFailed(format!("{PREPARE_TRIES} executors ended while loading the component: {how}")))
    }

    async fn respawn(&mut self) -> Result<(), End> {
        loop {
            match (self.spawner)() {
                Ok(executor) => {
                    self.executor = Some(executor);
                    return Ok(());
                }
                Err(error) => tracing::error!(slot = self.number, %error, "executor not started"),
            }
            tokio::select! {
                order = self.orders.recv() => if matches!(order, None | Some(Order::Cancel)) {
                    return Err(End::Cancelled);
                },
                () = tokio::time::sleep(RESPAWN_DELAY) => {}
            }
        }
    }

    /// One request from its sending to `Done`, or to the executor's death.
    async fn call(
        &mut self,
        job: &Arc<Job>,
        parts: Option<&Arc<Parts>>,
        request: Request,
        sink: &mut dyn Sink,
    ) -> CallEnd {
        // An index that is checked first may take two calls.
        let calls = if matches!(request, Request::Check { .. }) { 2 } else { 1 };
        let limit = Duration::from_millis(job.context.call_ms_max).saturating_mul(calls) + WALL_GRACE;
        let Some(executor) = &mut self.executor else { return CallEnd::Died("there is none".to_owned()) };
        if executor.send(&request).await.is_err() {
            return CallEnd::Died(self.lose().await);
        }
        let mut deadline = Instant::now() + limit;
        let mut cancelled = false;
        loop {
            let Some(executor) = &mut self.executor else { return CallEnd::Died("there is none".to_owned()) };
            tokio::select! {
                biased;
                order = self.orders.recv(), if !cancelled => {
                    if order.is_none() {
                        self.discard();
                        return CallEnd::Cancelled;
                    }
                    cancelled = true;
                    deadline = Instant::now() + CANCEL_GRACE;
                    // A failed write means that it is dead, which the next read notices.
                    let _ = executor.send(&Request::Cancel).await;
                }
                reply = executor.next() => match reply {
                    Ok(Some(Reply::Done)) if cancelled => return CallEnd::Cancelled,
                    Ok(Some(Reply::Done)) => return CallEnd::Done,
                    Ok(Some(Reply::Read { blob, offset, length })) => {
                        if let Err(text) = self.answer(job, parts, blob, offset, length).await {
                            self.discard();
                            return CallEnd::Broken(text);
                        }
                    }
                    Ok(Some(_)) if cancelled => {}
                    Ok(Some(reply)) => match sink.take(reply) {
                        Ok(true) => deadline = Instant::now() + limit,
                        Ok(false) => {}
                        Err(how) => {
                            self.discard();
                            return CallEnd::Died(how);
                        }
                    },
                    Ok(None) | Err(_) if cancelled => {
                        self.discard();
                        return CallEnd::Cancelled;
                    }
                    Ok(None) => return CallEnd::Died(self.lose().await),
                    Err(error) => {
                        self.discard();
                        return CallEnd::Died(crate::chain(&error));
                    }
                },
                () = tokio::time::sleep_until(deadline) => {
                    self.discard();
                    return if cancelled { CallEnd::Cancelled } else { CallEnd::Walled };
                }
            }
        }
    }

    async fn answer(
        &mut self,
        job: &Arc<Job>,
        parts: Option<&Arc<Parts>>,
        blob: Blob,
        offset: u64,
        length: u32,
    ) -> Result<(), String> {
        let read = if length <= INLINE_READ_BYTES_MAX {
            blobs::read(job, parts.map(Arc::as_ref), &blob, offset, length)
        } else {
            let (job, parts, blob) = (Arc::clone(job), parts.cloned(), blob.clone());
            let read = move || blobs::read(&job, parts.as_deref(), &blob, offset, length);
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        };
        let data = match (read, &blob) {
            (Ok(data), _) => data,
            // What cannot be looked at is computed.
            (Err(error), Blob::Delivered(index)) => {
                tracing::warn!(index, %error, "an output that is to be checked cannot be read on this node");
                None
            }
            (Err(error), _) => return Err(format!("{blob:?} cannot be read on this node: {error}")),
        };
        if let Some(executor) = &mut self.executor {
            // A failed write means that it is dead, which the next read notices.
            let _ = executor.send(&Request::Data(data)).await;
        }
        Ok(())
    }

    fn send(&self, kind: EventKind) {
        let _ = self.events.send(Event { slot: self.number, kind });
    }

    /// Kills the executor.
    fn discard(&mut self) {
        self.prepared = None;
        if let Some(executor) = self.executor.take() {
            executor.kill();
        }
    }

    /// Takes leave of an executor that has ended; says how.
    async fn lose(&mut self) -> String {
        self.prepared = None;
        match self.executor.take() {
            Some(executor) => executor.bury().await,
            None => "there is none".to_owned(),
        }
    }
}

/// The failure of an index that took its executor with it, alone in it.
fn blame(index: u64, end: CallEnd) -> Batch {
    match end {
        CallEnd::Walled => {
            let failure = timed_out();
            Batch::failed(index, failure.outcome, failure.message)
        }
        CallEnd::Died(how) => {
            let failure = executor_lost(&how);
            Batch::failed(index, failure.outcome, failure.message)
        }
        _ => Batch::failed(index, FailureOutcome::ExecutorLost, "the executor ended it without an outcome".to_owned()),
    }
}

fn timed_out() -> CallFailure {
    let message = format!(
        "it ran beyond its time limit, and its executor did not stop it within {WALL_GRACE:?}; the executor was killed"
    );
    CallFailure { outcome: FailureOutcome::Timeout, message, log: String::new() }
}

fn executor_lost(how: &str) -> CallFailure {
    let message = format!("the executor process ended under it twice, the second time alone with it: {how}");
    CallFailure { outcome: FailureOutcome::ExecutorLost, message, log: String::new() }
}

/// True when an executor that was prepared for `prepared` can go on with `job`. It keeps blocks of what it has read,
/// so that another job's inputs or state, under the same names, must not meet them; and in a batch an instance, which no
/// other job may find.
fn is_served_by(job: &Arc<Job>, prepared: &Arc<Job>) -> bool {
    let keeps_nothing =
        |job: &Job| job.inputs.is_empty() && job.state.is_none() && job.context.isolation == Isolation::Subtask;
    Arc::ptr_eq(job, prepared) || (job.context == prepared.context && keeps_nothing(job) && keeps_nothing(prepared))
}
