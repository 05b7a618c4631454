//! From a core module to a component.
//!
//! In: what `cargo build --target wasm32-unknown-unknown` leaves of a task. Out: the component, with the
//! task's metadata at its top level, where it can be read without parsing what lies below.

use std::borrow::Cow;

use wasm_encoder::{CustomSection, Encode, Section};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::{METADATA_SECTION, is_component, is_core_module};

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
        "the core module does not say which world it implements (no `component-type` section): build it with the \
         task SDK for wasm32-unknown-unknown"
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
    if !sections.has_world {
        return Err(WrapError::NoWorld);
    }
    let mut component = ComponentEncoder::default()
        .module(core_module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| WrapError::Encode(format!("{error:#}")))?;
    for data in sections.metadata {
        append(&mut component, METADATA_SECTION, data);
    }
    Ok(component)
}

/// The custom sections of a core module that matter here.
#[derive(Default)]
struct Sections<'a> {
    has_world: bool,
    metadata: Vec<&'a [u8]>,
}

impl<'a> Sections<'a> {
    fn read(module: &'a [u8]) -> Result<Self, wasmparser::Error> {
        let mut sections = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::CustomSection(section) = payload? {
                sections.has_world |= section.name().starts_with(WORLD_SECTION_PREFIX);
                if section.name() == METADATA_SECTION {
                    sections.metadata.push(section.data());
                }
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
    fn a_world_without_its_functions_is_refused() {
        let mut module = wasm_encoder::Module::new().finish();
        fixtures::embed_world(&mut module, crate::WIT, "task", &[]);
        let error = wrap(&module).expect_err("no exports");
        assert!(matches!(error, WrapError::Encode(_)), "{error}");
    }
}
