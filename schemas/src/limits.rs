//! Numbers that bound what one object or one job may ask for. Beyond each: 413 or 422, naming the limit.

use crate::{ByteSize, Duration};

/// One manifest file, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// One stored object as JSON, in bytes.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;
/// One task component, in bytes.
pub const MODULE_BYTES_MAX: u64 = 64 << 20;
/// Subtasks of one job.
pub const SUBTASKS_MAX: u64 = 100_000_000;
/// Output of one subtask, in bytes.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// Log kept of one subtask attempt, in bytes.
pub const LOG_BYTES_MAX: usize = 64 << 10;
/// State that a task's plan hands to its runs, in bytes.
pub const STATE_BYTES_MAX: u64 = 64 << 20;
/// One artifact of any kind (inputs and results included), in bytes.
pub const ARTIFACT_BYTES_MAX: u64 = 16 << 30;
/// Text of one failure message kept in a status, in bytes; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Distinct failure messages kept apart in one Assignment status: 64 x 4 KiB stays far below one object.
pub const FAILURE_GROUPS_MAX: usize = 64;
/// Params of one job as JSON, in bytes: they are copied into each of its Assignments and handed to every call.
pub const PARAMS_BYTES_MAX: usize = 256 << 10;
/// Inputs of one job.
pub const INPUTS_MAX: usize = 64;
/// Jobs that one job names in `dependsOn`: admission walks them all.
pub const DEPENDENCIES_MAX: usize = 64;
/// Rules of one failure policy: there are five outcomes, and each stands in one rule at most.
pub const FAILURE_RULES_MAX: usize = 5;
/// Largest weight of a queue: products of weights and slots stay within 64 bits.
pub const QUEUE_WEIGHT_MAX: u32 = 1_000_000;
/// Tolerations of one job: each is compared with each taint of each node.
pub const TOLERATIONS_MAX: usize = 32;
/// Longest time that a spec may ask for: 30 days.
pub const DURATION_MAX: Duration = Duration::from_millis(30 * 24 * 3_600_000);
/// Least memory of a subtask: 16 WebAssembly pages.
pub const MEMORY_BYTES_MIN: ByteSize = ByteSize(1 << 20);
/// Most memory of a subtask: the cluster's ceiling.
pub const MEMORY_BYTES_MAX: ByteSize = ByteSize(1 << 30);
/// Most retries of one index: each attempt that is still granted is an entry in an Assignment.
pub const BACKOFF_LIMIT_MAX: u32 = 1_000;
