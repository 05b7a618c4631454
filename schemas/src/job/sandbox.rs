//! What a subtask runs in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// What a subtask runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// `Subtask`: a fresh instance for each index. `Batch`: an instance is used for one index after the other, which
    /// saves its start (some 20 µs, for Python a millisecond); whatever a task keeps in memory then lasts from one
    /// index to the next.
    #[serde(default)]
    pub isolation: Isolation,
    /// Whether a task may have the node compute matrix products and SHA-256 for it, at the speed of native code and with
    /// the bits that its own code would give. Without, it computes them itself.
    #[serde(default = "defaults::host_kernels")]
    pub host_kernels: bool,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { isolation: Isolation::default(), host_kernels: defaults::host_kernels() }
    }
}

/// How long an instance lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Isolation {
    /// For one index.
    #[default]
    Subtask,
    /// For many indexes of one job on one slot. It is replaced after 10,000 calls, when it has taken half of its
    /// memory limit, and after any failure.
    Batch,
}

impl Isolation {
    /// True for `Subtask`, which is not written into Assignments.
    pub fn is_subtask(&self) -> bool {
        *self == Self::Subtask
    }
}
