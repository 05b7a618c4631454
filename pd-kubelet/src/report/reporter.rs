//! The reporter of one Assignment: takes messages in order, keeps ledger and spool, and publishes.
//!
//! While a report is on its way, or the server is away, it goes on taking outcomes and spooling them.

mod spooling;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::future::BoxFuture;
use schemas::{
    Assignment, Digest, IndexSet,
    assignment::{CallFailure, FailureOutcome, MergeReport, PlanReport},
    job::{JobResult, Layout},
    limits::{STATE_BYTES_MAX, SUBTASKS_MAX},
    segment::Entries,
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Ledger, Lost, Message, View,
    publish::{PublishError, Report, Upload, publish},
};
use crate::{
    cache::Cache,
    client::Connection,
    metrics::Metrics,
    slots::{Batch, Failed, ResultFile},
    spool::SpoolDir,
};

/// Changes wait this part of the time between two renewals of the node's lease for others to join them, unless the work has
/// run dry: 150 ms. Whoever lets a thousand nodes renew seldom wants to hear less of each.
const REPORT_DELAY_PER_RENEWAL: f64 = 0.15;
/// With a slow server they wait for this many times what the last report took, ...
const REPORT_DELAY_TIMES: u32 = 2;
/// ... up to this: a server that a thousand nodes keep busy takes their reports at the pace that it can bear.
const REPORT_DELAY_MAX: Duration = Duration::from_secs(5);
/// While nothing can be reported, outcomes reach the disk at least this often.
const SPOOL_DELAY: Duration = Duration::from_secs(1);
/// Bytes of outcomes kept in memory before they are spooled.
const PENDING_BYTES_MAX: u64 = 8 << 20;

/// What every reporter shares with its kubelet.
#[derive(Clone)]
pub(crate) struct Setting {
    pub connection: Connection,
    pub cache: Arc<Cache>,
    pub metrics: Arc<Metrics>,
    /// Time between two renewals of the node's lease.
    pub renew_lease_every: Duration,
    /// Bytes of outcomes that are in memory only, over all Assignments.
    pub backlog: Arc<AtomicU64>,
    /// Where lost outputs are told.
    pub lost: mpsc::UnboundedSender<Lost>,
}

impl Setting {
    fn report_delay(&self) -> Duration {
        self.renew_lease_every.mul_f64(REPORT_DELAY_PER_RENEWAL)
    }
}

/// Outcomes that are in memory only.
#[derive(Default)]
struct Pending {
    outputs: Vec<Entries>,
    logs: Vec<(u64, String)>,
    failures: Vec<(u32, Failed)>,
    bytes: u64,
    since: Option<Instant>,
}

/// The reporter of one Assignment.
pub(crate) struct Reporter {
    setting: Setting,
    dir: SpoolDir,
    object: Box<Assignment>,
    ledger: Ledger,
    completed: IndexSet,
    pending: Pending,
    view: View,
    /// Grows with everything that a status would say differently.
    version: u64,
    /// The version that the server has acknowledged.
    acknowledged: u64,
    changed_at: Option<Instant>,
    /// How long changes wait for others.
    delay: Duration,
    urgent: bool,
    /// The server says that this is not ours (any more).
    fenced: bool,
    retry_at: Option<Instant>,
    delays: ExponentialBackoff,
    /// Files that a report on its way may still be reading.
    trash: Vec<Digest>,
    /// The disk refused the spool; until then outcomes stay in memory.
    disk_retry_at: Option<Instant>,
}

/// A report on its way.
type Publishing = BoxFuture<'static, Published>;

/// How a report has ended.
struct Published {
    /// The version that it tells.
    version: u64,
    /// The artifacts that it has uploaded.
    uploaded: Vec<Digest>,
    took: Duration,
    result: Result<Assignment, PublishError>,
}

impl Reporter {
    pub(crate) fn new(setting: Setting, dir: SpoolDir, object: Box<Assignment>, ledger: Ledger) -> Self {
        let completed = ledger.completed();
        let known = object.status.as_ref().is_some_and(|status| *status == ledger.status(&View::default()));
        Self {
            delay: setting.report_delay(),
            setting,
            dir,
            object,
            completed,
            ledger,
            pending: Pending::default(),
            view: View::default(),
            version: u64::from(!known),
            acknowledged: 0,
            changed_at: None,
            urgent: false,
            fenced: false,
            retry_at: None,
            delays: delays(),
            trash: Vec::new(),
            disk_retry_at: None,
        }
    }

