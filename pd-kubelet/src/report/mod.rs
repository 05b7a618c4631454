//! From outcomes to the Assignment's status: segments packed, kept on disk, uploaded, reported.
//!
//! In: batches of outcomes and what the agent knows besides (`Message`s, in order). Out: a status that the
//! server has acknowledged. One task for each Assignment; traffic depends on time and not on subtasks. The
//! room decides nothing about work.

mod ledger;
pub(crate) mod pack;
mod publish;
mod reporter;
mod tiers;

use schemas::{Assignment, IndexSet, assignment::CallFailure, assignment::Running};

pub(crate) use ledger::Ledger;
pub(crate) use reporter::{Reporter, Setting};

use crate::slots::{Batch, ResultFile};

/// What a reporter is told.
pub(crate) enum Message {
    /// Outcomes of an attempt.
    Batch { attempt: u32, batch: Batch },
    /// A run has ended: this many indexes in this many slot-seconds.
    Busy { ended: u64, seconds: f64 },
    /// The state around the outcomes.
    View(View),
    /// Nothing more will come for now: report at once.
    Flush,
    /// The object as the server has it now.
    Object(Box<Assignment>),
    /// The plan call's answer.
    Planned { attempt: u32, result: Result<executor_protocol::Layout, CallFailure> },
    /// The merge call's answer.
    Merged { attempt: u32, media_type: String, result: Result<ResultFile, CallFailure> },
    /// The Assignment is gone: forget everything of it.
    Discard,
}

/// What a status says beside the outcomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Generation of the spec that was synced.
    pub generation: i64,
    pub retained: IndexSet,
    pub running: Vec<Running>,
}

/// What a reporter tells the agent.
#[derive(Debug)]
pub(crate) struct Lost {
    /// UID of the Assignment.
    pub uid: String,
    /// Indexes whose outputs neither the server nor this machine has any more.
    pub indexes: IndexSet,
}
