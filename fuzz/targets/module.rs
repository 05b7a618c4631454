//! Modules of tasks: core modules and components, read without running them.
#![no_main]

/// Large enough for every section, small enough for many runs a second.
const BYTES_MAX: u64 = 1 << 20;

fuzz::target!(|bytes| {
    let _ = task_abi::inspect_within(bytes, BYTES_MAX);
    if let Ok(component) = task_abi::wrap(bytes) {
        let _ = task_abi::inspect_within(&component, BYTES_MAX);
    }
});
