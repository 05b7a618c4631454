//! What the author of a task uses.
//!
//! A task is a crate of type `["cdylib", "rlib"]` that implements [`Task`] and ends with
//! `task_sdk::export_task!(TheType);`. Built for `wasm32-unknown-unknown` it is a module that exports the contract
//! (`wasm_tasks/abi/wit/task.wit`) and carries its own metadata; built natively it is an ordinary library, tested with
//! [`testing::run_whole`] against an in-memory host.
//!
//! ```no_run
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use task_sdk::{Failure, Host, InputSpec, Layout, Task};
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
//! struct Params {
//!     /// How many squares to add.
//!     #[serde(alias = "how_many")]
//!     how_many: u64,
//! }
//!
//! impl Default for Params {
//!     fn default() -> Self {
//!         Self { how_many: 10 }
//!     }
//! }
//!
//! struct SumOfSquares;
//!
//! impl Task for SumOfSquares {
//!     type Params = Params;
//!     const NAME: &'static str = "sum-of-squares";
//!     const VERSION: &'static str = "1.0.0";
//!     const DESCRIPTION: &'static str = "Adds the first squares.";
//!     const INPUTS: &'static [InputSpec] = &[];
//!
//!     fn plan(params: &Params, _host: &dyn Host) -> Result<Layout, Failure> {
//!         Ok(Layout::new(params.how_many, "text/plain"))
//!     }
//!
//!     fn run(_params: &Params, index: u64, _host: &dyn Host) -> Result<Vec<u8>, Failure> {
//!         Ok((index * index).to_le_bytes().to_vec())
//!     }
//!
//!     fn merge(_params: &Params, subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
//!         let mut sum = 0;
//!         for index in 0..subtasks {
//!             let part = host.required_part(index)?.read_all()?;
//!             sum += part.try_into().map(u64::from_le_bytes).map_err(|_| Failure::permanent("a part is not 8 bytes"))?;
//!         }
//!         host.result().write(sum.to_string().as_bytes());
//!         Ok(())
//!     }
//! }
//! # // task_sdk::export_task!(SumOfSquares); needs the crate's task.json.
//! ```
//!
//! The rules of the contract that the compiler cannot check: `run` depends on nothing but its arguments, the job's
//! inputs and the layout's state, because an index may run twice and both outputs must be equal; and each call runs in
//! a fresh instance by default, so nothing is remembered between calls.
//!
//! `task.json` beside the crate's `Cargo.toml` is the metadata that goes into the module; a test that `export_task!`
//! adds compares it with the code, and `PD_REGENERATE=1 cargo test -p CRATE` rewrites it.

mod call;
mod grid;
mod host;
pub mod kernels;
mod reader;
pub mod simd;
mod writer;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;
#[cfg(not(target_arch = "wasm32"))]
mod metadata;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use grid::{Grid, Tile};
pub use host::{Host, Level};
pub use reader::{Chunks, Lines, MAX_LINE_BYTES, Reader};
pub use writer::ResultWriter;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// What a task does. See the crate's page for an example.
pub trait Task {
    /// The job's params. `#[serde(deny_unknown_fields)]`, camelCase names and a snake_case alias each, so that the
    /// schema says exactly what the code accepts.
    type Params: DeserializeOwned + JsonSchema;

    /// Name under which the task is registered unless the user says otherwise: a DNS label.
    const NAME: &'static str;
    /// The task's own version.
    const VERSION: &'static str;
    /// One line on what it computes.
    const DESCRIPTION: &'static str;
    /// The inputs it reads.
    const INPUTS: &'static [InputSpec];

    /// Cuts the job into subtasks. Runs once, on one node, before anything else.
    fn plan(params: &Self::Params, host: &dyn Host) -> Result<Layout, Failure>;
    /// Computes one index.
    fn run(params: &Self::Params, index: u64, host: &dyn Host) -> Result<Vec<u8>, Failure>;
    /// Joins the outputs of `0..subtasks`, which it reads with [`Host::part_size`] and its like, into the result.
    fn merge(params: &Self::Params, subtasks: u64, host: &dyn Host) -> Result<(), Failure>;
}

/// What a task can have beside these: a check of outputs that costs much less than computing them. With
/// `task_sdk::export_verify!(TheType);` a node that is to check what another one has delivered calls it, and computes the
/// index only where it does not attest that.
pub trait Verify: Task {
    /// True when `output` is what `run` answers for `index`, as surely as one could tell by computing it; false when it is
    /// not, and whenever that cannot be said.
    ///
    /// `output` comes from a machine that may lie: any bytes, of any length. `seed` is random, and whoever made the output
    /// did not know it: what is looked at must be drawn from it, or a liar keeps that part right. A check that may miss a
    /// wrong output has to make that improbable for whichever output a liar chooses; a few places computed anew do not.
    fn verify(params: &Self::Params, index: u64, output: &[u8], seed: u64, host: &dyn Host) -> Result<bool, Failure>;
}

/// One input that a task reads, as its metadata names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name in the job's `inputs`.
    pub name: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// True when no job can do without it.
    pub required: bool,
}

/// How a job is cut into subtasks: what `plan` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Number of indexes, `0..subtasks`.
    pub subtasks: u64,
    /// Media type of what `merge` writes.
    pub media_type: String,
    /// For a task that searches: how many targets there are.
    pub goal: Option<u64>,
    /// Whatever `plan` worked out once and every `run` and `merge` may read with `host.state()`.
    pub state: Vec<u8>,
}

impl Layout {
    /// A layout without goal and state.
    pub fn new(subtasks: u64, media_type: &str) -> Self {
        Self { subtasks, media_type: media_type.to_owned(), goal: None, state: Vec::new() }
    }
}

/// Why a call could not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Trying again may help; counts against the index's back-off limit.
    Retryable(String),
    /// Trying again cannot help; the index fails at once.
    Permanent(String),
}

impl Failure {
    /// Trying again may help.
    pub fn retryable(text: impl Into<String>) -> Self {
        Self::Retryable(text.into())
    }

    /// Trying again cannot help.
    pub fn permanent(text: impl Into<String>) -> Self {
        Self::Permanent(text.into())
    }

    /// What happened, whichever kind it is.
    pub fn text(&self) -> &str {
        match self {
            Self::Retryable(text) | Self::Permanent(text) => text,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Retryable(text) => write!(formatter, "retryable: {text}"),
            Self::Permanent(text) => write!(formatter, "permanent: {text}"),
        }
    }
}

impl std::error::Error for Failure {}
