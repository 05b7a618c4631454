//! The contract between ProcessDistro and a task.
//!
//! In: the bytes of a component. Out: what it says of itself (metadata, imports, exports) or why it is not
//! a task, without compiling or running anything. The contract itself is `wit/task.wit`.

mod inspect;
mod metadata;
mod wrap;

pub use inspect::{InspectError, Inspection, inspect, inspect_within, is_component, is_core_module};
pub use metadata::{Input, METADATA_BYTES_MAX, Metadata};
pub use wrap::{WrapError, wrap};

/// Version of the contract, as in `wit/task.wit`.
pub const CONTRACT_VERSION: &str = "1.0.0";
/// Name of the custom section that holds a task's `Metadata` as JSON.
pub const METADATA_SECTION: &str = "processdistro:task";
/// The contract's WIT text.
pub const WIT: &str = include_str!("../wit/task.wit");
/// What every interface name of the contract begins with; a task may import nothing else.
pub const CONTRACT_PREFIX: &str = "processdistro:task/";
/// What the name of the interface begins with that a task may export beside the contract.
pub(crate) const CHECKS_PREFIX: &str = "processdistro:task/checks@";

#[cfg(test)]
mod fixtures;
