//! What a kubelet and its executor processes say to each other over a pair of pipes.
//!
//! The kubelet writes `Request`s to the executor's standard input and reads `Reply`s from its standard
//! output; its standard error is for people. One message is a frame: its length as `u32` little-endian,
//! then postcard. The executor holds no secret and opens no file but the compiled module it is told to load:
//! inputs, state and parts come through `Read`.
//!
//! ```text
//! Prepare(call context) ──────────────▶
//!                      ◀────────────── Prepared | Broken | Refused
//! Plan | Run{first..=last} | Check{first..=last} | Merge ▶
//!                      ◀────────────── Read*      (answered by Data, in order)
//!                      ◀────────────── Ended*     (consecutive indexes, packed), Progress*
//!                      ◀────────────── Done       (the request is through; the next may come)
//! Cancel ─────────────▶                (at any time: what runs is no longer wanted)
//! ```
//!
//! An executor runs one request at a time. A time limit kills it: it flushes what has ended, reports
//! `TimedOut` for the index that ran, and exits; the kubelet starts another. Of an index that it was only checking it
//! says nothing then: that one is computed by the next. It may ask for several `Read`s
//! before it waits for the first answer. After `Cancel` the indexes of a `Run` or `Check` that had not begun are left
//! out: `Done` follows the last one that had. A request that cannot be carried out (a call before any
//! `Prepare`) is answered by `Broken` alone. When its standard input ends, it exits at once.
//!
//! The first request settles which files an executor can ever open: after `Compile` that component, and the
//! folder of the compiled module for writing; after `Prepare` the folder of that compiled module for reading.

mod bytes_call;
mod ended;
mod frame;
mod parcel;

pub use ended::{Checked, Ended, EndedRun, InvalidRun};
pub use frame::{FRAME_BYTES_MAX, FrameError, decode, encode, read, write};
pub use parcel::{PARCEL_BYTES_MAX, Parcel};

use serde::{Deserialize, Serialize};

/// From the kubelet to an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Compile `component` (a file) into `compiled` (a file beside the cache, renamed into it by the
    /// kubelet), then answer `Prepared`, `Broken` or `Refused`. Only sent to an executor started for compiling.
    Compile {
        /// Path of the component's bytes.
        component: String,
        /// Path to write the compiled module to.
        compiled: String,
        /// Processor time that it may take, in milliseconds.
        cpu_ms_max: u64,
        /// Memory that it may take, in bytes.
        memory_bytes_max: u64,
        /// As in the `Context` that will name `compiled`.
        canonical_nans: bool,
    },
    /// Load a compiled module and keep it, with all that its calls need, until the next `Prepare`.
    Prepare(Context),
    /// Call `plan`.
    Plan,
    /// Call `run` for each index of the range in turn, each in a fresh instance.
    Run {
        /// First index.
        first: u64,
        /// Last index, included.
        last: u64,
        /// Report every index as soon as it has ended, so that a crash can be blamed on the right one.
        careful: bool,
    },
    /// As `Run`, but another node has delivered outputs of these indexes, as `Blob::Delivered`: where the task exports
    /// `verify` and that attests one, it is the output, and `run` is not called.
    Check {
        /// First index.
        first: u64,
        /// Last index, included.
        last: u64,
        /// As in `Run`.
        careful: bool,
    },
    /// Call `merge`.
    Merge {
        /// Number of indexes of the job.
        subtasks: u64,
    },
    /// The answer to a `Read`. None: there is no such blob.
    Data(Option<ReadAnswer>),
    /// What runs is no longer wanted: `cancelled` is true from now on.
    Cancel,
}

/// What the calls of one job need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Path of the compiled module, written by `Compile` on this machine.
    pub compiled: String,
    /// The job's params as JSON.
    pub params: String,
    /// Linear memory of one instance, in bytes.
    pub memory_bytes_max: u64,
    /// Wall-clock limit of one call, in milliseconds.
    pub call_ms_max: u64,
    /// Limit on the processor time of one call, in milliseconds. None: no such limit.
    pub cpu_ms_max: Option<u64>,
    /// Output of one index, in bytes.
    pub output_bytes_max: u64,
    /// Log kept of one call, in bytes.
    pub log_bytes_max: u64,
    /// Number of targets, for a task that searches: `found` beyond it is an invalid output.
    pub goal: Option<u64>,
    /// What an instance is used for.
    pub isolation: Isolation,
    /// True when every NaN that is computed has the same bits, whatever the machine: for outputs that are compared.
    pub canonical_nans: bool,
    /// True when the task may call the host's kernels; where it may not, it has code of its own.
    pub host_kernels: bool,
}

/// How long an instance of the task lives. `plan` and `merge` always get one of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// For one index.
    #[default]
    Subtask,
    /// For many indexes of one job, until it has answered so many calls, has grown, or has failed.
    Batch,
}

