//! Delete: preconditions, finalizers, and how dependents go.

use serde_json::{Value, json};

use super::{
    super::{
        call::{Call, text},
        error::{ApiError, Cause},
        options::{Options, refuse},
        strategies,
    },
    Stored, WRITE_ATTEMPTS, encode, find, list, seconds,
};
use crate::store::{Precondition, StoreError, Write};

/// Finalizer of an owner that waits for its dependents to go.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to be set free first.
pub(crate) const ORPHAN: &str = "orphan";

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Propagation {
    /// They go after their owner.
    #[default]
    Background,
    /// They go before their owner.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    propagation: Propagation,
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: bool,
}

impl DeleteOptions {
    /// From a body (null: none) and the query, which says the same when there is no body.
    pub(crate) fn parse(body: &Value, query: &Options) -> Result<Self, ApiError> {
        let policy = match text(&body["propagationPolicy"]) {
            "" => query.propagation_policy.as_str(),
            policy => policy,
        };
        let is_orphaning = body["orphanDependents"] == true || query.orphan_dependents;
        let propagation = match policy {
            "" if is_orphaning => Propagation::Orphan,
            "" | "Background" => Propagation::Background,
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            other => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                return refuse("DeleteOptions", vec![Cause::not_supported("propagationPolicy", other, &supported)])
                    .map(|()| Self::default());
            }
        };
        let precondition = |key: &str| body["preconditions"][key].as_str().map(str::to_owned);
        let dry_run = query.dry_run || body["dryRun"].as_array().is_some_and(|list| list.iter().any(|v| v == "All"));
        Ok(Self { propagation, uid: precondition("uid"), resource_version: precondition("resourceVersion"), dry_run })
    }
}

impl DeleteOptions {
    /// The UID that the object must have.
    pub(crate) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// True when nothing is to be deleted.
    pub(crate) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// What a delete answers.
#[derive(Clone, Debug)]
pub(crate) enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Value),
    /// It waits for its finalizers.
    Pending(Value),
}

impl Deleted {
    pub(crate) fn object(&self) -> &Value {
        match self {
            Self::Gone(object) | Self::Pending(object) => object,
        }
    }
}

/// Deletes the object that a call names.
pub(crate) async fn delete(call: &Call, options: &DeleteOptions) -> Result<Deleted, ApiError> {
    let target = &call.target;
    for _ in 0..WRITE_ATTEMPTS {
        let live = find(&*call.state.store, target.kind, &target.namespace, &target.name)?;
        let live = live.ok_or_else(|| target.not_found())?;
        check_preconditions(call, &live.object, options)?;
        if let Some(why) = strategies::refuse_delete(target.kind, &target.name) {
            return Err(target.forbidden(why));
        }
        if let Some(deleted) = attempt(call, &live, options).await? {
            return Ok(deleted);
        }
    }
    Err(target.stale())
}

fn check_preconditions(call: &Call, live: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let pairs = [("UID", "uid", &options.uid), ("ResourceVersion", "resourceVersion", &options.resource_version)];
    for (label, key, wanted) in pairs {
        let present = text(&live["metadata"][key]);
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != present) {
            return Err(call.target.conflict(format!(
                "Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {present}"
            )));
        }
    }
    Ok(())
}

/// One try; `None`: somebody else wrote first.
async fn attempt(call: &Call, live: &Stored, options: &DeleteOptions) -> Result<Option<Deleted>, ApiError> {
    let target = &call.target;
    let mut going = live.object.clone();
    add_finalizer(&mut going, options.propagation);
    let is_gone = strategies::has_no_finalizers(&going);
    let value = if is_gone {
        None
    } else {
        mark(call, &mut going);
        Some(encode(target, &going)?)
    };
    if options.dry_run || (!is_gone && going == live.object) {
        return Ok(Some(if is_gone { Deleted::Gone(going) } else { Deleted::Pending(going) }));
    }
    let write = Write { key: target.key(), precondition: Precondition::Revision(live.revision), value };
    match call.state.store.commit(vec![write]).await {
        Ok(_) if is_gone => Ok(Some(Deleted::Gone(going))),
        Ok(revision) => {
            super::set_revision(&mut going, revision);
            Ok(Some(Deleted::Pending(going)))
        }
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn add_finalizer(object: &mut Value, propagation: Propagation) {
    let name = match propagation {
        Propagation::Background => return,
        Propagation::Foreground => FOREGROUND,
        Propagation::Orphan => ORPHAN,
    };
    let metadata = &mut object["metadata"];
    if !metadata["finalizers"].is_array() {
        metadata["finalizers"] = json!([]);
    }
    if let Some(list) = metadata["finalizers"].as_array_mut()
        && !list.iter().any(|finalizer| finalizer == name)
    {
        list.push(name.into());
    }
}

/// Marks an object as on its way out.
fn mark(call: &Call, object: &mut Value) {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    object["metadata"]["deletionTimestamp"] = seconds(call.now).into();
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        object["metadata"]["generation"] = (generation + 1).into();
    }
    strategies::mark_deleted(call.target.kind, object);
}

/// Deletes every object that the call's selectors select. Answers what it deleted.
pub(crate) async fn delete_collection(call: &Call, options: &DeleteOptions) -> Result<Vec<Value>, ApiError> {
    let selected = list::list_all(call)?;
    let mut deleted = Vec::with_capacity(selected.objects.len());
    for object in selected.objects {
        let mut one = call.for_name(text(&object["metadata"]["name"]));
        text(&object["metadata"]["namespace"]).clone_into(&mut one.target.namespace);
        match delete(&one, options).await {
            Ok(gone) => deleted.push(gone.object().clone()),
            Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}
