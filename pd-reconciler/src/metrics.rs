//! What the reconciler counts, and whether it is ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pd_plan::Counts;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// What was written and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    result: &'static str,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// A state of jobs, nodes or subtasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: String,
}

/// How a subtask ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HolderLabel {
    holder: String,
}

type Seconds = Family<KindLabel, Histogram, fn() -> Histogram>;

/// All counters of one reconciler.
pub(crate) struct Metrics {
    own: Own,
    health: Mutex<Health>,
    registry: Registry,
}

/// What is registered.
struct Own {
    plan_seconds: Histogram,
    plan_cpu_seconds: Histogram,
    snapshot_seconds: Histogram,
    round_seconds: Histogram,
    assignment_seconds: Histogram,
    write_seconds: Seconds,
    grants: Counter,
    granted_indexes: Counter,
    retries: Counter,
    steals: Counter,
    stolen_indexes: Counter,
    copied_indexes: Counter,
    cached_indexes: Counter,
    nodes_distrusted: Counter,
    compared_indexes: Counter,
    checked_indexes: Counter,
    nodes_lost: Counter,
    writes: Family<WriteLabels, Counter>,
    jobs: Family<StateLabel, Gauge>,
    nodes: Family<StateLabel, Gauge>,
    subtasks: Family<StateLabel, Gauge>,
    finished: Family<OutcomeLabel, Counter>,
    assignments: Gauge,
    leading: Gauge,
    leader: Family<HolderLabel, Gauge>,
    events_dropped: Counter,
}

/// What `/readyz` says.
#[derive(Default)]
struct Health {
    is_synced: bool,
    leads: bool,
    holder: Option<String>,
}

/// What there is, by state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Census {
    pub(crate) jobs: BTreeMap<String, i64>,
    pub(crate) nodes: BTreeMap<String, i64>,
    /// Subtasks of unfinished jobs that nobody has yet, and those that a node has.
    pub(crate) pending: i64,
    pub(crate) running: i64,
    pub(crate) assignments: i64,
}

/// What one plan took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planned {
    /// Making the snapshot.
    pub(crate) snapshot: Duration,
    /// Deciding.
    pub(crate) plan: Duration,
    /// Of that, what the thread had a processor for: where the machine is crowded, less.
    pub(crate) processor: Duration,
}

/// From 10 microseconds to a second in steps of 1, 2 and 5, since limits are said in such numbers.
fn fine_histogram() -> Histogram {
    let decades = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1].into_iter();
    Histogram::new(decades.flat_map(|decade| [decade, 2.0 * decade, 5.0 * decade]).chain([1.0]))
}

