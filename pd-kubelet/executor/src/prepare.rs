//! A compiled module becomes something that can be called.
//!
//! In: a file that `compile` wrote on this machine. Out: a `Prepared`, or a text for a person. What a component
//! may import is checked here once more, whatever the API server has found: this is the last door.

use std::{fs, io, path::Path};

use executor_protocol::Context;
use wasmtime::{
    Engine,
    component::{Component, ComponentExportIndex, HasSelf, Linker},
};

use crate::host::{
    Host,
    bindings::{Task, TaskIndices, TaskPre},
};

/// Interfaces that a task may import.
const ALLOWED: &str = "processdistro:task/";
/// A page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;
/// The interface that a task must export.
const CONTRACT: &str = "processdistro:task/contract@1.0.0";
/// The interface that it may export beside it.
const CHECKS: &str = "processdistro:task/checks@1.0.0";

/// Why a component cannot be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("cannot read the compiled module {path}")]
    Read { path: String, source: io::Error },
    #[error("the compiled module {path} was not made by this executor: compile it again")]
    Load { path: String, source: wasmtime::Error },
    #[error("cannot set up an engine with canonical NaNs")]
    Engine(#[source] wasmtime::Error),
    #[error(transparent)]
    Contract(#[from] ContractError),
}

/// Why a component is not a task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContractError {
    #[error("the task imports {}, which the sandbox does not offer; a task may import `{ALLOWED}*` only, so build it for wasm32-unknown-unknown without files, clocks, network or random numbers", .0.join(", "))]
    Import(Vec<String>),
    #[error("the component does not export `{CONTRACT}`, so it is not a task")]
    Export,
    #[error("the task does not fit the contract `{CONTRACT}` of this node")]
    Shape(#[source] wasmtime::Error),
}

/// A task that is ready to be called, and what its calls need.
pub(crate) struct Prepared {
    pub(crate) context: Context,
    pub(crate) task: TaskPre<Host>,
    /// Where the functions of the contract are.
    pub(crate) indices: TaskIndices,
    /// Where `verify` is, if it is exported.
    pub(crate) verify: Option<ComponentExportIndex>,
    /// The largest linear memory that an instance begins with.
    pub(crate) initial_bytes: u64,
}

impl Prepared {
    pub(crate) fn new(context: Context, task: TaskPre<Host>) -> Result<Self, ContractError> {
        let indices = TaskIndices::new(task.instance_pre()).map_err(ContractError::Shape)?;
        let component = task.instance_pre().component();
        let checks = component.get_export_index(None, CHECKS);
        let verify = checks.and_then(|checks| component.get_export_index(Some(&checks), "verify"));
        let required = component.resources_required();
        let pages = required.and_then(|required| required.max_initial_memory_size).unwrap_or(0);
        let initial_bytes = pages.saturating_mul(PAGE_BYTES);
        Ok(Self { context, task, indices, verify, initial_bytes })
    }
}

/// Loads a compiled module.
pub(crate) fn prepare(engine: &Engine, context: Context) -> Result<Prepared, PrepareError> {
    let path = || context.compiled.clone();
    fs::metadata(&context.compiled).map_err(|source| PrepareError::Read { path: path(), source })?;
    let component = load(engine, context.compiled.as_ref());
    let component = component.map_err(|source| PrepareError::Load { path: path(), source })?;
    let task = check(engine, &component)?;
    Ok(Prepared::new(context, task)?)
}

/// Maps a compiled module into memory.
#[expect(unsafe_code, reason = "a compiled module is native code, and wasmtime cannot check that")]
fn load(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the kubelet names only files of its own cache, which `compile` wrote on this machine for this
    // user alone; nothing that came over the network is ever named here. Version and settings are checked.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Checks that a component is a task of this contract.
pub(crate) fn check(engine: &Engine, component: &Component) -> Result<TaskPre<Host>, ContractError> {
    let kind = component.component_type();
    let forbidden: Vec<_> = kind
        .imports(engine)
        .map(|(name, _)| format!("`{name}`"))
        .filter(|name| !name[1..].starts_with(ALLOWED))
        .collect();
    if !forbidden.is_empty() {
        return Err(ContractError::Import(forbidden));
    }
    if !kind.exports(engine).any(|(name, _)| name == CONTRACT) {
        return Err(ContractError::Export);
    }
    let mut linker = Linker::new(engine);
    Task::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host).map_err(ContractError::Shape)?;
    linker.instantiate_pre(component).and_then(TaskPre::new).map_err(ContractError::Shape)
}
