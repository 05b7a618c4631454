//! What is particular to a kind: its defaults, its rules, and what is asked of the world when it is
//! written (admission). The registry calls these steps in their fixed order.
//!
//! In: JSON objects of one kind. Out: the object completed, or causes. Only `admit` looks beyond the object.

mod assignment;
mod cached_result;
mod config;
mod csr;
mod dependencies;
mod job;
mod namespace;
mod node;
mod params;
mod queue;
pub(crate) mod settings;
mod task;
mod token;

use schemas::validation::FieldError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    call::{Call, Subresource},
    error::{ApiError, Cause},
    kinds::{Kind, Rules},
};

pub(crate) use csr::is_same_request;
pub(crate) use namespace::PERMANENT as PERMANENT_NAMESPACES;

impl From<FieldError> for Cause {
    fn from(error: FieldError) -> Self {
        Self::new(error.reason.as_str(), error.field, error.message)
    }
}

fn causes(errors: Vec<FieldError>) -> Vec<Cause> {
    errors.into_iter().map(Cause::from).collect()
}

/// A part of an object as its type. The structural check has passed: what does not decode is reported there.
fn typed<T: DeserializeOwned>(object: &Value, part: &str) -> Option<T> {
    T::deserialize(object.get(part)?).ok()
}

/// True when a kind's `status` is not its writer's to set on the main endpoint.
fn has_own_status(kind: &Kind) -> bool {
    kind.has_status || kind.rules == Rules::Token
}

fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove(key);
    }
}

fn copy(from: &Value, to: &mut Value, key: &str) {
    match from.get(key) {
        Some(value) => to[key] = value.clone(),
        None => remove(to, key),
    }
}

/// Drops what a creator may not say. Upstream lets a kubelet create its Node with a status.
pub(crate) fn prepare_create(kind: &Kind, object: &mut Value) {
    if has_own_status(kind) && kind.rules != Rules::Node {
        remove(object, "status");
    }
    if kind.rules == Rules::Namespace {
        namespace::prepare_create(object);
    }
}

/// Makes defaults explicit.
pub(crate) fn default(kind: &Kind, object: &mut Value) {
    match kind.rules {
        Rules::Job => schemas::validation::default_job(object),
        Rules::Queue => schemas::validation::default_queue(object),
        Rules::Token => schemas::validation::default_token(object),
        Rules::Secret => config::default_secret(object),
        _ => {}
    }
}

/// Keeps what an update left out because the server had filled it in.
pub(crate) fn default_update(kind: &Kind, old: &Value, new: &mut Value) {
    match kind.rules {
        Rules::Job => job::default_update(old, new),
        Rules::Node => node::default_update(old, new),
        _ => {}
    }
}

/// Every rule that a new object breaks.
pub(crate) fn validate_create(kind: &Kind, object: &Value) -> Vec<Cause> {
    match kind.rules {
        Rules::Job => job::validate_create(object),
        Rules::Task => typed(object, "spec").map_or_else(Vec::new, |s| causes(schemas::validation::validate_task(&s))),
        Rules::Token => {
            typed(object, "spec").map_or_else(Vec::new, |s| causes(schemas::validation::validate_token(&s)))
        }
        Rules::Queue => queue::validate(object),
        Rules::Assignment => assignment::validate_spec(object),
        Rules::CachedResult => cached_result::validate(object),
        Rules::Csr => csr::validate(object),
        Rules::ConfigMap | Rules::Secret => config::validate(object),
        _ => Vec::new(),
    }
}

/// Every rule that an update breaks.
pub(crate) fn validate_update(kind: &Kind, subresource: Subresource, old: &Value, new: &Value) -> Vec<Cause> {
    match (kind.rules, subresource) {
        (Rules::Job, Subresource::Main) => job::validate_update(old, new),
        (Rules::Queue, _) => queue::validate(new),
        (Rules::CachedResult, _) => cached_result::validate(new),
        (Rules::Assignment, Subresource::Main) => assignment::validate_spec(new),
        (Rules::Assignment, Subresource::Status) => assignment::validate_status(new),
        (Rules::Token, _) => token::validate_update(old, new),
        (Rules::ConfigMap | Rules::Secret, _) => config::validate_update(old, new),
        (Rules::Csr, Subresource::Main) if old["spec"] != new["spec"] => {
            vec![Cause::forbidden("spec", "field is immutable; create another request")]
        }
        _ => Vec::new(),
    }
}

/// Asks the world: other objects, artifacts, the certificate authority. May complete the object.
pub(crate) async fn admit(call: &Call, object: &mut Value, old: Option<&Value>) -> Result<Vec<Cause>, ApiError> {
    match (call.target.kind.rules, call.target.subresource) {
        (Rules::Job, Subresource::Main) => job::admit(call, object, old).await,
        (Rules::Task, Subresource::Main) => task::admit(call, object, old).await,
        (Rules::Assignment, Subresource::Status) => assignment::admit_status(call, object, old).await,
        (Rules::CachedResult, _) => cached_result::admit(call, object).await,
        (Rules::Token, _) if old.is_none() => token::admit(call, object).map(|()| Vec::new()),
        (Rules::Node, Subresource::Main) if old.is_none() => {
            settings::admit_node(call, &call.target.name).map(|()| Vec::new())
        }
        (Rules::Csr, Subresource::Main) if old.is_none() => csr::admit(call, object).await,
        _ => Ok(Vec::new()),
    }
}

/// Takes over from `live` what this endpoint does not write: `/status` writes the status, the main one
/// everything else.
pub(crate) fn keep_other_parts(kind: &Kind, subresource: Subresource, live: &Value, new: &mut Value) {
    if subresource == Subresource::Status {
        let mut kept = live.clone();
        copy(new, &mut kept, "status");
        if let Some(managed) = new["metadata"].get("managedFields") {
            kept["metadata"]["managedFields"] = managed.clone();
        }
        *new = kept;
    } else {
        if has_own_status(kind) {
            copy(live, new, "status");
        }
        if kind.rules == Rules::Namespace {
            copy(live, new, "spec");
        }
    }
}

/// Leaves of an applied object what its endpoint may set.
pub(crate) fn keep_subresource(kind: &Kind, subresource: Subresource, applied: &mut Value) {
    let Some(map) = applied.as_object_mut() else { return };
    if subresource == Subresource::Status {
        map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
        }
    } else if has_own_status(kind) {
        map.shift_remove("status");
    }
}

/// True for the kinds of which `conceal` takes something out.
pub(crate) fn conceals(kind: &Kind) -> bool {
    kind.rules == Rules::Token
}

/// Takes out of an object what is answered once and never stored.
pub(crate) fn conceal(kind: &Kind, object: &mut Value) {
    if conceals(kind)
        && let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
    {
        status.shift_remove("token");
    }
}

/// True when nothing holds up the object's deletion.
pub(crate) fn has_no_finalizers(object: &Value) -> bool {
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let is_namespace = object["kind"] == "Namespace" && object["apiVersion"] == "v1";
    is_empty(&object["metadata"]["finalizers"]) && (!is_namespace || is_empty(&object["spec"]["finalizers"]))
}

/// Why an object may never be deleted, if so.
pub(crate) fn refuse_delete(kind: &Kind, name: &str) -> Option<&'static str> {
    (kind.rules == Rules::Namespace && namespace::PERMANENT.contains(&name))
        .then_some("this namespace may not be deleted")
}

/// What else changes when an object is marked as going.
pub(crate) fn mark_deleted(kind: &Kind, object: &mut Value) {
    if kind.rules == Rules::Namespace {
        object["status"]["phase"] = "Terminating".into();
    }
}
