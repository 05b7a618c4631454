//! Queues: nothing of the world is asked; the numbers are checked.

use schemas::{QueueSpec, validation};
use serde_json::Value;

use super::{super::error::Cause, causes, typed};

pub(super) fn validate(object: &Value) -> Vec<Cause> {
    typed::<QueueSpec>(object, "spec").map_or_else(Vec::new, |spec| causes(validation::validate_queue(&spec)))
}
