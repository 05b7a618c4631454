//! The API of ProcessDistro: its kinds, their limits, and the codecs that every component shares.
//!
//! In: bytes and JSON that somebody claims to be one of our objects. Out: typed objects, or all field
//! errors at once. This crate does no I/O, reads no clock and knows no runtime; the API server, the plan,
//! the kubelet and pdctl all mean the same thing by a word because they take it from here.

#![allow(clippy::duplicated_attributes, reason = "kube's printcolumn repeats keys such as `type_` by design")]

pub mod assignment;
pub mod cached_result;
pub mod condition;
pub mod configuration;
pub mod digest;
pub mod generated;
pub mod index_set;
mod intervals;
pub mod job;
pub mod limits;
pub mod manifest;
pub mod manifest_source;
pub mod queue;
pub mod segment;
pub mod subtask;
pub mod task;
pub mod token;
pub mod units;
pub mod usage;
pub mod validation;
pub mod well_known;

pub use assignment::{Assignment, AssignmentSpec, AssignmentStatus};
pub use cached_result::{CachedResult, CachedResultSpec};
pub use condition::Condition;
pub use digest::Digest;
pub use index_set::IndexSet;
pub use job::{Job, JobSpec, JobStatus};
pub use manifest_source::{ManifestSource, ManifestSourceSpec, ManifestSourceStatus};
pub use queue::{Queue, QueueSpec};
pub use subtask::{Subtask, SubtaskStatus};
pub use task::{Task, TaskSpec, TaskStatus};
pub use token::{Token, TokenSpec, TokenStatus};
pub use units::{ByteSize, Duration};