    /// Serves until everyone who could send has gone; then what is in memory is on disk.
    pub(crate) async fn serve(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut publishing: Option<Publishing> = None;
        loop {
            let wake = self.wake(publishing.is_some());
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Discard) => return self.discard(),
                    Some(message) => self.take(message),
                    None => {
                        self.spool().await;
                        return;
                    }
                },
                published = ended(&mut publishing) => {
                    publishing = None;
                    self.published(published);
                }
                () = until(wake) => {}
            }
            while let Ok(message) = messages.try_recv() {
                if matches!(message, Message::Discard) {
                    return self.discard();
                }
                self.take(message);
            }
            if self.spool_is_due() {
                self.spool().await;
            }
            if publishing.is_none() && self.publish_is_due() {
                self.spool().await;
                publishing = Some(self.publish());
            }
            if publishing.is_none() {
                self.empty_trash();
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Batch { attempt, batch } => self.take_batch(attempt, batch),
            Message::Busy { ended, seconds } => {
                self.ledger.sample(ended, seconds);
                self.changed();
            }
            Message::View(view) => {
                if self.view != view {
                    self.view = view;
                    self.changed();
                }
            }
            Message::Flush => self.urgent = true,
            Message::Object(object) => self.take_object(object),
            Message::Planned { attempt, result } => self.take_plan(attempt, result),
            Message::Merged { attempt, media_type, result } => self.take_merge(attempt, media_type, result),
            Message::Discard => {}
        }
    }

    fn take_batch(&mut self, attempt: u32, batch: Batch) {
        self.ledger.started += batch.ended();
        for target in &batch.found {
            self.ledger.found.insert(*target);
        }
        let pending = &mut self.pending;
        pending.since.get_or_insert_with(Instant::now);
        pending.bytes += batch.bytes;
        if !batch.outputs.is_empty() {
            pending.outputs.push(batch.outputs);
        }
        pending.logs.extend(batch.logs);
        pending.failures.extend(batch.failures.into_iter().map(|failed| (attempt, failed)));
        self.changed();
    }

    fn take_object(&mut self, object: Box<Assignment>) {
        // A watch may bring what is older than the answer to our own write.
        if version_of(&object) >= version_of(&self.object) || object.metadata.uid != self.object.metadata.uid {
            self.fenced = object.spec.node_uid != self.ledger.node_uid;
            self.object = object;
        }
    }

    fn take_plan(&mut self, attempt: u32, answer: Result<executor_protocol::Layout, CallFailure>) {
        self.ledger.plan_attempt = attempt;
        let failed =
            |outcome, message: String| PlanReport::Failed(CallFailure { outcome, message, log: String::new() });
        self.ledger.plan = Some(match answer {
            Err(failure) => PlanReport::Failed(failure),
            Ok(layout) => match self.keep_layout(layout) {
                Ok(Ok(layout)) => PlanReport::Layout(layout),
                Ok(Err(message)) => failed(FailureOutcome::InvalidOutput, message),
                Err(error) => failed(FailureOutcome::SetupFailed, format!("the plan's state cannot be kept: {error}")),
            },
        });
        self.changed();
        self.urgent = true;
    }

    fn keep_layout(&mut self, layout: executor_protocol::Layout) -> std::io::Result<Result<Layout, String>> {
        let executor_protocol::Layout { subtasks, media_type, goal, state } = layout;
        if subtasks > SUBTASKS_MAX {
            return Ok(Err(format!("the plan asks for {subtasks} subtasks; a job may have {SUBTASKS_MAX}")));
        }
        if state.len() as u64 > STATE_BYTES_MAX {
            return Ok(Err(format!("the plan's state has {} bytes; it may have {STATE_BYTES_MAX}", state.len())));
        }
        let state = if state.is_empty() {
            None
        } else {
            let (digest, size) = self.dir.write(&state)?;
            self.ledger.blob(digest, size);
            self.setting.cache.adopt(digest, size, &self.dir.blob(digest));
            Some(digest)
        };
        Ok(Ok(Layout { subtasks, media_type, goal, state }))
    }

    fn take_merge(&mut self, attempt: u32, media_type: String, result: Result<ResultFile, CallFailure>) {
        let kept = result.and_then(|file| {
            let ResultFile { path, digest, size } = file;
            self.dir.take(path, digest).map_err(|error| CallFailure {
                outcome: FailureOutcome::SetupFailed,
                message: format!("the result cannot be kept on this node: {error}"),
                log: String::new(),
            })?;
            self.ledger.blob(digest, size);
            Ok(JobResult { artifact: digest, size, media_type })
        });
        let (result, failure) = match kept {
            Ok(result) => (Some(result), None),
            Err(failure) => (None, Some(failure)),
        };
        self.ledger.merge = Some(MergeReport { attempt, result, failure });
        self.changed();
        self.urgent = true;
    }

    fn changed(&mut self) {
        self.version += 1;
        self.changed_at.get_or_insert_with(Instant::now);
    }

    /// When something is due that no message announces.
    fn wake(&self, publishing: bool) -> Option<Instant> {
        let spool = self.pending.since.map(|since| since + SPOOL_DELAY).max(self.disk_retry_at);
        let spool = spool.filter(|_| self.pending.since.is_some());
        let is_due = !publishing && !self.fenced && self.version != self.acknowledged;
        let delay = if self.urgent { Duration::ZERO } else { self.delay };
        let report = self.changed_at.map(|at| at + delay).max(self.retry_at).filter(|_| is_due);
        spool.into_iter().chain(report).min()
    }

    fn spool_is_due(&self) -> bool {
        let now = Instant::now();
        let is_old = self.pending.since.is_some_and(|since| now >= since + SPOOL_DELAY);
        (is_old || self.pending.bytes >= PENDING_BYTES_MAX) && self.disk_retry_at.is_none_or(|at| now >= at)
    }

    fn publish_is_due(&mut self) -> bool {
        if self.fenced || self.version == self.acknowledged {
            return false;
        }
        let now = Instant::now();
        let changed_at = *self.changed_at.get_or_insert(now);
        (self.urgent || now >= changed_at + self.delay) && self.retry_at.is_none_or(|at| now >= at)
    }

    fn publish(&mut self) -> Publishing {
        self.changed_at = None;
        self.urgent = false;
        let version = self.version;
        let uploads: Vec<Upload> = self
            .ledger
            .blobs
            .iter()
            .filter(|(_, blob)| !blob.uploaded)
            .map(|(digest, blob)| Upload { digest: *digest, size: blob.size, path: self.dir.blob(*digest) })
            .collect();
        let uploaded = uploads.iter().map(|upload| upload.digest).collect();
        let report = Report {
            clients: self.setting.connection.current(),
            metrics: Arc::clone(&self.setting.metrics),
            object: self.object.clone(),
            status: self.ledger.status(&self.view),
            uploads,
        };
        Box::pin(async move {
            let started = Instant::now();
            let result = publish(report).await;
            Published { version, uploaded, took: started.elapsed(), result }
        })
    }

    fn published(&mut self, Published { version, uploaded, took, result }: Published) {
        let error = match result {
            Ok(object) => {
                let least = self.setting.report_delay();
                self.delay = (took * REPORT_DELAY_TIMES).clamp(least, REPORT_DELAY_MAX.max(least));
                self.acknowledged = version;
                self.retry_at = None;
                self.delays = delays();
                self.mark_uploaded(&uploaded);
                self.take_object(Box::new(object));
                return;
            }
            Err(error) => error,
        };
        self.setting.metrics.report_failures.inc();
        tracing::warn!(assignment = self.name(), error = crate::chain(&error), "report not acknowledged");
        match error {
            // The watch will say so too; until then there is nobody to report to.
            PublishError::Gone | PublishError::Fenced => self.fenced = true,
            PublishError::Unknown { missing, .. } => self.forget_uploads(&missing),
            PublishError::Artifact(_) | PublishError::Status(_) => {}
        }
        self.changed_at.get_or_insert_with(Instant::now);
        self.retry_at = self.delays.next().map(|delay| Instant::now() + delay);
    }

    fn mark_uploaded(&mut self, uploaded: &[Digest]) {
        for digest in uploaded {
            if let Some(blob) = self.ledger.blobs.get_mut(digest) {
                blob.uploaded = true;
                // A merge on this node finds its own parts without asking anybody.
                self.setting.cache.adopt(*digest, blob.size, &self.dir.blob(*digest));
            }
        }
    }

    /// What the server lacks is uploaded again; of that, what is not on this disk is lost and has to be computed again.
    /// It may lack any of it when it names nothing.
    fn forget_uploads(&mut self, missing: &BTreeSet<Digest>) {
        let is_missing = |digest: &Digest| missing.is_empty() || missing.contains(digest);
        for (_, blob) in self.ledger.blobs.iter_mut().filter(|(digest, _)| is_missing(digest)) {
            blob.uploaded = false;
        }
        let dir = self.dir.clone();
        let mut lost = self.ledger.drop_damaged(|digest| dir.blob(digest).exists());
        // Segments of an earlier life have no blob here at all.
        let blobs = &self.ledger.blobs;
        self.ledger.segments.retain_mut(|segment| {
            let keep = blobs.contains_key(&segment.digest) || !is_missing(&segment.digest);
            if segment.logs.is_some_and(|logs| is_missing(&logs) && !blobs.contains_key(&logs)) {
                segment.logs = None;
            }
            if !keep {
                lost |= &segment.indexes;
            }
            keep
        });
        self.completed -= &lost;
        self.version += 1;
        if !lost.is_empty() {
            let uid = self.object.metadata.uid.clone().unwrap_or_default();
            let _ = self.setting.lost.send(Lost { uid, indexes: lost });
        }
    }

    fn empty_trash(&mut self) {
        for digest in self.trash.drain(..) {
            if !self.ledger.blobs.contains_key(&digest) {
                let _ = std::fs::remove_file(self.dir.blob(digest));
            }
        }
    }

    fn discard(self) {
        self.setting.backlog.fetch_sub(self.pending.bytes, Ordering::Relaxed);
        self.dir.remove();
    }

    fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }
}

/// From a twentieth of a second to two, with jitter, for ever.
fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter()
        .build()
}

/// Resource versions are opaque, but our server's are numbers that grow.
fn version_of(object: &Assignment) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

async fn ended(publishing: &mut Option<Publishing>) -> Published {
    match publishing {
        Some(publishing) => publishing.await,
        None => std::future::pending().await,
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
