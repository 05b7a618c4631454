//! A guest's memory, globals and stack as they were when it failed, for a debugger of WebAssembly.
//!
//! In: the error of a call and the store that it left. Out: a core dump in the tools' common format
//! (WebAssembly/tool-conventions, Coredump.md), or why there is none. Kept for whoever replays a call, never on a node.

use std::sync::{Mutex, PoisonError};

use wasmtime::{Error, Store, WasmCoreDump};

use crate::host::Host;

/// Memory of a guest that is written out. What it has not touched takes no room, but is walked through.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// What the dump calls the program.
const NAME: &str = "task";

/// Where the core dump of a call goes, if somebody wants it.
#[derive(Debug, Default)]
pub(crate) struct CoreDumps(Mutex<Option<Result<Vec<u8>, String>>>);

impl CoreDumps {
    /// Keeps the core dump that comes with an error.
    pub(crate) fn keep(&self, error: &Error, store: &mut Store<Host>) {
        let Some(dump) = error.downcast_ref::<WasmCoreDump>() else { return };
        let bytes: u64 = dump.memories().iter().map(|memory| memory.data_size(&*store) as u64).sum();
        let kept = if bytes <= MEMORY_BYTES_MAX {
            Ok(dump.serialize(store, NAME))
        } else {
            Err(format!("the task has {bytes} bytes of memory, more than the {MEMORY_BYTES_MAX} that are written out"))
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// The last one, or why it was not kept; none if no call has failed.
    pub(crate) fn take(&self) -> Option<Result<Vec<u8>, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
