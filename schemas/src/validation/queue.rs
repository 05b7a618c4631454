//! Defaults and rules of a Queue.

use serde_json::Value;

use super::{FieldError, FieldPath, structural};
use crate::{QueueSpec, limits::QUEUE_WEIGHT_MAX};

/// Makes the defaults of a Queue explicit in its `spec`.
pub fn default_queue(queue: &mut Value) {
    structural::apply_defaults("Queue", queue);
}

/// All that is wrong with a Queue's spec.
pub fn validate_queue(spec: &QueueSpec) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    if !(1..=QUEUE_WEIGHT_MAX).contains(&spec.weight) {
        let rule = format!("must be between 1 and {QUEUE_WEIGHT_MAX}");
        errors.push(FieldError::invalid(path.child("weight"), spec.weight, rule));
    }
    let quota = spec.quota.unwrap_or_default();
    for (field, limit) in [("slots", quota.slots), ("jobs", quota.jobs)] {
        if limit == Some(0) {
            let rule = "must be greater than or equal to 1; leave it out for no limit";
            errors.push(FieldError::invalid(path.child("quota").child(field), 0, rule));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_weighs_something_and_allows_something() {
        let mut queue = json!({"spec": {}});
        default_queue(&mut queue);
        assert_eq!(queue, json!({"spec": {"weight": 1}}));
        let spec = |value| serde_json::from_value::<QueueSpec>(value).expect("a spec");
        assert!(validate_queue(&spec(queue["spec"].take())).is_empty());
        let wrong = validate_queue(&spec(json!({"weight": 0, "quota": {"slots": 0, "jobs": 0}})));
        let fields: Vec<_> = wrong.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["spec.weight", "spec.quota.slots", "spec.quota.jobs"]);
        assert_eq!(validate_queue(&spec(json!({"weight": 1_000_001}))).len(), 1);
    }
}