/// What a task can have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// Linear memory of an instance.
    Memory,
    /// Elements of its tables.
    Tables,
    /// Core instances, memories or tables of a component.
    Instances,
    /// Depth of its calls.
    Stack,
    /// Wall-clock time of a call.
    WallTime,
    /// Processor time of a call.
    CpuTime,
    /// Bytes of an output.
    Output,
    /// Bytes handed to the host in one call.
    HostCall,
    /// Bytes of a log; what is beyond is dropped, and the call goes on.
    Log,
    /// Targets found by one index.
    Found,
    /// Bytes of a component.
    ComponentSize,
    /// Time that a compilation takes.
    CompileTime,
    /// Memory that a compilation takes.
    CompileMemory,
}

impl Limit {
    /// Its name, as metrics label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "Memory",
            Self::Tables => "Tables",
            Self::Instances => "Instances",
            Self::Stack => "Stack",
            Self::WallTime => "WallTime",
            Self::CpuTime => "CpuTime",
            Self::Output => "Output",
            Self::HostCall => "HostCall",
            Self::Log => "Log",
            Self::Found => "Found",
            Self::ComponentSize => "ComponentSize",
            Self::CompileTime => "CompileTime",
            Self::CompileMemory => "CompileMemory",
        }
    }
}

/// Size of a blob and, when bytes were asked for, the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// Bytes of the whole blob.
    pub size: u64,
    /// What was asked for, shorter only at the blob's end.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Which blob a guest reads from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Blob {
    /// An input of the job.
    Input(String),
    /// The state that the plan left.
    State,
    /// The output of an index; in `merge` only.
    Part(u64),
    /// The output of an index that another node has delivered; in `Check` only, and no guest can name it.
    Delivered(u64),
}

/// From an executor to the kubelet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// `Compile` or `Prepare` is through.
    Prepared,
    /// `Compile` or `Prepare` failed; the text is for a person.
    Broken(String),
    /// `Compile` or `Prepare` failed, because the component is beyond a limit.
    Refused {
        /// Which limit.
        limit: Limit,
        /// For a person.
        why: String,
    },
    /// The guest wants bytes of a blob; answered by `Data`. A length of 0 asks for the size alone.
    Read {
        /// Which blob.
        blob: Blob,
        /// From where.
        offset: u64,
        /// How many bytes at most.
        length: u32,
    },
    /// Indexes that have ended, in the order they did.
    Ended(EndedRun),
    /// The plan call has ended.
    Planned(Call<Layout>),
    /// A piece of the merge's result; the pieces in order are the result.
    ResultBytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The merge call has ended; on success all `ResultBytes` were sent before.
    Merged(Call<()>),
    /// How far the running index has come.
    Progress {
        /// The index.
        index: u64,
        /// Done so far, in the guest's unit.
        done: u64,
        /// All there is to do.
        total: u64,
    },
    /// The request is through; the executor waits for the next.
    Done,
}

/// What came of one call into the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call<T> {
    /// Its answer or how it failed.
    pub outcome: Outcome<T>,
    /// What it logged, one line each, at most the log's limit.
    pub log: String,
    /// Wall time in nanoseconds.
    pub wall_ns: u64,
    /// Most linear memory it had, in bytes.
    pub memory_peak_bytes: u64,
    /// The limits it met.
    pub limits: Vec<Limit>,
}

/// The answer of a call or how it failed. Every text is for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<T> {
    /// It answered.
    Success(T),
    /// The task answered `retryable`.
    Retryable(String),
    /// The task answered `permanent`.
    Permanent(String),
    /// The guest trapped; the text has the panic message, if any, and the guest's own frames.
    Trap(String),
    /// It asked for more memory than its limit.
    OutOfMemory(String),
    /// It ran beyond its time limit; the executor exits after saying so.
    TimedOut(String),
    /// Its output broke the contract.
    InvalidOutput(String),
}

/// What the plan call answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Number of indexes.
    pub subtasks: u64,
    /// Media type of the result.
    pub media_type: String,
    /// Number of targets of a task that searches.
    pub goal: Option<u64>,
    /// State for every run.
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

impl<T> Call<T> {
    /// The same call with another kind of answer.
    pub fn map<U>(self, answer: impl FnOnce(T) -> U) -> Call<U> {
        let Self { outcome, log, wall_ns, memory_peak_bytes, limits } = self;
        Call { outcome: outcome.map(answer), log, wall_ns, memory_peak_bytes, limits }
    }
}

impl<T> Outcome<T> {
    /// The same outcome with another kind of answer.
    pub fn map<U>(self, answer: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Success(value) => Outcome::Success(answer(value)),
            Self::Retryable(text) => Outcome::Retryable(text),
            Self::Permanent(text) => Outcome::Permanent(text),
            Self::Trap(text) => Outcome::Trap(text),
            Self::OutOfMemory(text) => Outcome::OutOfMemory(text),
            Self::TimedOut(text) => Outcome::TimedOut(text),
            Self::InvalidOutput(text) => Outcome::InvalidOutput(text),
        }
    }
}
