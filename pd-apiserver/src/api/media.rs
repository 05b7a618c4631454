//! Media types: which form an answer takes, and how a body becomes JSON.
//!
//! In: the `Accept` and `Content-Type` headers and a body's bytes. Out: a `Form`, or a JSON value with the
//! keys that stood in it twice. It knows no kinds.

use std::fmt;

use http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{error::ApiError, protobuf};

/// Most bytes of one request's body: an object of 1 MiB with as much again in managedFields and
/// last-applied annotations, and room for a JSON patch that says it twice.
pub(crate) const BODY_BYTES_MAX: usize = 3 << 20;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object or list.
    Json,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata` or a list of them.
    Partial,
    /// `apidiscovery.k8s.io APIGroupDiscoveryList` of this version.
    Discovery(&'static str),
}

/// The first form of an `Accept` header that we can give.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Form, ApiError> {
    let accepts: Vec<_> =
        headers.get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accepts.join(",");
    if accept.trim().is_empty() {
        return Ok(Form::Json);
    }
    accept.split(',').find_map(form_of).ok_or(ApiError::NotAcceptable)
}

fn form_of(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?;
    if !matches!(media_type, "application/json" | "*/*" | "application/*") {
        return None;
    }
    let (mut as_, mut group, mut version) = ("", "", "");
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key {
            "as" => as_ = value,
            "g" => group = value,
            "v" => version = value,
            _ => {}
        }
    }
    match (as_, group, version) {
        ("", ..) => Some(Form::Json),
        ("Table", "meta.k8s.io", "v1") => Some(Form::Table),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Some(Form::Partial),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Some(Form::Discovery("v2")),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => Some(Form::Discovery("v2beta1")),
        _ => None,
    }
}

/// How a PATCH body is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, for built-in kinds.
    Strategic,
    /// Server-side apply.
    Apply,
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The patch type of a request.
pub(crate) fn patch_type(headers: &HeaderMap) -> Result<PatchType, ApiError> {
    match media_type(headers).as_str() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(ApiError::UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
                .to_owned(),
        )),
    }
}

/// A body as JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    pub(crate) value: Value,
    /// Paths of keys that stood in their object twice; the last one counts.
    pub(crate) duplicates: Vec<String>,
}

/// Decodes the body of a create, update or delete.
pub(crate) fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<Document, ApiError> {
    match media_type(headers).as_str() {
        "" | "application/json" | "text/json" | "*/*" => decode_json(bytes),
        "application/yaml" | "application/x-yaml" | "text/yaml" => decode_yaml(bytes),
        protobuf::MEDIA_TYPE => Ok(Document { value: protobuf::decode(bytes)?, duplicates: Vec::new() }),
        _ => Err(ApiError::UnsupportedMediaType(format!(
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, {}",
            protobuf::MEDIA_TYPE
        ))),
    }
}

/// Decodes JSON or, failing that, YAML, as apply bodies may be either.
pub(crate) fn decode_yaml(bytes: &[u8]) -> Result<Document, ApiError> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return decode_json(bytes);
    }
    let value =
        serde_yaml::from_slice(bytes).map_err(|error| ApiError::BadRequest(format!("error decoding YAML: {error}")))?;
    Ok(Document { value, duplicates: Vec::new() })
}

/// Decodes JSON and notes duplicate keys.
pub(crate) fn decode_json(bytes: &[u8]) -> Result<Document, ApiError> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { place: &Place::Root, duplicates: &mut duplicates };
    let value = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| ApiError::BadRequest(format!("couldn't get version/kind; json parse error: {error}")))?;
    Ok(Document { value, duplicates })
}

/// Where in a document something stands: spelled out only for a key that comes twice.
enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Item(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// Builds a `Value` and notes the path of each key that comes twice.
struct Seed<'a> {
    place: &'a Place<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let place = &Place::Item(self.place, list.len());
            match items.next_element_seed(Seed { place, duplicates: self.duplicates })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = &Place::Key(self.place, &key);
            if object.contains_key(&key) {
                self.duplicates.push(place.to_string());
            }
            let value = entries.next_value_seed(Seed { place, duplicates: self.duplicates })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::ACCEPT, value.parse().expect("a header"))])
    }

    #[test]
    fn accept_is_honoured_in_the_client_s_order() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(negotiate(&accept(table)), Ok(Form::Table));
        assert_eq!(negotiate(&accept("application/vnd.kubernetes.protobuf,application/json")), Ok(Form::Json));
        assert_eq!(negotiate(&accept("application/vnd.kubernetes.protobuf, */*")), Ok(Form::Json));
        assert_eq!(negotiate(&accept("text/html")), Err(ApiError::NotAcceptable));
        assert_eq!(negotiate(&HeaderMap::new()), Ok(Form::Json));
    }

    #[test]
    fn duplicate_keys_are_noted_with_their_path() {
        let document = decode_json(br#"{"spec":{"a":1,"b":[{"c":1,"c":2}],"a":3}}"#).expect("JSON");
        assert_eq!(document.duplicates, ["spec.b[0].c", "spec.a"]);
        assert_eq!(document.value["spec"]["a"], 3);
        assert!(decode_json(b"{\"a\":1} x").is_err());
    }
}
