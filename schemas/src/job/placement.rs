//! Where a Job may run, and with how much.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use crate::{ByteSize, Duration};

/// Which nodes may run a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the job puts up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
}

/// Puts up with the taints that it matches, as a Pod's toleration does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key; absent with operator `Exists`: every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Equal`: the value matches too; `Exists`: the key is enough.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The taint's value, for `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; absent: each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are the taint's.
    #[default]
    Equal,
    /// The key is the taint's.
    Exists,
}

impl Toleration {
    /// True when it matches a taint.
    pub fn matches(&self, key: &str, value: &str, effect: &str) -> bool {
        let is_key = match (&self.key, self.operator) {
            (Some(own), _) => own == key,
            (None, operator) => operator == TolerationOperator::Exists,
        };
        let is_value =
            self.operator == TolerationOperator::Exists || self.value.as_deref().unwrap_or_default() == value;
        is_key && is_value && self.effect.as_deref().is_none_or(|own| own == effect)
    }
}

/// Limits of one subtask's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Linear memory of one subtask.
    #[serde(default = "defaults::memory")]
    pub memory: ByteSize,
    /// Processor time of one attempt at one index; absent: as much as `subtaskTimeout` has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Duration>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory: defaults::memory(), cpu_time: None }
    }
}
