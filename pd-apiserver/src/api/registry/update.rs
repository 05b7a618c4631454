//! Update: PUT, every kind of PATCH and server-side apply, all against the newest state.

use serde_json::Value;

use super::{
    super::{
        apply::{self, Operation, Writer},
        call::{Call, Subresource, text},
        error::ApiError,
        media::Document,
        patch, schema, strategies,
    },
    Stored, WRITE_ATTEMPTS, Written, check_address, check_type,
    create::create_named,
    encode, find, metadata,
};
use crate::store::{Precondition, Record, StoreError, Write};

/// How the new object comes from the live one.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// PUT.
    Replace(Document),
    /// RFC 6902.
    JsonPatch(Value),
    /// RFC 7386.
    MergePatch(Document),
    /// Kubernetes' own, for built-in kinds.
    StrategicPatch(Document),
    /// Server-side apply.
    Apply(Document),
}

impl Change {
    const fn is_apply(&self) -> bool {
        matches!(self, Self::Apply(_))
    }

    fn duplicates(&self) -> &[String] {
        match self {
            Self::JsonPatch(_) => &[],
            Self::Replace(d) | Self::MergePatch(d) | Self::StrategicPatch(d) | Self::Apply(d) => &d.duplicates,
        }
    }
}

/// What became of one attempt.
enum Attempt {
    Done(Box<Written>),
    /// Somebody else wrote first.
    Overtaken,
}

/// Changes the object that a call names; an apply creates it when it is absent.
pub(crate) async fn update(call: &Call, mut change: Change) -> Result<Written, ApiError> {
    for _ in 0..WRITE_ATTEMPTS {
        let target = &call.target;
        let live = find(&*call.state.store, target.kind, &target.namespace, &target.name)?;
        let attempt = match (live, &mut change) {
            (Some(live), change) => update_live(call, &live, change).await?,
            (None, Change::Apply(document)) if target.subresource == Subresource::Main => {
                match apply_new(call, document).await {
                    Err(ApiError::AlreadyExists(_)) => Attempt::Overtaken,
                    other => Attempt::Done(Box::new(other?)),
                }
            }
            (None, _) => return Err(target.not_found()),
        };
        if let Attempt::Done(written) = attempt {
            return Ok(*written);
        }
    }
    Err(call.target.stale())
}

fn writer<'a>(call: &Call, manager: &'a str, api_version: &'a str, operation: Operation) -> Writer<'a> {
    Writer { manager, operation, subresource: call.target.subresource.name(), api_version, now: call.now }
}

/// Creates an object by apply.
async fn apply_new(call: &Call, document: &Document) -> Result<Written, ApiError> {
    let mut applied = document.value.clone();
    let (warnings, causes) = prepare_applied(call, &mut applied, &document.duplicates)?;
    let (manager, api_version) = (call.manager(), call.target.kind.api_version());
    let writer = writer(call, &manager, &api_version, Operation::Apply);
    let mut empty = serde_json::json!({"metadata": {}});
    check_type(call.target.kind, &mut empty)?;
    let object = apply::apply(&call.target.kind.schema, &empty, &applied, &writer, true)
        .map_err(|causes| ApiError::ApplyConflict { causes })?;
    let written = create_named(call, object, causes, true).await?;
    Ok(Written { warnings, ..written })
}

