//! The loop: take in all news that is there, plan once, carry the plan out, take the answers in, and again as
//! long as something changes. No fixed tick: it sleeps until news comes or the plan asked to be woken. News is taken in
//! always, planned only while we lead, and for no more than half of the time: with a thousand nodes there is always news,
//! and one plan that takes in all of it is worth ten that each take in a little.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cpu_time::ThreadTime;
use daemon::settings::Settings;
use jiff::Timestamp;
use pd_plan::{Plan, Policy};
use tokio::sync::{mpsc, watch};

use crate::{
    clock::Clock,
    connection::Connection,
    events::Recorder,
    execute::{self, Outcome},
    leader::Seat,
    metrics::{Metrics, Planned},
    observe::{Observed, View},
};

/// After a conflict the watch brings the news; should it not, we plan again after this.
const AFTER_CONFLICT: Duration = Duration::from_millis(250);
/// Longest rest after a plan; it is as long as the plan took.
const REST_MAX: Duration = Duration::from_millis(250);
/// First and longest delay after a write that failed.
const AFTER_FAILURE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Everything that the loop holds.
pub(crate) struct Controller {
    connection: Connection,
    policy: Policy,
    settings: Arc<Settings>,
    clock: Clock,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    seat: watch::Receiver<Seat>,
    /// Whether we led when we last looked.
    led: bool,
    view: View,
    /// True when the plan could come out differently than the last time.
    is_stale: bool,
    /// When to plan although nothing was observed.
    wake_at: Option<Timestamp>,
    /// No plan is made before this.
    rested_at: Instant,
    /// Plans in a row of which a write failed.
    failures: u32,
    /// Jobs and nodes, by UID, of which a write was refused: left alone for a while.
    held: BTreeMap<String, Held>,
}

/// Since a write was refused.
struct Held {
    refusals: u32,
    until: Timestamp,
}

impl Controller {
    pub(crate) fn new(
        connection: Connection,
        policy: Policy,
        settings: Arc<Settings>,
        clock: Clock,
        metrics: Arc<Metrics>,
        recorder: Recorder,
        seat: watch::Receiver<Seat>,
    ) -> Self {
        Self {
            connection,
            policy,
            settings,
            clock,
            metrics,
            recorder,
            seat,
            led: false,
            view: View::new(),
            is_stale: true,
            wake_at: None,
            rested_at: Instant::now(),
            failures: 0,
            held: BTreeMap::new(),
        }
    }

    /// Reconciles until the watches end.
    pub(crate) async fn run(mut self, mut news: mpsc::Receiver<Observed>) {
        loop {
            while let Ok(observed) = news.try_recv() {
                self.take(observed);
            }
            let is_due = self.is_stale && self.leads() && self.view.is_synced();
            if is_due && Instant::now() >= self.rested_at {
                self.reconcile().await;
                continue;
            }
            tokio::select! {
                observed = news.recv() => match observed {
                    Some(observed) => self.take(observed),
                    None => return,
                },
                Ok(()) = self.seat.changed() => drop(self.leads()),
                () = tokio::time::sleep_until(self.rested_at.into()), if is_due => {}
                () = sleep_until(self.clock, self.wake_at.filter(|_| self.led)) => self.wake_now(),
            }
        }
    }

    /// Whether we lead now. Whoever begins to lead plans at once.
    fn leads(&mut self) -> bool {
        let leads = self.seat.borrow_and_update().leads(Instant::now());
        self.is_stale |= leads && !self.led;
        self.led = leads;
        leads
    }

    fn wake_now(&mut self) {
        self.is_stale = true;
        self.wake_at = None;
    }

    fn take(&mut self, observed: Observed) {
        let was_synced = self.view.is_synced();
        self.is_stale |= self.view.take(observed, self.clock.now(), self.policy.lost_after);
        if !was_synced && self.view.is_synced() {
            tracing::info!("caches are filled");
            self.metrics.set_synced();
        }
    }

    /// One round: plan, carry out, take the answers in.
    async fn reconcile(&mut self) {
        let (now, started) = (self.clock.now(), Instant::now());
        self.policy.work_stealing = self.settings.current().controller.work_stealing_enabled;
        let snapshot = self.view.snapshot(now, self.policy.lost_after);
        let observed = Instant::now();
        let policy = self.policy.at_uptake(self.view.usual_uptake());
        let processor = ThreadTime::now();
        let mut plan = pd_plan::plan(&snapshot, now, &policy);
        let (took, computed) = (observed.elapsed(), processor.elapsed());
        self.rested_at = Instant::now() + took.min(REST_MAX);
        self.metrics.planned(Planned { snapshot: observed - started, plan: took, processor: computed }, plan.counts);
        self.view.remember(snapshot, &mut plan);
        for note in &plan.notes {
            tracing::debug!(subject = note.subject, reason = note.reason, message = note.message, "note");
        }
        self.is_stale = false;
        self.wake_at = [plan.wake_at, self.view.next_expiry()].into_iter().flatten().min();
        self.leave_alone(&mut plan, now);
        if !plan.actions.is_empty() {
            let client = self.connection.current();
            let outcome = execute::execute(&client, &self.view, plan, now, &self.metrics).await;
            self.settle(outcome);
        }
        self.metrics.ended_round(started);
        let (succeeded, failed) = self.view.take_finished();
        self.metrics.finished(succeeded, failed);
        self.metrics.taken_up(&self.view.take_uptakes());
        self.metrics.set_census(self.view.census());
    }

    /// Takes out of the plan what concerns jobs and nodes that are held.
    fn leave_alone(&mut self, plan: &mut Plan, now: Timestamp) {
        self.held.retain(|uid, held| held.until > now || self.view.is_open(uid));
        let held = &self.held;
        let is_held = |uid: Option<&str>| uid.and_then(|uid| held.get(uid)).is_some_and(|held| held.until > now);
        plan.actions.retain(|action| !is_held(action.uid()));
        if let Some(at) = self.held.values().map(|held| held.until).filter(|until| *until > now).min() {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Takes the answers in; decides when to look again.
    fn settle(&mut self, outcome: Outcome) {
        let now = self.clock.now();
        self.is_stale |= !outcome.written.is_empty();
        for entry in &outcome.broken {
            self.is_stale |= self.view.found_broken(entry);
        }
        outcome.written.into_iter().for_each(|written| self.view.wrote(written));
        outcome.events.into_iter().for_each(|event| self.recorder.record(now, event));
        for uid in outcome.refused {
            let held = self.held.entry(uid).or_insert(Held { refusals: 0, until: now });
            held.refusals = held.refusals.saturating_add(1);
            held.until = now.saturating_add(backoff(held.refusals)).unwrap_or(Timestamp::MAX);
            let at = held.until;
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        self.failures = if outcome.failures > 0 { self.failures.saturating_add(1) } else { 0 };
        if outcome.failures > 0 {
            self.is_stale = false;
            self.wake(now, backoff(self.failures));
        } else if outcome.conflicts > 0 {
            self.wake(now, AFTER_CONFLICT);
        }
    }

    fn wake(&mut self, now: Timestamp, delay: Duration) {
        let at = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Delay after that many failures in a row.
fn backoff(failures: u32) -> Duration {
    let (first, longest) = AFTER_FAILURE;
    first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest)
}

/// Sleeps until `at`; for ever when there is nothing to wait for.
async fn sleep_until(clock: Clock, at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let left = Duration::try_from(at.duration_since(clock.now())).unwrap_or(Duration::ZERO);
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}
