//! What the store counts about itself.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct StoreStats {
    /// redb transactions committed.
    pub(super) commits: Counter,
    /// Requests answered with success, no-op ones included.
    pub(super) transactions: Counter,
    /// Requests refused because a precondition failed.
    pub(super) conflicts: Counter,
    /// I/O errors that stopped the store.
    pub(super) failures: Counter,
    /// Seconds from the first write of a batch to its durability.
    pub(super) commit_seconds: Histogram,
    /// Watchers.
    pub(super) watchers: Gauge,
    /// Watchers dropped for lagging.
    pub(super) watchers_dropped: Counter,
    /// Newest revision.
    pub(super) revision: Gauge,
    /// Records in the change log.
    pub(super) log_changes: Gauge,
    /// Bytes in the change log.
    pub(super) log_bytes: Gauge,
}

/// From half a millisecond to half a second: an fsync on a good disk to one on a bad day.
const COMMIT_SECONDS: [f64; 11] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512];

impl Default for StoreStats {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            transactions: Counter::default(),
            conflicts: Counter::default(),
            failures: Counter::default(),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            watchers: Gauge::default(),
            watchers_dropped: Counter::default(),
            revision: Gauge::default(),
            log_changes: Gauge::default(),
            log_bytes: Gauge::default(),
        }
    }
}

impl StoreStats {
    /// Adds the store's metrics to `registry`, whose prefix goes before their names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("store");
        registry.register("commits", "redb transactions committed", self.commits.clone());
        registry.register("transactions", "Write requests that succeeded", self.transactions.clone());
        registry.register("conflicts", "Write requests refused by a precondition", self.conflicts.clone());
        registry.register("failures", "I/O errors that stopped the store", self.failures.clone());
        let help = "Time from the start of a group commit to its durability";
        registry.register("commit_duration_seconds", help, self.commit_seconds.clone());
        registry.register("watchers", "Open watches", self.watchers.clone());
        registry.register("watchers_dropped", "Watches ended because they lagged", self.watchers_dropped.clone());
        registry.register("revision", "Newest revision", self.revision.clone());
        registry.register("change_log_changes", "Changes in the change log", self.log_changes.clone());
        registry.register("change_log_bytes", "Bytes in the change log", self.log_bytes.clone());
    }
}
