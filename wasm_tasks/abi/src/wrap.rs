//! From a core module to a component.
//!
//! In: what `cargo build --target wasm32-unknown-unknown`, or any other compiler, leaves of a task. Out: the component,
//! with the task's metadata at its top level, where it can be read without parsing what lies below. A module that exports
//! the contract's functions by their names needs no tool that tells its world: its exports say which of the two it is.

use std::borrow::Cow;

use wasm_encoder::{CustomSection, Encode, Section};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::{CHECKS_PREFIX, CONTRACT_PREFIX, METADATA_SECTION, inspect::WORLDS, is_component, is_core_module};

/// Custom sections in which wit-bindgen leaves a module's world; a suffix follows the name.
const WORLD_SECTION_PREFIX: &str = "component-type";

/// Why a core module cannot be wrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// Neither a component nor a core module.
    #[error("not WebAssembly: neither a component nor a core module")]
    NotWasm,
    /// Its sections cannot be read.
    #[error("not a valid core module: {reason} (at byte {offset})")]
    Invalid {
        /// What the parser says.
        reason: String,
        /// Where.
        offset: u64,
    },
    /// It was built without the contract.
    #[error(
        "the core module is no task: it neither says which world it implements (a `component-type` section) nor exports \
         the contract's functions (`processdistro:task/contract@1.0.0#run` and its like): build it with the task SDK for \
         wasm32-unknown-unknown"
    )]
    NoWorld,
    /// The module and its world contradict each other.
    #[error("cannot make a component of the core module: {0}")]
    Encode(String),
}

/// The component of a core module. A component is returned unchanged.
pub fn wrap(core_module: &[u8]) -> Result<Vec<u8>, WrapError> {
    if is_component(core_module) {
        return Ok(core_module.to_vec());
    }
    if !is_core_module(core_module) {
        return Err(WrapError::NotWasm);
    }
    let sections = Sections::read(core_module)
        .map_err(|error| WrapError::Invalid { reason: error.message().to_owned(), offset: error.offset() })?;
    if !sections.has_world && !sections.exports_contract {
        return Err(WrapError::NoWorld);
    }
    let module = if sections.has_world {
        Cow::Borrowed(core_module)
    } else {
        Cow::Owned(with_world(core_module, sections.exports_checks)?)
    };
    let mut component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| WrapError::Encode(format!("{error:#}")))?;
    for data in sections.metadata {
        append(&mut component, METADATA_SECTION, data);
    }
    Ok(component)
}

/// The module, saying that its world is the contract's.
fn with_world(core_module: &[u8], verifies: bool) -> Result<Vec<u8>, WrapError> {
    let mut module = core_module.to_vec();
    embed_component_metadata(&mut module, &WORLDS.resolve, WORLDS.of(verifies), StringEncoding::UTF8, false)
        .map_err(|error| WrapError::Encode(format!("{error:#}")))?;
    Ok(module)
}

/// The sections of a core module that matter here.
#[derive(Default)]
struct Sections<'a> {
    has_world: bool,
    exports_contract: bool,
    exports_checks: bool,
    metadata: Vec<&'a [u8]>,
}

impl<'a> Sections<'a> {
    fn read(module: &'a [u8]) -> Result<Self, wasmparser::Error> {
        let mut sections = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::CustomSection(section) => {
                    sections.has_world |= section.name().starts_with(WORLD_SECTION_PREFIX);
                    if section.name() == METADATA_SECTION {
                        sections.metadata.push(section.data());
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let name = export?.name;
                        sections.exports_contract |= name.starts_with(CONTRACT_PREFIX);
                        sections.exports_checks |= name.starts_with(CHECKS_PREFIX);
                    }
                }
                _ => {}
            }
        }
        Ok(sections)
    }
}

/// Adds a custom section at the end of a binary.
pub(crate) fn append(binary: &mut Vec<u8>, name: &str, data: &[u8]) {
    let section = CustomSection { name: Cow::Borrowed(name), data: Cow::Borrowed(data) };
    binary.push(section.id());
    section.encode(binary);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn components_stay_as_they_are() {
        let component = wrap(&fixtures::module(Some(fixtures::METADATA))).expect("wraps");
        assert_eq!(wrap(&component), Ok(component));
    }

    #[test]
    fn what_cannot_be_wrapped_is_named() {
        assert_eq!(wrap(b"hello"), Err(WrapError::NotWasm));
        assert_eq!(wrap(&wasm_encoder::Module::new().finish()), Err(WrapError::NoWorld));
        let mut damaged = fixtures::module(None);
        damaged.truncate(damaged.len() - 3);
        assert!(matches!(wrap(&damaged), Err(WrapError::Invalid { .. })));
    }

    #[test]
    fn a_module_that_exports_the_contract_needs_no_world() {
        let without_world = fixtures::plain_module(Some(fixtures::METADATA));
        let component = wrap(&without_world).expect("wraps");
        assert_eq!(crate::inspect(&component).expect("a task").metadata.name, "tiny");
    }

    #[test]
    fn a_module_that_exports_verify_needs_no_world_either() {
        let component = wrap(&fixtures::plain_verifying_module()).expect("wraps");
        assert!(crate::inspect(&component).expect("a task").verifies());
    }

    #[test]
    fn a_world_without_its_functions_is_refused() {
        let mut module = wasm_encoder::Module::new().finish();
        fixtures::embed_world(&mut module, crate::WIT, "task", &[]);
        let error = wrap(&module).expect_err("no exports");
        assert!(matches!(error, WrapError::Encode(_)), "{error}");
    }
}
