//! Tasks: what a component says of itself is read out at admission, without running it.

use std::str::FromStr;

use schemas::{Condition, Digest, TaskStatus, task::TaskInput};
use serde_json::Value;
use task_abi::Inspection;

use super::super::{
    call::{Call, text},
    error::{ApiError, Cause, reasons},
};

pub(super) async fn admit(call: &Call, object: &mut Value, old: Option<&Value>) -> Result<Vec<Cause>, ApiError> {
    let is_same = old.is_some_and(|old| old["spec"] == object["spec"] && old["status"].is_object());
    let Ok(module) = Digest::from_str(text(&object["spec"]["module"])) else { return Ok(Vec::new()) };
    if is_same {
        return Ok(Vec::new());
    }
    let (inspection, size) = match inspect(call, &module, "spec.module").await? {
        Ok(found) => found,
        Err(cause) => return Ok(vec![*cause]),
    };
    let generation = object["metadata"]["generation"].as_i64();
    let status = status(call, inspection, size, generation);
    object["status"] = serde_json::to_value(status)
        .map_err(|error| ApiError::Internal(format!("cannot encode a task's status: {error}")))?;
    Ok(Vec::new())
}

/// Reads a component and its size, or says what is wrong with it.
pub(super) async fn inspect(
    call: &Call,
    module: &Digest,
    field: &str,
) -> Result<Result<(Inspection, u64), Box<Cause>>, ApiError> {
    let refusal = |reason, message: String| Ok(Err(Box::new(Cause::new(reason, field, message))));
    let Some(size) = call.state.artifacts.head(module).await? else {
        let help = "upload the component first (`pdctl push` does)";
        return refusal(reasons::NOT_FOUND, format!("Not found: \"{module}\": {help}"));
    };
    let limit = super::job::COMPONENT_BYTES_MAX;
    if size > limit {
        return refusal(
            reasons::INVALID,
            format!("Invalid value: the component has {size} bytes; at most {limit} are allowed"),
        );
    }
    let Some(bytes) = call.state.artifacts.read_all(module, limit).await? else {
        return refusal(
            reasons::NOT_FOUND,
            format!("Not found: \"{module}\": it has just been removed; upload it again"),
        );
    };
    let inspected = tokio::task::spawn_blocking(move || task_abi::inspect_within(&bytes, limit)).await;
    match inspected {
        Ok(Ok(inspection)) => Ok(Ok((inspection, size))),
        Ok(Err(error)) => refusal(reasons::INVALID, format!("Invalid value: \"{module}\": {error}")),
        Err(error) => Err(ApiError::Internal(format!("reading component {module} failed: {error}"))),
    }
}

/// A task's input as the API spells it.
pub(super) fn input(input: task_abi::Input) -> TaskInput {
    TaskInput { name: input.name, description: input.description, required: input.required }
}

fn status(call: &Call, inspection: Inspection, size: u64, generation: Option<i64>) -> TaskStatus {
    let Inspection { metadata, abi, imports, exports } = inspection;
    let accepted = Condition {
        type_: "Accepted".to_owned(),
        status: "True".to_owned(),
        reason: "ContractFits".to_owned(),
        message: format!("built for contract {abi}; it imports nothing that is not allowed"),
        last_transition_time: call.now,
        observed_generation: generation,
    };
    TaskStatus {
        observed_generation: generation,
        conditions: vec![accepted],
        abi: Some(abi),
        version: Some(metadata.version),
        description: Some(metadata.description),
        imports,
        exports,
        size: Some(size),
        inputs: metadata.inputs.into_iter().map(input).collect(),
        params_schema: Some(metadata.params_schema),
    }
}
