//! A component becomes native code.
//!
//! In: the component's file. Out: a compiled file that is whole or not there, or a text for a person. Runs in an
//! executor of its own, since a compilation cannot be interrupted but a process can be ended.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use wasmtime::{Engine, component::Component};

use crate::prepare::{ContractError, check};

/// A module's limit (64 MiB), with room for one that was admitted under a larger one.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;
/// First bytes of a component and of a core module.
const COMPONENT_START: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const CORE_MODULE_START: [u8; 8] = *b"\0asm\x01\0\0\0";

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
    #[error("the task does not compile")]
    Compile(#[source] wasmtime::Error),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error("cannot write the compiled module {path}")]
    Write { path: String, source: io::Error },
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
    if source.starts_with(&CORE_MODULE_START) {
        return Err(CompileError::CoreModule);
    }
    if !source.starts_with(&COMPONENT_START) {
        return Err(CompileError::NotWasm);
    }
    let component = Component::from_binary(engine, &source).map_err(CompileError::Compile)?;
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