/// Checks what somebody applies, before it is merged.
fn prepare_applied(
    call: &Call,
    applied: &mut Value,
    duplicates: &[String],
) -> Result<(Vec<String>, Vec<super::super::error::Cause>), ApiError> {
    check_type(call.target.kind, applied)?;
    check_address(&call.target, applied)?;
    if applied["metadata"].get("managedFields").is_some_and(|fields| *fields != Value::Null) {
        return Err(ApiError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    strategies::keep_subresource(call.target.kind, call.target.subresource, applied);
    let findings = schema::check(call.target.kind, applied)?;
    let warnings = schema::judge(call.options.field_validation, findings.unknown, duplicates)?;
    let causes = findings.causes.into_iter().filter(|cause| cause.reason != super::super::error::reasons::REQUIRED);
    Ok((warnings, causes.collect()))
}

async fn update_live(call: &Call, live: &Stored, change: &mut Change) -> Result<Attempt, ApiError> {
    let target = &call.target;
    let (mut new, mut warnings) = changed_object(call, &live.object, change)?;
    check_type(target.kind, &mut new)?;
    // A patch carries the live version over from the object it was computed on: overtaken, it is computed anew.
    let is_conditional = check_preconditions(call, &live.object, &new)? && matches!(change, Change::Replace(_));
    check_address(target, &mut new)?;
    let findings = schema::check(target.kind, &mut new)?;
    if !change.is_apply() {
        warnings.extend(schema::judge(call.options.field_validation, findings.unknown, change.duplicates())?);
    }
    keep_server_fields(&live.object, &mut new);
    strategies::keep_other_parts(target.kind, target.subresource, &live.object, &mut new);
    let mut causes = findings.causes;
    // What does not fit the schema cannot be judged further; everything else is said at once.
    let fits = causes.is_empty();
    causes.extend(metadata::validate(target.kind, &new));
    causes.extend(metadata::validate_update(&live.object, &new));
    if fits {
        strategies::settings::fill(&call.state.settings.current(), target.kind, &mut new);
        strategies::default(target.kind, &mut new);
        strategies::default_update(target.kind, &live.object, &mut new);
        causes.extend(strategies::validate_update(target.kind, target.subresource, &live.object, &new));
    }
    target.refuse_if_any(causes)?;
    if target.subresource == Subresource::Main {
        bump_generation(call, &live.object, &mut new);
    }
    target.refuse_if_any(strategies::admit(call, &mut new, Some(&live.object)).await?)?;
    if !change.is_apply() {
        let (manager, api_version) = (call.manager(), target.kind.api_version());
        let writer = writer(call, &manager, &api_version, Operation::Update);
        apply::track_update(&target.kind.schema, &live.object, &mut new, &writer);
    }
    match commit(call, live, new).await {
        Ok((object, stored)) => Ok(Attempt::Done(Box::new(Written { object, stored, warnings, created: false }))),
        Err(StoreOrApi::Overtaken) if is_conditional => Err(target.stale()),
        Err(StoreOrApi::Overtaken) => Ok(Attempt::Overtaken),
        Err(StoreOrApi::Other(error)) => Err(error),
    }
}

/// The object as the change wants it, before any rule is asked.
fn changed_object(call: &Call, live: &Value, change: &mut Change) -> Result<(Value, Vec<String>), ApiError> {
    let target = &call.target;
    Ok(match change {
        // One that is for a certain version is not computed a second time.
        Change::Replace(Document { value, .. }) if !text(&value["metadata"]["resourceVersion"]).is_empty() => {
            (std::mem::take(value), Vec::new())
        }
        Change::Replace(document) => (document.value.clone(), Vec::new()),
        Change::JsonPatch(operations) => (patch::json(target, live, operations)?, Vec::new()),
        Change::MergePatch(document) => (patch::merge(live, &document.value)?, Vec::new()),
        Change::StrategicPatch(document) => (patch::strategic(live, &document.value)?, Vec::new()),
        Change::Apply(document) => {
            let mut applied = document.value.clone();
            let (warnings, causes) = prepare_applied(call, &mut applied, &document.duplicates)?;
            target.refuse_if_any(causes)?;
            let (manager, api_version) = (call.manager(), target.kind.api_version());
            let writer = writer(call, &manager, &api_version, Operation::Apply);
            let merged = apply::apply(&target.kind.schema, live, &applied, &writer, call.options.force)
                .map_err(|causes| ApiError::ApplyConflict { causes })?;
            (merged, warnings)
        }
    })
}

/// Refuses another resourceVersion or UID than the live ones. True when a resourceVersion was given.
fn check_preconditions(call: &Call, live: &Value, new: &Value) -> Result<bool, ApiError> {
    let (given, present) = (text(&new["metadata"]["uid"]), text(&live["metadata"]["uid"]));
    if !given.is_empty() && given != present {
        return Err(call
            .target
            .conflict(format!("Precondition failed: UID in precondition: {given}, UID in object meta: {present}")));
    }
    let (given, present) = (text(&new["metadata"]["resourceVersion"]), text(&live["metadata"]["resourceVersion"]));
    if !given.is_empty() && given != present {
        return Err(call.target.stale());
    }
    Ok(!given.is_empty())
}

/// Puts back what only the server sets.
fn keep_server_fields(live: &Value, new: &mut Value) {
    const KEPT: [&str; 6] = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ];
    for key in KEPT {
        match live["metadata"].get(key) {
            Some(value) => new["metadata"][key] = value.clone(),
            None => {
                if let Some(metadata) = new["metadata"].as_object_mut() {
                    metadata.shift_remove(key);
                }
            }
        }
    }
}

/// +1 when anything but metadata and status differs.
fn bump_generation(call: &Call, live: &Value, new: &mut Value) {
    let desired = |object: &Value| {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            map.shift_remove("metadata");
            map.shift_remove("status");
        }
        object
    };
    if call.target.kind.is_ours() && desired(live) != desired(new) {
        let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

enum StoreOrApi {
    Overtaken,
    Other(ApiError),
}

impl From<ApiError> for StoreOrApi {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

/// Stores `new` over `live`; deletes it when it only waited for its last finalizer. An unchanged object is
/// not written at all.
async fn commit(call: &Call, live: &Stored, mut new: Value) -> Result<(Value, Option<Record>), StoreOrApi> {
    let value = encode(&call.target, &new)?;
    let is_finished = !new["metadata"]["deletionTimestamp"].is_null() && strategies::has_no_finalizers(&new);
    if new == live.object && !is_finished || call.options.dry_run {
        return Ok((new, None));
    }
    let key = call.target.key();
    let value = (!is_finished).then_some(value);
    let write = Write { key: key.clone(), precondition: Precondition::Revision(live.revision), value: value.clone() };
    match call.state.store.commit(vec![write]).await {
        Ok(revision) => {
            super::set_revision(&mut new, revision);
            let stored = value.and_then(|value| super::stored(&call.target, Record { key, revision, value }));
            Ok((new, stored))
        }
        Err(StoreError::Conflict { .. }) => Err(StoreOrApi::Overtaken),
        Err(error) => Err(StoreOrApi::Other(error.into())),
    }
}
