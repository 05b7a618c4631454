//! Create: default, validate, admit, commit.

use serde_json::Value;

use super::{
    super::{
        apply::{self, Operation, Writer},
        call::{Call, text},
        error::ApiError,
        media::Document,
        schema, strategies,
    },
    Written, check_address, check_type, encode, metadata, require_namespace, seconds,
};
use crate::store::{Precondition, Record, StoreError, Write};

/// Times a random name is drawn before giving up.
const NAME_ATTEMPTS: usize = 8;
/// What only the server sets.
const SERVER_METADATA: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "managedFields",
];

/// Creates the object of a document; its name may be generated.
pub(crate) async fn create(call: &Call, document: Document) -> Result<Written, ApiError> {
    let Document { value: mut object, duplicates } = document;
    check_type(call.target.kind, &mut object)?;
    let findings = schema::check(call.target.kind, &mut object)?;
    let warnings = schema::judge(call.options.field_validation, findings.unknown, &duplicates)?;
    for key in SERVER_METADATA {
        remove_metadata(&mut object, key);
    }
    let prefix = text(&object["metadata"]["generateName"]).to_owned();
    let is_generated =
        text(&object["metadata"]["name"]).is_empty() && call.target.name.is_empty() && !prefix.is_empty();
    if !is_generated {
        let written = create_named(call, object, findings.causes, false).await?;
        return Ok(Written { warnings, ..written });
    }
    for attempt in 1.. {
        let mut candidate = object.clone();
        let name = metadata::generated_name(&prefix)
            .map_err(|error| ApiError::Internal(format!("the system has no random bytes: {error}")))?;
        candidate["metadata"]["name"] = name.into();
        let result = create_named(call, candidate, findings.causes.clone(), false).await;
        match result {
            Err(ApiError::AlreadyExists(_)) if attempt < NAME_ATTEMPTS => {}
            other => return other.map(|written| Written { warnings, ..written }),
        }
    }
    Err(ApiError::Internal("invariant: the loop above ends by returning".to_owned()))
}

/// Creates an object that has its name and, when `is_managed`, its managed fields.
pub(super) async fn create_named(
    call: &Call,
    mut object: Value,
    mut causes: Vec<super::super::error::Cause>,
    is_managed: bool,
) -> Result<Written, ApiError> {
    check_address(&call.target, &mut object)?;
    let call = call.for_name(text(&object["metadata"]["name"]));
    let target = &call.target;
    if target.name.is_empty() {
        return Err(call
            .target
            .refuse_if_any(vec![super::super::error::Cause::required(
                "metadata.name",
                "name or generateName is required",
            )])
            .err()
            .unwrap_or(ApiError::NotAcceptable));
    }
    if !text(&object["metadata"]["resourceVersion"]).is_empty() {
        return Err(ApiError::BadRequest("resourceVersion should not be set on objects to be created".to_owned()));
    }
    require_namespace(&call)?;
    strategies::prepare_create(target.kind, &mut object);
    // What does not fit the schema cannot be judged further; everything else is said at once.
    let fits = causes.is_empty();
    causes.extend(metadata::validate(target.kind, &object));
    if fits {
        strategies::settings::fill(&call.state.settings.current(), target.kind, &mut object);
        strategies::default(target.kind, &mut object);
        causes.extend(strategies::validate_create(target.kind, &object));
    }
    target.refuse_if_any(causes)?;
    refuse_existing(&call)?;
    stamp(&call, &mut object);
    target.refuse_if_any(strategies::admit(&call, &mut object, None).await?)?;
    if !is_managed {
        let api_version = target.kind.api_version();
        let manager = call.manager();
        let writer = Writer {
            manager: &manager,
            operation: Operation::Update,
            subresource: "",
            api_version: &api_version,
            now: call.now,
        };
        apply::track_create(&target.kind.schema, &mut object, &writer);
    }
    commit(&call, object).await
}

fn remove_metadata(object: &mut Value, key: &str) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove(key);
    }
}

fn refuse_existing(call: &Call) -> Result<(), ApiError> {
    match call.state.store.get(&call.target.key())? {
        Some(_) => Err(ApiError::AlreadyExists(call.target.subject())),
        None => Ok(()),
    }
}

fn stamp(call: &Call, object: &mut Value) {
    let metadata = &mut object["metadata"];
    metadata["uid"] = uuid::Uuid::new_v4().to_string().into();
    metadata["creationTimestamp"] = seconds(call.now).into();
    if call.target.kind.is_ours() {
        metadata["generation"] = 1.into();
    }
}

async fn commit(call: &Call, mut object: Value) -> Result<Written, ApiError> {
    let value = encode(&call.target, &object)?;
    let written = |object, stored| Written { object, stored, warnings: Vec::new(), created: true };
    if call.options.dry_run {
        return Ok(written(object, None));
    }
    let key = call.target.key();
    let write = Write { key: key.clone(), precondition: Precondition::Absent, value: Some(value.clone()) };
    match call.state.store.commit(vec![write]).await {
        Ok(revision) => {
            super::set_revision(&mut object, revision);
            Ok(written(object, super::stored(&call.target, Record { key, revision, value })))
        }
        Err(StoreError::Conflict { .. }) => Err(ApiError::AlreadyExists(call.target.subject())),
        Err(error) => Err(error.into()),
    }
}
