//! What the kubelet counts. The nodes of a process with many count together.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// The label of counters by outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub outcome: &'static str,
}

/// The label of limits that guests met.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LimitLabel {
    pub limit: &'static str,
}

/// The label of transfers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DirectionLabel {
    pub direction: &'static str,
}

/// What was asked of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CacheLabels {
    pub cache: &'static str,
    pub result: &'static str,
}

/// What came of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    pub result: &'static str,
}

type FloatCounter = Counter<f64, AtomicU64>;

/// Whose usage it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UsedByLabel {
    by: &'static str,
}

/// What the machine uses, and what of it our executors do: as the Lease carries it.
#[derive(Debug)]
struct Machine;

impl Collector for Machine {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let usage = crate::usage::latest();
        let of = [("machine", usage.machine), ("executors", usage.executors)];
        let cores = Family::<UsedByLabel, Gauge<f64, AtomicU64>>::default();
        let memory = Family::<UsedByLabel, Gauge>::default();
        for (by, usage) in of {
            cores.get_or_create(&UsedByLabel { by }).set(usage.cpu_millis as f64 / 1000.0);
            memory.get_or_create(&UsedByLabel { by }).set((usage.memory_kib << 10) as i64);
        }
        let help = "Processors in use over the last seconds, by the whole machine and by our executors";
        cores.encode(encoder.encode_descriptor("cpu_used_cores", help, None, cores.metric_type())?)?;
        let help = "Memory in use, by the whole machine and by our executors";
        memory.encode(encoder.encode_descriptor("memory_used", help, Some(&Unit::Bytes), memory.metric_type())?)
    }
}

/// One node's part of a gauge that the nodes of a process share.
#[derive(Debug, Default)]
pub(crate) struct Share {
    whole: Gauge,
    part: AtomicI64,
}

impl Share {
    /// Sets this node's part.
    pub(crate) fn set(&self, part: i64) {
        self.whole.inc_by(part - self.part.swap(part, Ordering::Relaxed));
    }

