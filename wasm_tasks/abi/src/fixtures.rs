//! Tiny hand-encoded modules and components for this crate's tests.

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection, MemorySection,
    MemoryType, Module, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::{METADATA_SECTION, WIT, wrap::append};

/// Metadata of the tiny task.
pub(crate) const METADATA: &str = r#"{"name":"tiny","version":"0.1.0","description":"Traps.",
    "paramsSchema":{"type":"object"},"inputs":[{"name":"words","description":"one a line","required":true}]}"#;

/// A core module of the contract's world whose functions trap.
pub(crate) fn module(metadata: Option<&str>) -> Vec<u8> {
    let mut module = plain_module(metadata);
    embed_world(&mut module, WIT, "task", &[]);
    module
}

/// A function's name, params and results.
type Signature = (&'static str, &'static [ValType], &'static [ValType]);

/// The functions of the contract, and one more. `verify` is the first.
const FUNCTIONS: [Signature; 5] = {
    use ValType::{I32, I64};
    [
        ("processdistro:task/checks@1.0.0#verify", &[I32, I32, I64, I32, I32, I64], &[I32]),
        ("processdistro:task/contract@1.0.0#plan", &[I32, I32], &[I32]),
        ("processdistro:task/contract@1.0.0#run", &[I32, I32, I64], &[I32]),
        ("processdistro:task/contract@1.0.0#merge", &[I32, I32, I64], &[I32]),
        ("cabi_realloc", &[I32, I32, I32, I32], &[I32]),
    ]
};

/// The same, as a compiler that knows no worlds leaves it.
pub(crate) fn plain_module(metadata: Option<&str>) -> Vec<u8> {
    with_metadata(encode(&[], &FUNCTIONS[1..]), metadata)
}

/// A module that exports `verify` as well, as a compiler that knows no worlds leaves it.
pub(crate) fn plain_verifying_module() -> Vec<u8> {
    with_metadata(encode(&[], &FUNCTIONS), Some(METADATA))
}

/// The same with its world.
pub(crate) fn verifying_module() -> Vec<u8> {
    let mut module = plain_verifying_module();
    embed_world(&mut module, WIT, "checked-task", &[]);
    module
}

fn with_metadata(mut module: Vec<u8>, metadata: Option<&str>) -> Vec<u8> {
    if let Some(metadata) = metadata {
        append(&mut module, METADATA_SECTION, metadata.as_bytes());
    }
    module
}

/// A component of any world: its exports, if any, are plain functions named `plan`, its `imports` (interface
/// and function) plain functions too.
pub(crate) fn component(wit: &str, dependencies: &[&str], imports: &[(&str, &str)]) -> Vec<u8> {
    let version = if wit.contains("contract@1") { "1.0.0" } else { "2.0.0" };
    let export = format!("processdistro:task/contract@{version}#plan");
    let plan: &[_] = if wit.contains("contract@") { &[(export.as_str(), &[][..], &[][..])] } else { &[] };
    let mut module = encode(imports, plan);
    embed_world(&mut module, wit, "w", dependencies);
    ComponentEncoder::default().module(&module).expect("a module").validate(true).encode().expect("encodes")
}

/// Adds wit-bindgen's section for `world` of `wit`.
pub(crate) fn embed_world(module: &mut Vec<u8>, wit: &str, world: &str, dependencies: &[&str]) {
    let mut resolve = Resolve::default();
    for dependency in dependencies {
        resolve.push_source("dependency.wit", dependency).expect("dependency parses");
    }
    let package = resolve.push_source("world.wit", wit).expect("world parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world");
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8, false).expect("embeds");
}

/// A module that exports a memory and functions, all of which trap; it imports functions without params.
fn encode(imported: &[(&str, &str)], functions: &[(&str, &[ValType], &[ValType])]) -> Vec<u8> {
    let (mut types, mut imports, mut declared) = (TypeSection::new(), ImportSection::new(), FunctionSection::new());
    let (mut exports, mut code, mut memories) = (ExportSection::new(), CodeSection::new(), MemorySection::new());
    types.ty().function([], []);
    for (interface, name) in imported {
        imports.import(interface, name, EntityType::Function(0));
    }
    for (position, (name, params, results)) in (0_u32..).zip(functions) {
        types.ty().function(params.iter().copied(), results.iter().copied());
        declared.function(position + 1);
        exports.export(name, ExportKind::Func, imported.len() as u32 + position);
        let mut body = Function::new([]);
        body.instructions().unreachable().end();
        code.function(&body);
    }
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    exports.export("memory", ExportKind::Memory, 0);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&declared).section(&memories).section(&exports).section(&code);
    module.finish()
}
