//! Admission's pure half: defaults made explicit, and every field error of an object at once.
//!
//! In: an object, as JSON or typed. Out: the object with its defaults, or a list of `FieldError`s with
//! Kubernetes' field paths, reasons and wording. Knows no store: whether a named Task exists, or whether
//! params fit its schema, is asked elsewhere.

mod assignment;
mod cached_result;
mod error;
mod job;
mod names;
mod queue;
pub mod structural;
mod token;

pub use assignment::{validate_assignment, validate_assignment_status};
pub use cached_result::validate_cached_result;
pub use error::{FieldError, FieldPath, Reason};
pub use job::{
    default_job, default_job_update, dependencies, validate_job, validate_job_create, validate_job_name,
    validate_job_update,
};
pub use names::{
    is_label_value, is_qualified_name, label_name_problem, label_problem, label_value_problem, subdomain_problem,
    validate_annotations, validate_labels, validate_metadata,
};
pub use queue::{default_queue, validate_queue};
pub use token::{default_token, validate_token, validate_token_update};

use crate::TaskSpec;

/// All that is wrong with a Task's spec. Whether its component is there and may be a task is the API
/// server's question; the digest's form is checked when it is read.
pub fn validate_task(_spec: &TaskSpec) -> Vec<FieldError> {
    Vec::new()
}
