//! What a component says of itself, and whether it may be a task at all.
//!
//! In: bytes. Out: `Inspection`, or the first reason to refuse. Nothing is compiled, nothing runs; the
//! cost is one validation and two walks over the bytes.

use std::sync::LazyLock;

use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wit_parser::{Resolve, WorldId};

use crate::{CHECKS_PREFIX, CONTRACT_PREFIX, CONTRACT_VERSION, METADATA_SECTION, Metadata, WIT};

/// How many first bytes of something that is no WebAssembly a message shows.
const SHOWN_BYTES: usize = 16;

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Its metadata section.
    pub metadata: Metadata,
    /// Version of the contract it exports: `1.0.0`.
    pub abi: String,
    /// Interfaces it imports, in its own order: `processdistro:task/host@1.0.0`.
    pub imports: Vec<String>,
    /// Interfaces it exports, in its own order.
    pub exports: Vec<String>,
}

impl Inspection {
    /// True when it can check outputs: it exports `verify`.
    pub fn verifies(&self) -> bool {
        exports_checks(&self.exports)
    }
}

/// Why bytes are not a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// Larger than the caller's limit.
    #[error("the component has {actual} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        actual: u64,
        /// The limit.
        limit: u64,
    },
    /// Neither a component nor a core module.
    #[error("not WebAssembly at all: it begins with {start}, where WebAssembly begins with `\\0asm`")]
    NotWasm {
        /// The first bytes, readable.
        start: String,
    },
    /// A core module.
    #[error(
        "a core module, not a component: `pdctl push` wraps it, or build the component with `wasm-tools component new`"
    )]
    CoreModule,
    /// It does not validate.
    #[error("not a valid component: {reason} (at byte {offset})")]
    Invalid {
        /// What the validator says.
        reason: String,
        /// Where.
        offset: u64,
    },
    /// It asks for what no task may have.
    #[error("it imports {}, which no task may; a task may import `processdistro:task/*` at version 1.x only", list(.0))]
    ForbiddenImports(Vec<String>),
    /// It does not export the contract.
    #[error("it does not export `processdistro:task/contract@{CONTRACT_VERSION}`; it exports {}", list(.found))]
    NoContract {
        /// What it exports instead.
        found: Vec<String>,
    },
    /// It exports another major version of the contract.
    #[error(
        "it was built for `{found}`; this cluster runs `processdistro:task/contract@1.x`: rebuild it with the present SDK"
    )]
    OtherContract {
        /// What it exports.
        found: String,
    },
    /// The names are right, the types are not.
    #[error("it does not fit the contract {CONTRACT_VERSION}: {0}")]
    Mismatch(String),
    /// No metadata section.
    #[error(
        "it has no metadata: the custom section `{METADATA_SECTION}` is missing; the SDK's `export_task!` macro puts it there"
    )]
    NoMetadata,
    /// A metadata section that says nothing useful.
    #[error("its metadata (custom section `{METADATA_SECTION}`) is malformed: {0}")]
    MalformedMetadata(String),
}

/// What a component says of itself, or why it is not a task. The size is not checked: see `inspect_within`.
pub fn inspect(component: &[u8]) -> Result<Inspection, InspectError> {
    inspect_within(component, u64::MAX)
}

/// As `inspect`, refusing what has more than `bytes_max` bytes before looking at it.
pub fn inspect_within(component: &[u8], bytes_max: u64) -> Result<Inspection, InspectError> {
    let actual = component.len() as u64;
    if actual > bytes_max {
        return Err(InspectError::TooLarge { actual, limit: bytes_max });
    }
    check_kind(component)?;
    Validator::new_with_features(features()).validate_all(component).map_err(invalid)?;
    let surface = Surface::read(component).map_err(invalid)?;
    check_imports(&surface.imports)?;
    let abi = contract_version(&surface.exports)?;
    check_types(component, exports_checks(&surface.exports))?;
    let metadata = surface.metadata()?;
    Ok(Inspection { metadata, abi, imports: surface.imports, exports: surface.exports })
}

/// True when the bytes begin as a component's do.
pub fn is_component(bytes: &[u8]) -> bool {
    Parser::is_component(bytes)
}

/// True when the bytes begin as a core module's do.
pub fn is_core_module(bytes: &[u8]) -> bool {
    Parser::is_core_wasm(bytes)
}

/// What wasmtime 48 accepts as the executor builds it: its defaults without GC types and exceptions (their
/// cargo feature is off), threads, and relaxed SIMD (its results differ from machine to machine).
fn features() -> WasmFeatures {
    let off = WasmFeatures::RELAXED_SIMD | WasmFeatures::THREADS | WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS;
    (WasmFeatures::WASM3 - off) | WasmFeatures::COMPONENT_MODEL
}

