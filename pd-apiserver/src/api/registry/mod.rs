//! The generic registry: every kind is created, read, changed and deleted here, by the same steps.
//!
//! In: calls and documents. Out: objects as clients see them. What is particular to a kind is asked of
//! `strategies`; the store sees only bytes. `metadata.resourceVersion` is never stored: it is the
//! revision of the record, put in at each read.

mod create;
mod delete;
mod list;
mod metadata;
mod update;

use bytes::Bytes;
use jiff::Timestamp;
use memchr::memmem;
use schemas::limits::OBJECT_BYTES_MAX;
use serde::ser::SerializeMap;
use serde_json::Value;

use super::{
    call::{Call, Target, text},
    error::ApiError,
    kinds::{self, Kind, Rules},
    schema::holds_nothing,
};
use crate::store::{Record, Store};

pub(crate) use self::{
    create::create,
    delete::{DeleteOptions, Deleted, FOREGROUND, ORPHAN, delete, delete_collection},
    list::{Continue, ListResult, RecordPage, all, list_all, page, parse_revision},
    update::{Change, update},
};

/// managedFields and last-applied annotations come on top of what a user wrote.
const STORED_BYTES_MAX: usize = OBJECT_BYTES_MAX + (512 << 10);
/// Members of metadata that an object has not when nothing is in them.
const LEFT_OUT_WHEN_EMPTY: [&str; 4] = ["annotations", "labels", "finalizers", "ownerReferences"];
/// Times that a write without a resourceVersion is tried against ever newer states.
const WRITE_ATTEMPTS: usize = 16;

/// An object and the revision of its record.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) revision: u64,
    /// As clients see it, with its resourceVersion.
    pub(crate) object: Value,
}

/// What a write answers.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) object: Value,
    /// The record that holds just this object; `None`: nothing was stored, or not all of it.
    pub(crate) stored: Option<Record>,
    /// For `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// 201 rather than 200.
    pub(crate) created: bool,
}

/// The time as objects carry it: RFC 3339, UTC, seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Reads a record's bytes as an object with its resourceVersion.
pub(crate) fn decode(key: &str, bytes: &[u8], revision: u64) -> Result<Value, ApiError> {
    let mut object: Value = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::Internal(format!("the stored object `{key}` is not JSON: {error}")))?;
    set_revision(&mut object, revision);
    Ok(object)
}

/// Puts a revision into an object as its resourceVersion.
pub(crate) fn set_revision(object: &mut Value, revision: u64) {
    object["metadata"]["resourceVersion"] = revision.to_string().into();
}

/// The bytes to store: without what is answered only once.
fn encode(target: &Target, object: &Value) -> Result<Bytes, ApiError> {
    let encoded = if super::strategies::conceals(target.kind) {
        let mut stored = object.clone();
        super::strategies::conceal(target.kind, &mut stored);
        serde_json::to_vec(&Unversioned(&stored))
    } else {
        serde_json::to_vec(&Unversioned(object))
    };
    let bytes = encoded.map_err(|error| ApiError::Internal(format!("cannot encode {}: {error}", target.key())))?;
    if bytes.len() > STORED_BYTES_MAX {
        return Err(ApiError::TooLarge(format!(
            "{} \"{}\" has {} bytes; an object may have at most {STORED_BYTES_MAX}",
            target.kind.plural,
            target.name,
            bytes.len()
        )));
    }
    Ok(Bytes::from(bytes))
}

/// What was stored, unless less was stored than is answered.
fn stored(target: &Target, record: Record) -> Option<Record> {
    (!super::strategies::conceals(target.kind)).then_some(record)
}

/// An object without its resourceVersion, as it is stored: with what says what it is first, so that `Raw` finds its
/// metadata at once.
struct Unversioned<'a>(&'a Value);

impl serde::Serialize for Unversioned<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Metadata<'a>(&'a Value);
        impl serde::Serialize for Metadata<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    Value::Object(map) => {
                        serializer.collect_map(map.iter().filter(|(key, _)| *key != "resourceVersion"))
                    }
                    other => other.serialize(serializer),
                }
            }
        }
        const FIRST: [&str; 3] = ["kind", "apiVersion", "metadata"];
        let Value::Object(map) = self.0 else { return self.0.serialize(serializer) };
        let mut entries = serializer.serialize_map(Some(map.len()))?;
        for (key, value) in FIRST.iter().filter_map(|key| map.get_key_value(*key)) {
            if key == "metadata" {
                entries.serialize_entry(key, &Metadata(value))?;
            } else {
                entries.serialize_entry(key, value)?;
            }
        }
        for (key, value) in map.iter().filter(|(key, _)| !FIRST.contains(&key.as_str())) {
            entries.serialize_entry(key, value)?;
        }
        entries.end()
    }
}

