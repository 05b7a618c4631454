//! The contract's guest side, generated from `wasm_tasks/abi/wit/task.wit`.
#![allow(unsafe_code, missing_docs, reason = "generated code crosses the boundary to the host")]
#![allow(clippy::all, clippy::pedantic, unused_qualifications, unreachable_pub, reason = "generated code")]

/// What a task may export beside the contract. In a world of its own, so that only a task that has it exports it; the
/// sections of both are joined where the component is made.
pub mod checks {
    wit_bindgen::generate!({
        path: "../abi/wit",
        inline: "package processdistro:sdk; world verifying { export processdistro:task/checks@1.0.0; }",
        with: { "processdistro:task/types@1.0.0": crate::bindings::processdistro::task::types },
        pub_export_macro: true,
        export_macro_name: "export_checks",
        default_bindings_module: "task_sdk::bindings::checks",
    });
}

wit_bindgen::generate!({
    path: "../abi/wit",
    world: "task",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "task_sdk::bindings",
});