fn check_kind(bytes: &[u8]) -> Result<(), InspectError> {
    if is_component(bytes) {
        return Ok(());
    }
    if is_core_module(bytes) {
        return Err(InspectError::CoreModule);
    }
    let start = match &bytes[..bytes.len().min(SHOWN_BYTES)] {
        [] => "nothing: the file is empty".to_owned(),
        first => format!("`{}`", first.escape_ascii()),
    };
    Err(InspectError::NotWasm { start })
}

fn invalid(error: wasmparser::Error) -> InspectError {
    InspectError::Invalid { reason: error.message().to_owned(), offset: error.offset() }
}

fn check_imports(imports: &[String]) -> Result<(), InspectError> {
    let is_allowed = |name: &&String| {
        name.strip_prefix(CONTRACT_PREFIX)
            .and_then(|rest| rest.split_once('@'))
            .is_some_and(|(_, version)| is_compatible(version))
    };
    let forbidden: Vec<String> = imports.iter().filter(|name| !is_allowed(name)).cloned().collect();
    if forbidden.is_empty() { Ok(()) } else { Err(InspectError::ForbiddenImports(forbidden)) }
}

/// Version of the contract among the exports.
fn contract_version(exports: &[String]) -> Result<String, InspectError> {
    let contract = format!("{CONTRACT_PREFIX}contract");
    let found = exports.iter().find_map(|name| match name.strip_prefix(contract.as_str())? {
        "" => Some((name, "")),
        rest => rest.strip_prefix('@').map(|version| (name, version)),
    });
    match found {
        Some((_, version)) if is_compatible(version) => Ok(version.to_owned()),
        Some((name, _)) => Err(InspectError::OtherContract { found: name.clone() }),
        None => Err(InspectError::NoContract { found: exports.to_vec() }),
    }
}

/// True for a version of our major: minor versions only add.
fn is_compatible(version: &str) -> bool {
    let major = |v: &str| v.split('.').next().unwrap_or_default().to_owned();
    major(version) == major(CONTRACT_VERSION)
}

/// True when `verify` is among the exports.
fn exports_checks(exports: &[String]) -> bool {
    exports.iter().any(|name| name.starts_with(CHECKS_PREFIX))
}

/// The contract's worlds, parsed once.
pub(crate) static WORLDS: LazyLock<Worlds> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("task.wit", WIT).expect("invariant: the contract's WIT parses");
    let world = |name| resolve.select_world(&[package], Some(name)).expect("invariant: the contract has this world");
    let (task, checked_task) = (world("task"), world("checked-task"));
    Worlds { resolve, task, checked_task }
});

/// Both worlds of the contract.
pub(crate) struct Worlds {
    pub(crate) resolve: Resolve,
    task: WorldId,
    checked_task: WorldId,
}

impl Worlds {
    /// The world of a task that exports `verify`, or of one that does not.
    pub(crate) fn of(&self, verifies: bool) -> WorldId {
        if verifies { self.checked_task } else { self.task }
    }
}

/// Compares every function of the contract, and every function it imports, type by type.
fn check_types(component: &[u8], verifies: bool) -> Result<(), InspectError> {
    wit_component::targets(&WORLDS.resolve, WORLDS.of(verifies), component, true)
        .map_err(|error| InspectError::Mismatch(error.root_cause().to_string()))
}

/// What stands at a component's top level, and the metadata sections in the core modules below it.
#[derive(Default)]
struct Surface<'a> {
    imports: Vec<String>,
    exports: Vec<String>,
    metadata: Vec<&'a [u8]>,
    nested_metadata: Vec<&'a [u8]>,
}

