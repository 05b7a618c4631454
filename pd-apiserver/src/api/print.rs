//! Objects, lists and Tables as the text of an answer, in the form that the client asked for.
//!
//! In: items, parsed or as they are stored. Out: JSON. A stored object is copied, not parsed; only the cells of a Table
//! make it necessary to look into one.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    kinds::Kind,
    media::Form,
    raw::Raw,
    registry,
    table::{self, IncludeObject},
};
use crate::store::Record;

/// Text of a row beside its object: cells of some 20 bytes each, names and punctuation.
const ROW_BYTES: usize = 256;

/// How a client wants what it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) form: Form,
    pub(crate) include: IncludeObject,
}

/// One object on its way to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    /// Computed, or changed since it was stored.
    Parsed(&'a Value),
    /// As it is stored.
    Stored(Raw<'a>),
}

impl<'a> Item<'a> {
    /// The object of a record.
    pub(crate) fn of(record: &'a Record) -> Result<Self, ApiError> {
        Self::stored(&record.key, &record.value, record.revision)
    }

    /// The object that `revision` stored under `key`.
    pub(crate) fn stored(key: &str, text: &'a [u8], revision: u64) -> Result<Self, ApiError> {
        let damaged = || ApiError::Internal(format!("the stored object `{key}` is not the JSON of an object"));
        Raw::new(text, revision).map(Self::Stored).ok_or_else(damaged)
    }

    /// What can be shown or selected by: everything but the managed fields.
    pub(crate) fn shown(&self) -> Result<Cow<'a, Value>, ApiError> {
        match self {
            Self::Parsed(object) => Ok(Cow::Borrowed(object)),
            Self::Stored(raw) => {
                let mut deserializer = serde_json::Deserializer::from_slice(raw.text());
                let parsed = Part::Object.deserialize(&mut deserializer);
                let mut object = parsed
                    .map_err(|error| ApiError::Internal(format!("a stored object cannot be read as JSON: {error}")))?;
                registry::set_revision(&mut object, raw.revision());
                Ok(Cow::Owned(object))
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Parsed(_) => 0,
            Self::Stored(raw) => raw.text().len(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Parsed(object) => write_json(out, object),
            Self::Stored(raw) => raw.write(out),
        }
    }

    fn write_partial(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
        match self {
            Self::Parsed(object) => write_json(out, &object["metadata"]),
            Self::Stored(raw) => {
                let is_whole = raw.write_metadata(out);
                debug_assert!(is_whole, "a record is what was written");
            }
        }
        out.push(b'}');
    }

    fn revision(&self) -> Value {
        match self {
            Self::Parsed(object) => object["metadata"]["resourceVersion"].clone(),
            Self::Stored(raw) => raw.revision().to_string().into(),
        }
    }
}

/// Appends one object.
pub(crate) fn object(
    out: &mut Vec<u8>,
    kind: &Kind,
    item: Item<'_>,
    look: Look,
    now: Timestamp,
) -> Result<(), ApiError> {
    out.reserve(item.len() + ROW_BYTES);
    match look.form {
        Form::Table => {
            let metadata = json!({"resourceVersion": item.revision()});
            table(out, kind, &metadata, &[item], look.include, now)?;
        }
        Form::Partial => item.write_partial(out),
        Form::Json | Form::Discovery(_) => item.write(out),
    }
    Ok(())
}

/// Appends the list of `items` with its metadata.
pub(crate) fn list(
    out: &mut Vec<u8>,
    kind: &Kind,
    items: &[Item<'_>],
    metadata: &Value,
    look: Look,
    now: Timestamp,
) -> Result<(), ApiError> {
    out.reserve(items.iter().map(|item| item.len() + ROW_BYTES).sum());
    let (name, api_version) = match look.form {
        Form::Table => return table(out, kind, metadata, items, look.include, now),
        Form::Partial => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
        Form::Json | Form::Discovery(_) => (kind.name, kind.api_version()),
    };
    out.extend_from_slice(format!(r#"{{"kind":"{name}List","apiVersion":"{api_version}","metadata":"#).as_bytes());
    write_json(out, metadata);
    out.extend_from_slice(br#","items":["#);
    separated(out, items, |out, item| {
        match look.form {
            Form::Partial => item.write_partial(out),
            _ => item.write(out),
        }
        Ok(())
    })?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Appends the Table of `items`.
fn table(
    out: &mut Vec<u8>,
    kind: &Kind,
    metadata: &Value,
    items: &[Item<'_>],
    include: IncludeObject,
    now: Timestamp,
) -> Result<(), ApiError> {
    begin_table(out, kind, metadata);
    separated(out, items, |out, item| {
        out.extend_from_slice(br#"{"cells":"#);
        write_json(out, &table::cells(kind, &*item.shown()?, now));
        match include {
            IncludeObject::None => {}
            IncludeObject::Metadata => {
                out.extend_from_slice(br#","object":"#);
                item.write_partial(out);
            }
            IncludeObject::Object => {
                out.extend_from_slice(br#","object":"#);
                item.write(out);
            }
        }
        out.push(b'}');
        Ok(())
    })?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Appends a Table of one row without cells: the bookmark of a watch that wants Tables.
pub(crate) fn bookmark_table(out: &mut Vec<u8>, kind: &Kind, bookmark: &Value) {
    begin_table(out, kind, &bookmark["metadata"]);
    out.extend_from_slice(br#"{"cells":[],"object":"#);
    write_json(out, bookmark);
    out.extend_from_slice(b"}]}");
}

fn begin_table(out: &mut Vec<u8>, kind: &Kind, metadata: &Value) {
    out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
    write_json(out, metadata);
    out.extend_from_slice(br#","columnDefinitions":"#);
    write_json(out, &table::definitions(kind));
    out.extend_from_slice(br#","rows":["#);
}

fn separated(
    out: &mut Vec<u8>,
    items: &[Item<'_>],
    mut write: impl FnMut(&mut Vec<u8>, &Item<'_>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    Ok(())
}

/// Appends a value.
pub(crate) fn write_json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("invariant: a JSON value prints");
}

/// What of an object is being read without its managed fields, which are often half of it.
enum Part {
    Object,
    Metadata,
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = match (&self, key.as_str()) {
                (Self::Object, "metadata") => entries.next_value_seed(Self::Metadata)?,
                (Self::Metadata, "managedFields") => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => entries.next_value()?,
            };
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// The metadata of a list or a Table.
pub(crate) fn list_metadata(revision: u64, next: Option<&str>, remaining: Option<u64>) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(next) = next {
        metadata["continue"] = next.into();
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::{
        super::kinds::{Rules, by_rules},
        *,
    };

    /// What is answered for an object, stored and parsed.
    fn both(form: Form, include: IncludeObject) -> [Value; 2] {
        let stored = json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
            "metadata": {
                "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "m"}],
            },
            "spec": {"holderIdentity": "h"},
        });
        let mut parsed = stored.clone();
        registry::set_revision(&mut parsed, 7);
        let bytes = stored.to_string();
        let raw = Item::stored("/k", bytes.as_bytes(), 7).expect("an object");
        let kind = by_rules(Rules::Lease);
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        [raw, Item::Parsed(&parsed)].map(|item| {
            let (mut one, mut many) = (Vec::new(), Vec::new());
            let look = Look { form, include };
            object(&mut one, kind, item, look, now).expect("text");
            list(&mut many, kind, &[item, item], &list_metadata(9, Some("c"), Some(1)), look, now).expect("text");
            let [one, many] = [one, many].map(|out| serde_json::from_slice::<Value>(&out).expect("JSON"));
            json!([one, many])
        })
    }

    #[test]
    fn a_stored_object_is_answered_as_a_parsed_one_would_be() {
        for form in [Form::Json, Form::Partial, Form::Table] {
            for include in [IncludeObject::Metadata, IncludeObject::Object, IncludeObject::None] {
                let [stored, parsed] = both(form, include);
                assert_eq!(stored, parsed, "{form:?} {include:?}");
            }
        }
    }

    #[test]
    fn each_form_has_what_its_clients_look_for() {
        let [json, ..] = both(Form::Json, IncludeObject::Metadata);
        assert_eq!(json[0]["spec"]["holderIdentity"], "h");
        assert_eq!((&json[1]["kind"], &json[1]["apiVersion"]), (&json!("LeaseList"), &json!("coordination.k8s.io/v1")));
        assert_eq!(json[1]["metadata"], json!({"resourceVersion": "9", "continue": "c", "remainingItemCount": 1}));
        let [partial, ..] = both(Form::Partial, IncludeObject::Metadata);
        assert_eq!(partial[1]["kind"], "PartialObjectMetadataList");
        assert_eq!(partial[1]["items"][1]["metadata"]["resourceVersion"], "7");
        let [table, ..] = both(Form::Table, IncludeObject::Metadata);
        assert_eq!(table[1]["rows"][1]["cells"], json!(["a", "h", "60s"]));
        assert_eq!(table[0]["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(table[0]["rows"][0]["object"]["metadata"]["name"], "a");
    }
}
