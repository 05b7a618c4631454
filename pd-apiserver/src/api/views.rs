//! Kinds of which nothing is stored: each read computes them from what is.
//!
//! In: calls. Out: objects and lists as if they were stored. Which room computes them stands here.

use serde_json::Value;

use super::{call::Call, error::ApiError, kinds::Rules, pods, registry::ListResult, subtasks, usage};

/// Whether a kind is computed.
pub(crate) const fn is_view(rules: Rules) -> bool {
    matches!(
        rules,
        Rules::Subtask
            | Rules::Pod
            | Rules::NodeMetrics
            | Rules::PodMetrics
            | Rules::Service
            | Rules::PodDisruptionBudget
    )
}

/// One object.
pub(crate) fn get(call: &Call) -> Result<Value, ApiError> {
    match call.target.kind.rules {
        Rules::Subtask => subtasks::get(call),
        Rules::Pod => pods::get(call),
        Rules::NodeMetrics => usage::node(call),
        Rules::PodMetrics => usage::pod(call),
        _ => Err(call.target.not_found()),
    }
}

/// A page of a list.
pub(crate) fn list(call: &Call) -> Result<ListResult, ApiError> {
    match call.target.kind.rules {
        Rules::Subtask => subtasks::list(call),
        Rules::Pod => pods::list(call),
        Rules::NodeMetrics => usage::nodes(call),
        Rules::PodMetrics => usage::pods(call),
        _ => Ok(ListResult { revision: call.state.store.revision(), ..ListResult::default() }),
    }
}

/// The whole list of a computed kind, for a watch to begin with.
pub(crate) fn list_all(call: &Call) -> Result<ListResult, ApiError> {
    let mut call = call.clone();
    call.options.limit = 0;
    call.options.continue_token.clear();
    list(&call)
}
