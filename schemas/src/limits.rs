//! Numbers that bound what one object or one job may ask for. Beyond each: 413 or 422, naming the limit.

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
