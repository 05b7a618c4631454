//! The contract between ProcessDistro and a task.
//!
//! In: the bytes of a component. Out: what it says of itself (metadata, imports, exports) or why it is not
//! a task, without compiling or running anything. The contract itself is `wit/task.wit`.

use serde::{Deserialize, Serialize};

/// Version of the contract, as in `wit/task.wit`.
pub const CONTRACT_VERSION: &str = "1.0.0";
/// Name of the custom section that holds a task's `Metadata` as JSON.
pub const METADATA_SECTION: &str = "processdistro:task";
/// The contract's WIT text.
pub const WIT: &str = include_str!("../wit/task.wit");

/// What a task says of itself, in a custom section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Name under which it is registered unless the user says otherwise: a DNS label.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line on what it computes.
    pub description: String,
    /// JSON Schema of its params.
    pub params_schema: serde_json::Value,
    /// Inputs it reads.
    #[serde(default)]
    pub inputs: Vec<Input>,
}

/// One input that a task reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// True when no job can do without it.
    #[serde(default)]
    pub required: bool,
}