impl<'a> Surface<'a> {
    fn read(component: &'a [u8]) -> Result<Self, wasmparser::Error> {
        let mut surface = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        surface.imports.push(import?.name.full_name().into_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        surface.exports.push(export?.name.full_name().into_owned());
                    }
                }
                Payload::CustomSection(section) if section.name() == METADATA_SECTION => {
                    let list = if depth == 0 { &mut surface.metadata } else { &mut surface.nested_metadata };
                    list.push(section.data());
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    /// The metadata at the top level; without one, the only one below it: tools that make components leave
    /// a core module's custom sections where they were.
    fn metadata(&self) -> Result<Metadata, InspectError> {
        let candidates = if self.metadata.is_empty() { &self.nested_metadata } else { &self.metadata };
        match candidates.as_slice() {
            [] => Err(InspectError::NoMetadata),
            [only] => Metadata::parse(only).map_err(InspectError::MalformedMetadata),
            several => {
                Err(InspectError::MalformedMetadata(format!("it stands there {} times, expected once", several.len())))
            }
        }
    }
}

/// `a`, `b` and `c` in backquotes.
fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, wrap};

    #[test]
    fn a_wrapped_module_says_what_it_is() {
        let component = wrap(&fixtures::module(Some(fixtures::METADATA))).expect("wraps");
        let inspection = inspect(&component).expect("a task");
        assert_eq!(inspection.abi, "1.0.0");
        assert_eq!(inspection.metadata.name, "tiny");
        assert_eq!(inspection.metadata.inputs.len(), 1);
        assert!(inspection.imports.iter().all(|name| name.starts_with(CONTRACT_PREFIX)), "{:?}", inspection.imports);
        assert_eq!(inspection.exports, ["processdistro:task/contract@1.0.0"]);
    }

    #[test]
    fn a_task_may_export_verify_and_has_to_export_the_right_one() {
        let component = wrap(&fixtures::verifying_module()).expect("wraps");
        let inspection = inspect(&component).expect("a task");
        assert!(inspection.verifies(), "{:?}", inspection.exports);
        let without = wrap(&fixtures::module(Some(fixtures::METADATA))).expect("wraps");
        assert!(!inspect(&without).expect("a task").verifies());
        let wit =
            WIT.replace("output: list<u8>, seed: u64) -> result<bool", "output: list<u8>, seed: u64) -> result<u64");
        let mut module = fixtures::plain_verifying_module();
        fixtures::embed_world(&mut module, &wit, "checked-task", &[]);
        let error = inspect(&wrap(&module).expect("wraps")).expect_err("mismatch");
        assert!(matches!(error, InspectError::Mismatch(_)), "{error}");
    }

    #[test]
    fn other_bytes_are_refused_with_what_they_are() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "the file is empty"),
            (b"#!/bin/sh\n", "not WebAssembly at all: it begins with `#!/bin/sh\\n`"),
            (b"\x7fELF\x02\x01", "`\\x7fELF"),
            (&fixtures::module(None), "a core module, not a component: `pdctl push` wraps it"),
        ];
        for (bytes, part) in cases {
            let error = inspect(bytes).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_damaged_component_is_refused() {
        let mut component = wrap(&fixtures::module(Some(fixtures::METADATA))).expect("wraps");
        component.truncate(component.len() / 2);
        assert!(matches!(inspect(&component), Err(InspectError::Invalid { .. })));
    }

    #[test]
    fn size_is_checked_before_anything_else() {
        let error = inspect_within(&[0; 100], 99).expect_err("too large");
        assert_eq!(error, InspectError::TooLarge { actual: 100, limit: 99 });
    }

    #[test]
    fn every_forbidden_import_is_named() {
        let component = fixtures::component(
            "package a:b; world w { import wasi:sockets/tcp@0.2.6; import processdistro:task/host@2.0.0; }",
            &[
                "package wasi:sockets@0.2.6; interface tcp { connect: func(); }",
                "package processdistro:task@2.0.0; interface host { log: func(); }",
            ],
            &[("wasi:sockets/tcp@0.2.6", "connect"), ("processdistro:task/host@2.0.0", "log")],
        );
        let error = inspect(&component).expect_err("forbidden").to_string();
        for part in
            ["`wasi:sockets/tcp@0.2.6`", "`processdistro:task/host@2.0.0`", "`processdistro:task/*` at version 1.x"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_component_without_the_contract_is_refused() {
        let component = fixtures::component("package a:b; world w { }", &[], &[]);
        let error = inspect(&component).expect_err("no contract").to_string();
        assert!(error.contains("does not export `processdistro:task/contract@1.0.0`; it exports nothing"), "{error}");
    }

    #[test]
    fn another_major_version_is_refused() {
        let component = fixtures::component(
            "package a:b; world w { export processdistro:task/contract@2.0.0; }",
            &["package processdistro:task@2.0.0; interface contract { plan: func(); }"],
            &[],
        );
        let error = inspect(&component).expect_err("other version").to_string();
        assert!(error.contains("built for `processdistro:task/contract@2.0.0`"), "{error}");
    }

    #[test]
    fn the_right_name_with_other_types_is_refused() {
        let component = fixtures::component(
            "package a:b; world w { export processdistro:task/contract@1.0.0; }",
            &["package processdistro:task@1.0.0; interface contract { plan: func(); }"],
            &[],
        );
        let error = inspect(&component).expect_err("mismatch");
        assert!(matches!(error, InspectError::Mismatch(_)), "{error}");
    }

    #[test]
    fn metadata_is_needed_once_and_well_formed() {
        let without = wrap(&fixtures::module(None)).expect("wraps");
        assert_eq!(inspect(&without), Err(InspectError::NoMetadata));
        let malformed = wrap(&fixtures::module(Some("{}"))).expect("wraps");
        assert!(matches!(inspect(&malformed), Err(InspectError::MalformedMetadata(_))));
    }
}
