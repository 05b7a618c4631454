//! What the server's configuration says of objects: defaults that a Job or a Token leaves to it, the ceiling of
//! a sandbox, how many nodes may join, how many Jobs may be unfinished.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use schemas::{
    Condition, JobSpec, TokenSpec, condition,
    configuration::Configuration,
    job::conditions::{COMPLETE, FAILED},
    token::Role,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc::error::TryRecvError;

use super::{
    super::{
        call::Call,
        error::{ApiError, Cause, reasons},
        kinds::{self, Kind, Rules},
    },
    typed,
};
use crate::store::{Changes, Page, Store, StoreError};

/// Makes the configuration's defaults explicit, before those of the schema.
pub(crate) fn fill(configuration: &Configuration, kind: &Kind, object: &mut Value) {
    let is_join = || typed::<TokenSpec>(object, "spec").is_some_and(|spec| spec.role == Role::Join);
    let defaults = match kind.rules {
        Rules::Job => vec![
            ("subtaskTimeout", Value::from(configuration.controller.task_timeout.to_string())),
            ("backoffLimitPerIndex", configuration.performance.max_retries.into()),
            ("retryDelay", configuration.performance.retry_delay.to_string().into()),
        ],
        // A token with which a node joins has a shorter life of its own.
        Rules::Token if !is_join() => vec![("ttl", configuration.security.token_duration.to_string().into())],
        _ => return,
    };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for (field, value) in defaults {
        if spec.get(field).is_none_or(Value::is_null) {
            spec.insert(field.to_owned(), value);
        }
    }
}

/// A Job that asks for more memory than a sandbox may have here.
pub(super) fn check_memory(configuration: &Configuration, spec: &JobSpec) -> Option<Cause> {
    let (asked, limit) = (spec.resources.memory, configuration.security.sandbox_memory_limit);
    (asked > limit).then(|| {
        let message =
            format!("Invalid value: \"{asked}\": must be at most {limit}, the cluster's security.sandbox_memory_limit");
        Cause::new(reasons::INVALID, "spec.resources.memory", message)
    })
}

/// Refuses a node beyond the most that the cluster may have; one that has joined before may come back.
pub(super) fn admit_node(call: &Call, node: &str) -> Result<(), ApiError> {
    let kind = kinds::by_rules(Rules::Node);
    let most = call.state.settings.current().controller.max_nodes;
    let store = &call.state.store;
    if store.get(&kind.key("", node))?.is_some() {
        return Ok(());
    }
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let page = Page { limit, ..Page::default() };
    if store.list(&kind.prefix(""), &page)?.records.len() < limit {
        return Ok(());
    }
    Err(call.target.forbidden(format!(
        "the cluster has {most} nodes, and controller.max_nodes is {most}: remove one with `pdctl delete node NAME`, or \
         raise it"
    )))
}

/// Refuses a Job while as many as may be are unfinished.
pub(super) fn admit_to_queue(call: &Call) -> Result<(), ApiError> {
    let most = call.state.settings.current().performance.task_queue_size;
    let unfinished = call.state.unfinished.count(&*call.state.store)?;
    if unfinished < usize::try_from(most).unwrap_or(usize::MAX) {
        return Ok(());
    }
    Err(ApiError::TooManyRequests(format!(
        "{unfinished} Jobs are unfinished, and performance.task_queue_size is {most}: wait for one to end, or delete one"
    )))
}

/// Which Jobs are unfinished. Counted once, then kept up with the store's changes whenever somebody asks.
#[derive(Default)]
pub struct Unfinished(Mutex<Option<Counted>>);

struct Counted {
    keys: HashSet<String>,
    changes: Changes,
}

impl Unfinished {
    fn count(&self, store: &dyn Store) -> Result<usize, StoreError> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.as_mut().is_none_or(|counted| !counted.is_current()) {
            *counted = Some(Counted::new(store)?);
        }
        Ok(counted.as_ref().map_or(0, |counted| counted.keys.len()))
    }
}

impl Counted {
    fn new(store: &dyn Store) -> Result<Self, StoreError> {
        let prefix = kinds::by_rules(Rules::Job).prefix("");
        let listing = store.list(&prefix, &Page::default())?;
        let changes = store.watch(&prefix, listing.revision)?;
        let unfinished = listing.records.into_iter().filter(|record| !is_finished(&record.value));
        Ok(Self { keys: unfinished.map(|record| record.key).collect(), changes })
    }

    /// Takes in what has changed; false when some of it is lost.
    fn is_current(&mut self) -> bool {
        loop {
            match self.changes.try_recv() {
                Ok(change) => match change.value.as_ref().filter(|value| !is_finished(value)) {
                    Some(_) => drop(self.keys.insert(change.key.clone())),
                    None => drop(self.keys.remove(&change.key)),
                },
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}

/// The part of a Job that says whether it has ended.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ending {
    status: EndingStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EndingStatus {
    conditions: Vec<Condition>,
}

fn is_finished(job: &[u8]) -> bool {
    let ending: Ending = serde_json::from_slice(job).unwrap_or_default();
    [COMPLETE, FAILED].iter().any(|type_| condition::is_true(&ending.status.conditions, type_))
}
