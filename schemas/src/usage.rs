//! What a machine uses: kubelets write it into their Lease, the API server shows it as `metrics.k8s.io`.

use serde::{Deserialize, Serialize};

/// Usage of one machine over the last few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUsage {
    /// Seconds over which the processor time was taken.
    pub window_seconds: u64,
    /// The whole machine.
    pub machine: Usage,
    /// All executors of the kubelet together.
    pub executors: Usage,
}

/// Processor time and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Thousandths of one processor.
    pub cpu_millis: u64,
    /// Resident memory, in KiB.
    pub memory_kib: u64,
}