/// Reads one object; `None`: there is none.
pub(crate) fn find(store: &dyn Store, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Stored>, ApiError> {
    let key = kind.key(namespace, name);
    let Some(record) = store.get(&key)? else { return Ok(None) };
    let object = decode(&key, &record.value, record.revision)?;
    Ok(Some(Stored { revision: record.revision, object }))
}

/// Reads the record of the object that a call names.
pub(crate) fn record(call: &Call) -> Result<Record, ApiError> {
    call.state.store.get(&call.target.key())?.ok_or_else(|| call.target.not_found())
}

/// Reads the object that a call names.
pub(crate) fn get(call: &Call) -> Result<Stored, ApiError> {
    let target = &call.target;
    find(&*call.state.store, target.kind, &target.namespace, &target.name)?.ok_or_else(|| target.not_found())
}

/// Refuses a namespace that does not exist or is going away.
fn require_namespace(call: &Call) -> Result<(), ApiError> {
    let target = &call.target;
    if !target.kind.namespaced {
        return Ok(());
    }
    let kind = kinds::by_rules(Rules::Namespace);
    let key = kind.key("", &target.namespace);
    let record = call.state.store.get(&key)?.ok_or_else(|| ApiError::NotFound(kind.subject(&target.namespace)))?;
    // Every create comes through here: what does not speak of a deletion is not parsed.
    let speaks_of_deletion = memmem::find(&record.value, b"\"deletionTimestamp\"").is_some();
    if !speaks_of_deletion || decode(&key, &record.value, record.revision)?["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let namespace = &target.namespace;
    Err(target
        .forbidden(format!("unable to create new content in namespace {namespace} because it is being terminated")))
}

/// Takes apiVersion and kind from the URL when the body lacks them, and refuses other ones. What metadata has empty it
/// has not, as upstream: else an object differs from one that says less of the same.
pub(crate) fn check_type(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    let Some(map) = object.as_object_mut() else {
        return Err(ApiError::BadRequest("the body must be one object, as JSON or YAML".to_owned()));
    };
    for (key, wanted) in [("apiVersion", kind.api_version()), ("kind", kind.name.to_owned())] {
        match map.get(key).map_or("", text) {
            "" => {
                map.insert(key.to_owned(), wanted.into());
            }
            given if given == wanted => {}
            given if key == "apiVersion" => {
                return Err(ApiError::BadRequest(format!(
                    "the API version in the data ({given}) does not match the expected API version ({wanted})"
                )));
            }
            given => {
                let version = kind.api_version();
                return Err(ApiError::BadRequest(format!(
                    "{given} in version \"{version}\" cannot be handled as a {wanted}: converting ({given}) to \
                     ({wanted}): unknown conversion"
                )));
            }
        }
    }
    match map.get("metadata") {
        None | Some(Value::Null) => {
            map.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
            Ok(())
        }
        Some(Value::Object(_)) => {
            if let Some(metadata) = map["metadata"].as_object_mut() {
                metadata.retain(|key, value| !(LEFT_OUT_WHEN_EMPTY.contains(&key.as_str()) && holds_nothing(value)));
            }
            Ok(())
        }
        Some(_) => Err(ApiError::BadRequest("metadata must be an object".to_owned())),
    }
}

/// Refuses a body whose namespace or name is not that of the URL, and fills in what it leaves out.
fn check_address(target: &Target, object: &mut Value) -> Result<(), ApiError> {
    let metadata = &mut object["metadata"];
    for (key, wanted) in [("namespace", &target.namespace), ("name", &target.name)] {
        let given = text(&metadata[key]);
        if given.is_empty() && !wanted.is_empty() {
            metadata[key] = wanted.as_str().into();
        } else if given != wanted && !(key == "name" && wanted.is_empty()) {
            return Err(ApiError::BadRequest(match key {
                "name" => format!("the name of the object ({given}) does not match the name on the URL ({wanted})"),
                _ => "the namespace of the provided object does not match the namespace sent on the request".to_owned(),
            }));
        }
    }
    Ok(())
}
