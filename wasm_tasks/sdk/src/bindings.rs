//! The contract's guest side, generated from `wasm_tasks/abi/wit/task.wit`.
#![allow(unsafe_code, missing_docs, reason = "generated code crosses the boundary to the host")]
#![allow(clippy::all, clippy::pedantic, unused_qualifications, unreachable_pub, reason = "generated code")]

wit_bindgen::generate!({
    path: "../abi/wit",
    world: "task",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "task_sdk::bindings",
});
