//! The walls around the whole process: it stands where even an escape from the engine ends.
//!
//! In: whatever the parent left us, and what this executor is for. Out: a process without environment, without foreign
//! descriptors, network or other programs, that sees the files it is for and no others, is first in line when memory
//! runs out, and is gone when its parent is; and which of the walls this system does not have. The guest's own walls
//! are the engine's.

#[cfg_attr(target_os = "linux", path = "sandbox/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "sandbox/elsewhere.rs")]
mod system;

use std::path::Path;

use executor_protocol::Request;
use serde_json::{Value, json};

/// Private memory of an executor that compiles, over what it is allowed: this wall is met only by what grows faster
/// than `compile` looks.
const COMPILER_SPARE_BYTES: u64 = 1 << 30;

/// One of the walls.
#[derive(Debug)]
pub(crate) struct Layer {
    /// What people call it.
    pub(crate) name: &'static str,
    /// Why it is not there.
    pub(crate) missing: Option<String>,
}

/// A way into the file system that stays open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    /// What is at or below this path can be read.
    Read(&'a Path),
    /// Files in this folder can be written, too.
    Write(&'a Path),
}

/// Puts up the walls that need to know nothing; called first in the process.
pub(crate) fn enter() -> Vec<Layer> {
    enter_for(1)
}

/// The same of a process that serves that many slots.
pub(crate) fn enter_for(slots: u32) -> Vec<Layer> {
    clear_environment();
    system::enter(slots)
}

/// Shuts every door but those that this executor's first request needs: one that compiles may write where the
/// compiled module goes, one that calls may read where compiled modules are. Called while there is one thread.
pub(crate) fn confine_to(first: &Request) -> Vec<Layer> {
    match first {
        Request::Compile { component, compiled, memory_bytes_max, .. } => vec![
            confine(&[Way::Read(component.as_ref()), Way::Write(folder_of(compiled))]),
            system::limit_memory(memory_bytes_max.saturating_add(COMPILER_SPARE_BYTES)),
        ],
        Request::Prepare(context) => vec![confine(&[Way::Read(folder_of(&context.compiled))])],
        _ => vec![confine(&[])],
    }
}

/// Shuts every door but these. Called while there is one thread.
pub(crate) fn confine(ways: &[Way<'_>]) -> Layer {
    system::confine(ways)
}

/// Says on standard error what is missing. It is no reason to stop: every wall here stands behind the engine's.
pub(crate) fn complain(layers: &[Layer]) {
    for Layer { name, missing } in layers {
        if let Some(why) = missing {
            eprintln!("pd-executor: without {name}: {why}");
        }
    }
}

/// The walls as a list of `{"layer", "missing"}`, for whoever starts executors on this machine.
pub(crate) fn listed(layers: &[Layer]) -> Value {
    layers.iter().map(|Layer { name, missing }| json!({"layer": name, "missing": missing})).collect()
}

fn folder_of(path: &str) -> &Path {
    Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Nothing of what the kubelet was started with is for us.
#[expect(unsafe_code, reason = "removing a variable is unsafe while other threads may read it")]
fn clear_environment() {
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: called first in `main`, when this is the only thread.
        unsafe { std::env::remove_var(name) };
    }
}