    fn another(&self) -> Self {
        Self { whole: self.whole.clone(), part: AtomicI64::new(0) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// All counters of one node.
pub(crate) struct Metrics {
    pub subtasks: Family<OutcomeLabel, Counter>,
    pub limits: Family<LimitLabel, Counter>,
    /// Outputs of other nodes that tasks were shown.
    pub checks: Family<ResultLabel, Counter>,
    pub slots: Share,
    pub slots_busy: Share,
    /// Indexes that wait for a slot.
    pub queued: Share,
    pub busy_seconds: FloatCounter,
    pub assignments: Share,
    pub executor_starts: Counter,
    pub executor_kills: Counter,
    pub artifact_bytes: Family<DirectionLabel, Counter>,
    pub cache_bytes: Share,
    pub cache_requests: Family<CacheLabels, Counter>,
    pub compilations: Counter,
    pub report_seconds: Histogram,
    pub report_failures: Counter,
    pub lease_failures: Counter,
    registry: Arc<Registry>,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        // 1 ms to 8 s: from a local server to one behind a bad link.
        let report_seconds = Histogram::new((0..14).map(|power| 0.001 * f64::from(1 << power)));
        let mut new = Self {
            subtasks: Family::default(),
            limits: Family::default(),
            checks: Family::default(),
            slots: Share::default(),
            slots_busy: Share::default(),
            queued: Share::default(),
            busy_seconds: FloatCounter::default(),
            assignments: Share::default(),
            executor_starts: Counter::default(),
            executor_kills: Counter::default(),
            artifact_bytes: Family::default(),
            cache_bytes: Share::default(),
            cache_requests: Family::default(),
            compilations: Counter::default(),
            report_seconds,
            report_failures: Counter::default(),
            lease_failures: Counter::default(),
            registry: Arc::default(),
        };
        new.registry = Arc::new(daemon::registry("pd_kubelet", |registry| new.register(registry)));
        // Series that exist from the start can be compared with what comes.
        new.subtasks.get_or_create(&OutcomeLabel { outcome: "Success" }).inc_by(0);
        for result in ["attested", "refused", "failed"] {
            new.checks.get_or_create(&ResultLabel { result }).inc_by(0);
        }
        for result in ["hit", "miss"] {
            new.asked_cache("artifacts", result == "hit", 0);
            new.asked_cache("modules", result == "hit", 0);
        }
        Arc::new(new)
    }

    /// For another node of this process: it counts into the same series.
    pub(crate) fn another(&self) -> Arc<Self> {
        Arc::new(Self {
            subtasks: self.subtasks.clone(),
            limits: self.limits.clone(),
            checks: self.checks.clone(),
            slots: self.slots.another(),
            slots_busy: self.slots_busy.another(),
            queued: self.queued.another(),
            busy_seconds: self.busy_seconds.clone(),
            assignments: self.assignments.another(),
            executor_starts: self.executor_starts.clone(),
            executor_kills: self.executor_kills.clone(),
            artifact_bytes: self.artifact_bytes.clone(),
            cache_bytes: self.cache_bytes.another(),
            cache_requests: self.cache_requests.clone(),
            compilations: self.compilations.clone(),
            report_seconds: self.report_seconds.clone(),
            report_failures: self.report_failures.clone(),
            lease_failures: self.lease_failures.clone(),
            registry: Arc::clone(&self.registry),
        })
    }

    /// A cache was asked for that many things.
    pub(crate) fn asked_cache(&self, cache: &'static str, is_hit: bool, times: u64) {
        let result = if is_hit { "hit" } else { "miss" };
        self.cache_requests.get_or_create(&CacheLabels { cache, result }).inc_by(times);
    }

    fn register(&self, r: &mut Registry) {
        r.register("subtasks", "Attempts at subtasks that ended, by outcome", self.subtasks.clone());
        r.register("limits_met", "Limits of the sandbox that calls and compilations met", self.limits.clone());
        let checks =
            "Outputs of other nodes that the task's verify was shown, by what it said; attested ones were not computed";
        r.register("checks", checks, self.checks.clone());
        r.register("slots", "Subtasks that can run at once", self.slots.whole.clone());
        r.register("slots_busy", "Slots that are executing", self.slots_busy.whole.clone());
        r.register("queued_subtasks", "Subtasks that wait for a slot here", self.queued.whole.clone());
        r.register_with_unit("busy", "Slot time spent executing", Unit::Seconds, self.busy_seconds.clone());
        r.register("assignments", "Assignments being worked on or kept", self.assignments.whole.clone());
        r.register("executor_starts", "Executor processes started", self.executor_starts.clone());
        r.register("executor_kills", "Executor processes killed", self.executor_kills.clone());
        let artifacts = self.artifact_bytes.clone();
        r.register_with_unit("artifact", "Artifact bytes transferred, by direction", Unit::Bytes, artifacts);
        r.register_with_unit("cache", "Bytes in the artifact cache", Unit::Bytes, self.cache_bytes.whole.clone());
        let requests = "Requests to the caches of artifacts and of compiled modules, by result";
        r.register("cache_requests", requests, self.cache_requests.clone());
        r.register("compilations", "Components compiled", self.compilations.clone());
        let report = self.report_seconds.clone();
        r.register_with_unit(
            "report",
            "Time from a report's first upload to its acknowledgement",
            Unit::Seconds,
            report,
        );
        r.register("report_failures", "Reports that were not acknowledged", self.report_failures.clone());
        r.register("lease_failures", "Renewals of the Lease that failed", self.lease_failures.clone());
        r.register_collector(Box::new(Machine));
    }
}

impl daemon::page::Source for Metrics {
    fn registry(&self) -> &Registry {
        &self.registry
    }
}

#[cfg(test)]
mod tests {
    use daemon::page::Source as _;

    use super::*;

    fn page(metrics: &Metrics) -> String {
        daemon::text::answer(metrics.registry(), None).expect("encodes").1
    }

    #[test]
    fn names_follow_prometheus() {
        let metrics = Metrics::new();
        metrics.subtasks.get_or_create(&OutcomeLabel { outcome: "Success" }).inc_by(3);
        metrics.busy_seconds.inc_by(0.5);
        metrics.asked_cache("modules", true, 1);
        let page = page(&metrics);
        for line in [
            r#"pd_kubelet_subtasks_total{outcome="Success"} 3"#,
            "pd_kubelet_slots_busy 0",
            "pd_kubelet_busy_seconds_total 0.5",
            r#"pd_kubelet_checks_total{result="attested"} 0"#,
            r#"pd_kubelet_cache_requests_total{cache="modules",result="hit"} 1"#,
            r#"pd_kubelet_cpu_used_cores{by="machine"} "#,
            r#"pd_kubelet_memory_used_bytes{by="executors"} "#,
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn the_nodes_of_a_process_add_up_and_one_that_ends_takes_its_part_along() {
        let metrics = Metrics::new();
        let (one, other) = (metrics.another(), metrics.another());
        one.slots.set(2);
        one.slots.set(3);
        other.slots.set(4);
        assert!(page(&metrics).contains("pd_kubelet_slots 7\n"));
        drop(one);
        assert!(page(&metrics).contains("pd_kubelet_slots 4\n"));
    }
}
