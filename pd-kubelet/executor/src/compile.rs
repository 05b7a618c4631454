//! A component becomes native code.
//!
//! In: the component's file. Out: a compiled file that is whole or not there, or a text for a person. Runs in an
//! executor of its own, since a compilation cannot be interrupted but a process can be ended: a watch beside it looks
//! at what it takes.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use executor_protocol::{FrameError, Limit, Reply};
use wasmtime::{Engine, component::Component};

use crate::pipe::Outbox;
use crate::prepare::{ContractError, check};
use crate::usage::{Clock, Usage};

/// A module's limit (64 MiB), with room for one that was admitted under a larger one.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;
/// First bytes of a component and of a core module.
const COMPONENT_START: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const CORE_MODULE_START: [u8; 8] = *b"\0asm\x01\0\0\0";

/// How often the watch looks at a compilation. Memory grows by some 500 MiB a second at most.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a compilation may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// Whose processor time counts.
    pub(crate) clock: Clock,
    pub(crate) cpu: Duration,
    pub(crate) memory_bytes: u64,
}

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("cannot read the component {path}")]
    Read { path: String, source: io::Error },
    #[error("the component {path} has {bytes} bytes, more than the limit of {COMPONENT_BYTES_MAX}")]
    TooLarge { path: String, bytes: u64 },
    #[error("the task is a core WebAssembly module, not a component: push it with `pdctl push`, which wraps it")]
    CoreModule,
    #[error("the task is not WebAssembly")]
    NotWasm,
    #[error("cannot set up an engine with canonical NaNs")]
    Engine(#[source] wasmtime::Error),
    #[error("the task does not compile")]
    Compile(#[source] wasmtime::Error),
    #[error("the component is made of too many parts: {0}")]
    TooManyParts(String),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error("cannot write the compiled module {path}")]
    Write { path: String, source: io::Error },
}

impl CompileError {
    /// The limit that was met.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::TooLarge { .. } => Some(Limit::ComponentSize),
            Self::TooManyParts(_) => Some(Limit::Instances),
            _ => None,
        }
    }

    fn of(error: wasmtime::Error) -> Self {
        let cause = error.root_cause().to_string();
        match cause.strip_suffix(" in the pooling allocator") {
            Some(text) if text.contains("exceeds the configured maximum") => Self::TooManyParts(text.to_owned()),
            _ => Self::Compile(error),
        }
    }
}

/// Looks at this process until the compilation has finished (none), or has taken more than it may: then it says so, and
/// the process is to end.
pub(crate) fn watch(
    allowance: Allowance,
    usage: &Usage,
    outbox: &Outbox,
    finished: &AtomicBool,
) -> Option<Result<(), FrameError>> {
    let end = allowance.clock.now().saturating_add(allowance.cpu);
    loop {
        thread::sleep(LOOK_EVERY);
        if finished.load(Ordering::Acquire) {
            return None;
        }
        let refused = if allowance.clock.now() >= end {
            let why = format!("the component takes longer than {:?} of processor time to compile", allowance.cpu);
            Reply::Refused { limit: Limit::CompileTime, why }
        } else if usage.resident_bytes().is_some_and(|bytes| bytes > allowance.memory_bytes) {
            let why = format!("the component takes more than {} bytes of memory to compile", allowance.memory_bytes);
            Reply::Refused { limit: Limit::CompileMemory, why }
        } else {
            continue;
        };
        return Some(outbox.send(&[refused]));
    }
}

/// Compiles the file `component` into the file `compiled`.
pub(crate) fn compile(engine: &Engine, component: &str, compiled: &str) -> Result<(), CompileError> {
    let code = load_source(engine, component)?.serialize().map_err(CompileError::Compile)?;
    write_whole(compiled.as_ref(), &code).map_err(|source| CompileError::Write { path: compiled.to_owned(), source })
}

/// Compiles a component in memory and checks that it is a task.
pub(crate) fn load_source(engine: &Engine, path: &str) -> Result<Component, CompileError> {
    let unreadable = |source| CompileError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > COMPONENT_BYTES_MAX {
        return Err(CompileError::TooLarge { path: path.to_owned(), bytes });
    }
    let source = fs::read(path).map_err(unreadable)?;
    from_bytes(engine, &source)
}

/// The same of bytes that were read before.
pub(crate) fn from_bytes(engine: &Engine, source: &[u8]) -> Result<Component, CompileError> {
    if source.starts_with(&CORE_MODULE_START) {
        return Err(CompileError::CoreModule);
    }
    if !source.starts_with(&COMPONENT_START) {
        return Err(CompileError::NotWasm);
    }
    let component = Component::from_binary(engine, source).map_err(CompileError::of)?;
    check(engine, &component)?;
    Ok(component)
}

/// Whoever finds a file of that name finds all of it, a power cut included.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