/// From half a millisecond to eight seconds, doubled each time.
fn coarse_histogram() -> Histogram {
    Histogram::new((0..15).map(|power| 0.0005 * f64::from(1 << power)))
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let own = Own {
            plan_seconds: fine_histogram(),
            plan_cpu_seconds: fine_histogram(),
            snapshot_seconds: fine_histogram(),
            round_seconds: coarse_histogram(),
            assignment_seconds: coarse_histogram(),
            write_seconds: Family::new_with_constructor(coarse_histogram as fn() -> Histogram),
            grants: Counter::default(),
            granted_indexes: Counter::default(),
            retries: Counter::default(),
            steals: Counter::default(),
            stolen_indexes: Counter::default(),
            copied_indexes: Counter::default(),
            cached_indexes: Counter::default(),
            nodes_distrusted: Counter::default(),
            compared_indexes: Counter::default(),
            checked_indexes: Counter::default(),
            nodes_lost: Counter::default(),
            writes: Family::default(),
            jobs: Family::default(),
            nodes: Family::default(),
            subtasks: Family::default(),
            finished: Family::default(),
            assignments: Gauge::default(),
            leading: Gauge::default(),
            leader: Family::default(),
            events_dropped: Counter::default(),
        };
        let registry = daemon::registry("pd_reconciler", |registry| own.register(registry));
        // A series that exists from the start can be compared with what comes.
        for outcome in ["Succeeded", "Failed"] {
            own.finished.get_or_create(&OutcomeLabel { outcome }).inc_by(0);
        }
        Arc::new(Self { own, health: Mutex::default(), registry })
    }

    /// One plan was made: how long it took, and what it gave out.
    pub(crate) fn planned(&self, took: Planned, counts: Counts) {
        self.own.snapshot_seconds.observe(took.snapshot.as_secs_f64());
        self.own.plan_seconds.observe(took.plan.as_secs_f64());
        self.own.plan_cpu_seconds.observe(took.processor.as_secs_f64());
        self.own.grants.inc_by(counts.grants);
        self.own.granted_indexes.inc_by(counts.granted_indexes);
        self.own.retries.inc_by(counts.retries);
        self.own.steals.inc_by(counts.steals);
        self.own.stolen_indexes.inc_by(counts.stolen_indexes);
        self.own.copied_indexes.inc_by(counts.copied_indexes);
        self.own.cached_indexes.inc_by(counts.cached_indexes);
        self.own.checked_indexes.inc_by(counts.checked_indexes);
        self.own.compared_indexes.inc_by(counts.compared_indexes);
        self.own.nodes_distrusted.inc_by(counts.nodes_distrusted);
        self.own.nodes_lost.inc_by(counts.nodes_lost);
    }

    /// A plan was carried out and its answers taken in.
    pub(crate) fn ended_round(&self, from: Instant) {
        self.own.round_seconds.observe(from.elapsed().as_secs_f64());
    }

    /// Nodes have seen what was written for them.
    pub(crate) fn taken_up(&self, durations: &[Duration]) {
        durations.iter().for_each(|duration| self.own.assignment_seconds.observe(duration.as_secs_f64()));
    }

    pub(crate) fn wrote(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.own.writes.get_or_create(&WriteLabels { kind, result }).inc();
        self.own.write_seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }

    pub(crate) fn finished(&self, succeeded: u64, failed: u64) {
        for (outcome, count) in [("Succeeded", succeeded), ("Failed", failed)] {
            if count > 0 {
                self.own.finished.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
            }
        }
    }

    pub(crate) fn dropped_event(&self) {
        self.own.events_dropped.inc();
    }

    pub(crate) fn set_census(&self, census: Census) {
        let set = |family: &Family<StateLabel, Gauge>, counts: BTreeMap<String, i64>| {
            family.clear();
            for (state, count) in counts {
                family.get_or_create(&StateLabel { state }).set(count);
            }
        };
        set(&self.own.jobs, census.jobs);
        set(&self.own.nodes, census.nodes);
        let waiting = [("Pending".to_owned(), census.pending), ("Running".to_owned(), census.running)];
        set(&self.own.subtasks, waiting.into());
        self.own.assignments.set(census.assignments);
    }

    pub(crate) fn set_leader(&self, holder: Option<&str>, leads: bool) {
        self.own.leading.set(i64::from(leads));
        let mut health = self.health();
        health.leads = leads;
        if health.holder.as_deref() != holder {
            self.own.leader.clear();
            if let Some(holder) = holder {
                self.own.leader.get_or_create(&HolderLabel { holder: holder.to_owned() }).set(1);
            }
            health.holder = holder.map(str::to_owned);
        }
    }

    pub(crate) fn set_synced(&self) {
        self.health().is_synced = true;
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    fn register(&self, r: &mut Registry) {
        let unit = || Unit::Seconds;
        r.register_with_unit("plan", "Time to decide one plan", unit(), self.plan_seconds.clone());
        let computed = "Processor time to decide one plan: what it takes where nobody else wants the processor";
        r.register_with_unit("plan_cpu", computed, unit(), self.plan_cpu_seconds.clone());
        r.register_with_unit("snapshot", "Time to make one plan's snapshot", unit(), self.snapshot_seconds.clone());
        let round = "Time from a plan's snapshot to the answers to its writes";
        r.register_with_unit("round", round, unit(), self.round_seconds.clone());
        let taken_up = "Time from a write to an Assignment until its node has reported that it knows it";
        r.register_with_unit("assignment", taken_up, unit(), self.assignment_seconds.clone());
        let write = "Time of one write to the API server, by kind";
        r.register_with_unit("write", write, unit(), self.write_seconds.clone());
        r.register("grants", "Assignments that were given more indexes", self.grants.clone());
        r.register(
            "granted_indexes",
            "Indexes that plans gave out, whether or not the write succeeded",
            self.granted_indexes.clone(),
        );
        r.register("retries", "Indexes given out once more after a failure", self.retries.clone());
        r.register("steals", "Times that work was recalled from a busy node for an idle one", self.steals.clone());
        r.register("stolen_indexes", "Indexes recalled from busy nodes", self.stolen_indexes.clone());
        let copied = "Indexes given to a second node because the first is stuck with them";
        r.register("copied_indexes", copied, self.copied_indexes.clone());
        let cached = "Indexes taken over from earlier jobs instead of being computed";
        r.register("cached_indexes", cached, self.cached_indexes.clone());
        r.register(
            "checked_indexes",
            "Indexes given to a second node so that outputs can be compared",
            self.checked_indexes.clone(),
        );
        r.register(
            "compared_indexes",
            "Indexes whose outputs were ordered to be compared",
            self.compared_indexes.clone(),
        );
        r.register(
            "nodes_distrusted",
            "Nodes caught with outputs that differ from what others agree on",
            self.nodes_distrusted.clone(),
        );
        r.register("nodes_lost", "Nodes found lost", self.nodes_lost.clone());
        r.register("writes", "Writes to the API server, by kind and result", self.writes.clone());
        r.register("jobs", "Jobs by state", self.jobs.clone());
        r.register("nodes", "Nodes by readiness", self.nodes.clone());
        let queue = "Subtasks of unfinished jobs: not given out yet (Pending), or given to a node (Running)";
        r.register("subtasks", queue, self.subtasks.clone());
        let finished = "Subtasks that ended while this reconciler watched, by outcome";
        r.register("finished_subtasks", finished, self.finished.clone());
        r.register("assignments", "Assignments in the cache", self.assignments.clone());
        r.register("leading", "1 while this reconciler leads", self.leading.clone());
        r.register("leader", "1 for the identity of the reconciler that leads", self.leader.clone());
        let dropped = "Events not recorded because too many waited";
        r.register("events_dropped", dropped, self.events_dropped.clone());
    }
}

