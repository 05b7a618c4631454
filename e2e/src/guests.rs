//! Tasks that mean harm, made here of a few lines of text: no compiler of another language is needed for them.

use anyhow::{Context, Result};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A task of four subtasks. Index 1 does harm, the others answer at once.
const TASK: &str = r#"(module
  (import "processdistro:task/host@1.0.0" "log" (func $log (param i32 i32 i32)))
  (import "processdistro:task/kernels@1.0.0" "gemm-f64"
    (func $gemm (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 32768))
  (data (i32.const 1000) "panicked at guest.rs:1: boom")
  (data (i32.const 1100) "text/plain")
  (data (i32.const 1200) "\ff\fe\fd")
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.load (i32.const 0))))
  (func $answer (param $from i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $from))
    (i32.store (i32.const 24) (local.get $length))
    (i32.const 16))
  (func (export "processdistro:task/contract@1.0.0#plan") (param i32 i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i64.store (i32.const 24) (i64.const 4))
    (i32.store (i32.const 32) (i32.const 1100))
    (i32.store (i32.const 36) (i32.const 10))
    (i32.const 16))
  (func (export "processdistro:task/contract@1.0.0#merge") (param i32 i32 i64) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.const 16))
  (func (export "processdistro:task/contract@1.0.0#run") (param i32 i32) (param $index i64) (result i32)
    (if (i64.eq (local.get $index) (i64.const 1)) (then HARM))
    (call $answer (i32.const 1100) (i32.const 10)))
)"#;

/// Computes for ever.
pub const LOOP: &str = "(loop $l (br $l))";
/// Takes memory page by page and writes into each, for as long as it is given any.
pub const MEMORY: &str = "(loop $l (drop (memory.grow (i32.const 1)))
    (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
    (memory.fill (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)) (i32.const 7) (i32.const 65536))
    (br $l))";
/// Calls itself without end.
pub const STACK: &str = "(drop (call $recurse (i32.const 0)))";
/// Panics as the SDK's tasks do.
pub const PANIC: &str = "(call $log (i32.const 3) (i32.const 1000) (i32.const 28)) unreachable";
/// Answers two gigabytes that are not there.
pub const LIE: &str = "(return (call $answer (i32.const 0) (i32.const 0x7fffffff)))";
/// Has the host multiply matrices that it announces larger than they are.
pub const KERNEL_LIE: &str =
    "(call $gemm (i32.const 1000) (i32.const 1000) (i32.const 1000) (i32.const 0) (i32.const 8)
    (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 64))";
/// Has the host multiply matrices for ever.
pub const KERNEL_LOOP: &str = "(drop (memory.grow (i32.const 20))) (loop $l (global.set $heap (i32.const 700000))
    (call $gemm (i32.const 200) (i32.const 200) (i32.const 200) (i32.const 0) (i32.const 40000) (i32.const 0)
        (i32.const 40000) (i32.const 0) (i32.const 0) (i32.const 64)) (br $l))";
/// Logs what is no text.
pub const NO_TEXT: &str = "(call $log (i32.const 1) (i32.const 1200) (i32.const 3))";
/// Logs far more than anybody reads, and goes on.
pub const FLOOD: &str = "(loop $l (call $log (i32.const 1) (i32.const 1000) (i32.const 20))
    (global.set $heap (i32.add (global.get $heap) (i32.const 1)))
    (br_if $l (i32.lt_u (global.get $heap) (i32.const 90000))))";

/// The component of a task whose index 1 does this.
pub fn harmful(harm: &str) -> Result<Vec<u8>> {
    let mut module = wat::parse_str(TASK.replace("HARM", harm)).context("the guest's text")?;
    let mut resolve = Resolve::default();
    let package = resolve.push_source("task.wit", task_abi::WIT).context("the contract's text")?;
    let world = resolve.select_world(&[package], Some("task")).context("the contract's world")?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).context("naming the world")?;
    let metadata =
        r#"{"name":"harmful","version":"1.0.0","description":"Does harm.","paramsSchema":{"type":"object"}}"#;
    append_metadata(&mut module, metadata.as_bytes());
    task_abi::wrap(&module).context("making a component")
}

/// Adds the custom section that holds a task's metadata.
fn append_metadata(module: &mut Vec<u8>, metadata: &[u8]) {
    let name = task_abi::METADATA_SECTION.as_bytes();
    let body = [&leb(name.len())[..], name, metadata].concat();
    module.push(0);
    module.extend(leb(body.len()));
    module.extend(body);
}

/// A number as WebAssembly writes lengths.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_is_a_task() {
        for harm in [LOOP, MEMORY, STACK, PANIC, LIE, KERNEL_LIE, KERNEL_LOOP, NO_TEXT, FLOOD, ""] {
            let component = harmful(harm).expect("is made");
            assert_eq!(task_abi::inspect(&component).expect("is a task").metadata.name, "harmful");
        }
    }
}
