//! The fixed role table.
use super::{Attributes, Identity};
/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);
/// May `identity` do this?
pub fn authorize(identity: &Identity, attributes: &Attributes<'_>) -> Result<(), Denied> { unimplemented!() }
