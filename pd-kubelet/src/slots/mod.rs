//! The slots: one executor process each, kept warm, fed with runs over a pipe; or a lane each of one process, where the
//! machine has no room for more.
//!
//! In: `Order`s for a slot. Out: `Event`s, one `Finished` for each order at its end. A slot hides that
//! executors die: it starts another, finds out which index was guilty, and goes on. It knows no Assignments,
//! no attempts and no API server.

mod blobs;
mod checks;
mod collect;
mod executor;
mod hollow;
mod mode;
mod process;
mod shared;
mod sinks;
mod slot;
mod walls;
mod within;

use std::{path::PathBuf, sync::Arc, time::Duration};

use schemas::{Digest, assignment::CallFailure};
use tokio::sync::mpsc;

pub(crate) use blobs::{Job, OpenBlob, Parts};
pub(crate) use checks::Delivered;
use collect::call_failure;
pub(crate) use collect::{Batch, Failed, cut};
pub(crate) use executor::{Executor, Spawner, process_spawner};
pub(crate) use hollow::hollow_spawner;
pub use mode::ExecutorMode;
pub(crate) use mode::{Mode, room};
pub(crate) use shared::{SharedOptions, shared_spawner};
pub(crate) use slot::Slot;
pub(crate) use walls::missing_walls;

/// What a slot is asked to do. It does one thing at a time, but for `Cancel`.
pub(crate) enum Order {
    /// Run these indexes in turn; where `delivered` has outputs of them, have the task verify these first.
    Run { job: Arc<Job>, first: u64, last: u64, delivered: Option<Delivered> },
    /// Run the plan call.
    Plan { job: Arc<Job> },
    /// Run the merge call; its result goes into a new file in the folder.
    Merge { job: Arc<Job>, parts: Arc<Parts>, subtasks: u64, folder: PathBuf },
    /// What runs is not wanted any more.
    Cancel,
}

/// What a slot says, with its number.
pub(crate) struct Event {
    pub slot: usize,
    pub kind: EventKind,
}

/// What a slot says.
pub(crate) enum EventKind {
    /// Some indexes of the run have ended, in order.
    Batch(Batch),
    /// How far the running index has come.
    Progress { index: u64, done: u64, total: u64 },
    /// The order is through; the slot waits for the next.
    Finished { end: End, busy: Duration },
}

/// How an order ended.
pub(crate) enum End {
    /// Every index of the run has an outcome in some batch before this.
    Run,
    /// The plan call has answered or failed.
    Planned(Result<executor_protocol::Layout, CallFailure>),
    /// The merge call has answered or failed.
    Merged(Result<ResultFile, CallFailure>),
    /// The executor could not load the job or read its blobs; indexes without an outcome have none.
    SetupFailed(String),
    /// It was cancelled; indexes without an outcome have none.
    Cancelled,
}

/// The result of a merge, still under a temporary name.
pub(crate) struct ResultFile {
    pub path: tempfile::TempPath,
    pub digest: Digest,
    pub size: u64,
}

/// Where slots speak to. Unbounded, but each slot has at most one order, whose size `Pace` bounds.
pub(crate) type Events = mpsc::UnboundedSender<Event>;

#[cfg(test)]
mod fake;
#[cfg(test)]
pub(crate) mod tests;