impl daemon::page::Source for Metrics {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A reconciler that stands by is ready too: ready to take over.
    fn ready(&self) -> Result<String, String> {
        let health = self.health();
        let holder = health.holder.as_deref().unwrap_or("nobody");
        match (health.is_synced, health.leads) {
            (false, _) => Err("the caches are not filled yet; the API server may be away".to_owned()),
            (true, true) => Ok(format!("ok: leading as {holder}")),
            (true, false) => Ok(format!("ok: standing by, {holder} leads")),
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon::page::Source as _;

    use super::*;

    fn page(metrics: &Metrics) -> String {
        daemon::text::answer(metrics.registry(), None).unwrap().1
    }

    #[test]
    fn names_follow_prometheus() {
        let metrics = Metrics::new();
        metrics.planned(Planned::default(), Counts { retries: 3, ..Counts::default() });
        metrics.wrote("job_status", "ok", Duration::from_millis(3));
        metrics.finished(5, 0);
        let jobs = [("Running".to_owned(), 2)].into();
        metrics.set_census(Census { jobs, pending: 7, ..Census::default() });
        let page = page(&metrics);
        for line in [
            "pd_reconciler_plan_seconds_count 1",
            "pd_reconciler_plan_cpu_seconds_count 1",
            "pd_reconciler_retries_total 3",
            r#"pd_reconciler_writes_total{kind="job_status",result="ok"} 1"#,
            r#"pd_reconciler_write_seconds_count{kind="job_status"} 1"#,
            r#"pd_reconciler_jobs{state="Running"} 2"#,
            r#"pd_reconciler_subtasks{state="Pending"} 7"#,
            r#"pd_reconciler_finished_subtasks_total{outcome="Succeeded"} 5"#,
            r#"pd_reconciler_finished_subtasks_total{outcome="Failed"} 0"#,
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn the_leader_is_told_in_both_places() {
        let metrics = Metrics::new();
        assert!(metrics.ready().is_err());
        metrics.set_synced();
        metrics.set_leader(Some("a_1"), false);
        assert_eq!(metrics.ready().unwrap(), "ok: standing by, a_1 leads");
        metrics.set_leader(Some("b_2"), true);
        assert_eq!(metrics.ready().unwrap(), "ok: leading as b_2");
        let page = page(&metrics);
        assert!(page.contains("pd_reconciler_leading 1") && page.contains(r#"pd_reconciler_leader{holder="b_2"} 1"#));
        assert!(!page.contains("a_1"), "{page}");
    }
}
