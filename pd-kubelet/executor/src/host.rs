//! What a guest can ask of us: the host side of the contract in `wasm_tasks/abi`.
//!
//! In: calls from the guest. Out: log lines, progress, found targets, pieces of a merge's result, and what the
//! guest may read. A call that breaks the contract ends the guest with a typed error.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use executor_protocol::{Blob, Context, Reply};
use wasmtime::Result;

use crate::blobs::{Blobs, ReadError};
use crate::coredump::CoreDumps;
use crate::limits::{Meter, OutOfMemory};
use crate::pipe::{Cancels, Outbox};
use crate::watchdog::{Calls, What};

/// Generated from the WIT text.
pub(crate) mod bindings {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic)]

    wasmtime::component::bindgen!({
        path: "../../wasm_tasks/abi/wit",
        world: "task",
        imports: { default: trappable },
    });
}

use bindings::processdistro::task::host::{Host as HostCalls, Level};

/// Progress is a hint for people; more often than this nobody sees it.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// A merge's result is sent on in pieces of at least this size.
const RESULT_PIECE_BYTES: usize = 256 << 10;
/// Targets that one index may find: 8 MiB of its reply.
const FOUND_MAX: usize = 1 << 20;

/// The guest did what the contract forbids, or the node could not serve it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Breach {
    #[error("{0}")]
    Contract(String),
    #[error("more than {FOUND_MAX} targets were reported as found by one index")]
    Found,
    #[error("the task could not read what it asked for")]
    Read(#[from] ReadError),
}

/// All that lies outside the instances and outlives them.
pub(crate) struct Outside {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) cancels: Arc<Cancels>,
    pub(crate) blobs: Mutex<Blobs>,
    /// None: nobody wants any.
    pub(crate) core_dumps: Option<Arc<CoreDumps>>,
}

impl Outside {
    pub(crate) fn blobs(&self) -> MutexGuard<'_, Blobs> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the job gives its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    /// Number of targets, for a task that searches.
    pub(crate) goal: Option<u64>,
    /// Linear memory of one instance.
    pub(crate) memory_bytes_max: u64,
    /// The host's kernels may be called.
    pub(crate) kernels: bool,
}

impl Rights {
    pub(crate) fn of(context: &Context) -> Self {
        let Context { goal, memory_bytes_max, host_kernels: kernels, .. } = *context;
        Self { goal, memory_bytes_max, kernels }
    }
}

/// The host as one instance sees it.
pub(crate) struct Host {
    pub(crate) meter: Meter,
    pub(crate) found: BTreeSet<u64>,
    outside: Arc<Outside>,
    what: What,
    request: u64,
    goal: Option<u64>,
    memory_bytes_max: u64,
    kernels: bool,
    last_progress: Option<Instant>,
    result: Vec<u8>,
}

impl Host {
    pub(crate) fn new(outside: &Arc<Outside>, what: What, request: u64, rights: Rights) -> Self {
        Self {
            meter: Meter::new(rights.memory_bytes_max, Arc::clone(&outside.calls.peak)),
            found: BTreeSet::new(),
            outside: Arc::clone(outside),
            what,
            request,
            goal: rights.goal,
            memory_bytes_max: rights.memory_bytes_max,
            kernels: rights.kernels,
            last_progress: None,
            result: Vec::new(),
        }
    }

    /// The instance is called once more.
    pub(crate) fn begin(&mut self, what: What, request: u64) {
        (self.what, self.request) = (what, request);
        self.found.clear();
        self.last_progress = None;
    }

    pub(crate) fn offers_kernels(&self) -> bool {
        self.kernels
    }

    pub(crate) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// True when the running call is to end, wherever it is.
    pub(crate) fn is_halted(&self) -> bool {
        self.outside.calls.is_halted()
    }

    /// Sends what is left of the merge's result.
    pub(crate) fn flush_result(&mut self) -> Result<()> {
        if !self.result.is_empty() {
            self.outside.outbox.send(&[Reply::ResultBytes(mem::take(&mut self.result))])?;
        }
        Ok(())
    }

    fn size(&self, blob: &Blob) -> Result<Option<u64>> {
        if *blob == Blob::State && self.what == What::Plan {
            return Ok(None);
        }
        Ok(self.outside.blobs().size(blob).map_err(Breach::Read)?)
    }

    fn read(&self, blob: &Blob, offset: u64, length: u32) -> Result<Vec<u8>> {
        if *blob == Blob::State && self.what == What::Plan {
            return Ok(Vec::new());
        }
        match self.outside.blobs().read(blob, offset, length, self.memory_bytes_max) {
            Ok(bytes) => Ok(bytes),
            Err(ReadError::TooLong { wanted, limit }) => Err(OutOfMemory { wanted, limit }.into()),
            Err(error) => Err(Breach::Read(error).into()),
        }
    }
}

impl bindings::processdistro::task::types::Host for Host {}

impl HostCalls for Host {
    fn log(&mut self, level: Level, text: String) -> Result<()> {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        self.outside.calls.log(level, &text);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) -> Result<()> {
        let Some(index) = self.what.index() else { return Ok(()) };
        if self.last_progress.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY) {
            self.outside.outbox.send(&[Reply::Progress { index, done, total }])?;
            self.last_progress = Some(Instant::now());
        }
        Ok(())
    }

    fn cancelled(&mut self) -> Result<bool> {
        Ok(self.outside.cancels.include(self.request))
    }

    fn found(&mut self, target: u64) -> Result<()> {
        let breach = match self.goal {
            _ if self.what.index().is_none() => "a target can only be found in `run` and `verify`".to_owned(),
            None => format!("target {target} was reported as found, but the task's plan named no goal"),
            Some(goal) if target >= goal => {
                format!(
                    "target {target} was reported as found, but the plan's goal is {goal}: 0 to {}",
                    goal.max(1) - 1
                )
            }
            Some(_) if self.found.len() >= FOUND_MAX => return Err(Breach::Found.into()),
            Some(_) => {
                self.found.insert(target);
                return Ok(());
            }
        };
        Err(Breach::Contract(breach).into())
    }

    fn input_size(&mut self, name: String) -> Result<Option<u64>> {
        self.size(&Blob::Input(name))
    }

    fn read_input(&mut self, name: String, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.read(&Blob::Input(name), offset, length)
    }

    fn state_size(&mut self) -> Result<u64> {
        Ok(self.size(&Blob::State)?.unwrap_or(0))
    }

    fn read_state(&mut self, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.read(&Blob::State, offset, length)
    }

    fn part_size(&mut self, index: u64) -> Result<Option<u64>> {
        self.size(&Blob::Part(index))
    }

    fn read_part(&mut self, index: u64, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.read(&Blob::Part(index), offset, length)
    }

    fn write_result(&mut self, bytes: Vec<u8>) -> Result<()> {
        if self.what != What::Merge {
            let breach = "the result can only be written in `merge`".to_owned();
            return Err(Breach::Contract(breach).into());
        }
        if self.result.is_empty() {
            self.result = bytes;
        } else {
            self.result.extend(bytes);
        }
        if self.result.len() >= RESULT_PIECE_BYTES { self.flush_result() } else { Ok(()) }
    }
}
