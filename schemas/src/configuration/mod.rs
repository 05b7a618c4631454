//! The servers' configuration: ten keys, where each value came from, and what they are when nobody says.
//!
//! In: a file's text, environment variables, flags. Out: `Layered`, the value of every key with its origin, and
//! `Configuration`, the same as a type. Nothing is read from disk or from the process here.
//!
//! Flags stand above the environment, that above the file, that above the defaults.

mod file;
mod layers;
mod setting;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use file::{Spelling, parse, schema};
pub use layers::{ConfigurationError, Layered, Origin, SettingError, Value, layered};
pub use setting::{SETTINGS, Setting};

use crate::{ByteSize, Duration, job, limits, token};

/// What the servers go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Configuration {
    /// The control plane.
    pub controller: Controller,
    /// Credentials and sandboxes.
    pub security: Security,
    /// Retries and queues.
    pub performance: Performance,
}

/// The control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Controller {
    /// Port of the API server; 0 takes a free one. Read at start only.
    pub port: u16,
    /// Most nodes of the cluster; a further one is refused when it joins.
    #[schemars(range(min = 1))]
    pub max_nodes: u32,
    /// Wall-clock limit of one attempt at one subtask, for Jobs that say no `subtaskTimeout`.
    pub task_timeout: Duration,
    /// Whether work is taken back from slow nodes for idle ones, for Jobs that do not turn it off themselves.
    pub work_stealing_enabled: bool,
}

/// Credentials and sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Security {
    /// How long a token lives that does not say so itself.
    pub token_duration: Duration,
    /// Whether the API server speaks TLS only. `false` is accepted on a loopback address only. Read at start
    /// only.
    pub require_tls: bool,
    /// Most memory that a subtask may ask for.
    pub sandbox_memory_limit: ByteSize,
}

/// Retries and queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Performance {
    /// Retries of one index, for Jobs that say no `backoffLimitPerIndex`.
    #[schemars(range(max = 1000))]
    pub max_retries: u32,
    /// Delay before the first retry, for Jobs that say no `retryDelay`.
    pub retry_delay: Duration,
    /// Most Jobs that may be unfinished at once; a further one is answered 429.
    #[schemars(range(min = 1))]
    pub task_queue_size: u32,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            port: 6443,
            // What upstream tests Kubernetes with; our own figures stop at fewer.
            max_nodes: 5_000,
            task_timeout: job::defaults::subtask_timeout(),
            work_stealing_enabled: true,
        }
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            token_duration: token::defaults::ttl(),
            require_tls: true,
            sandbox_memory_limit: limits::MEMORY_BYTES_MAX,
        }
    }
}

impl Default for Performance {
    fn default() -> Self {
        Self {
            max_retries: job::defaults::backoff_limit_per_index(),
            retry_delay: job::defaults::retry_delay(),
            // A Job with its Assignments on ten nodes is some 20 KB: 200 MB of unfinished work.
            task_queue_size: 10_000,
        }
    }
}

#[cfg(test)]
mod tests;
