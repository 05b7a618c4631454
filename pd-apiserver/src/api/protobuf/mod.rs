//! Protobuf bodies: what kubectl and client-go send for the kinds that Kubernetes itself has.
//!
//! In: `k8s\0` and an envelope that names apiVersion and kind. Out: the object as JSON, as if it had been sent
//! so. Only requests are read: our answers are JSON, which every client takes.

mod table;
mod wire;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{
    table::{Field, Message, Shape, Type},
    wire::{Fields, Malformed, Raw},
};
use super::error::ApiError;

/// First bytes of every body.
const MAGIC: &[u8] = b"k8s\0";
/// The media type of such a body.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Decodes a body.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, ApiError> {
    let unknown = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        ApiError::BadRequest("the object provided is unrecognized: a protobuf body begins with `k8s\\0`".to_owned())
    })?;
    let envelope = Envelope::read(unknown).map_err(unrecognized)?;
    let message = root(&envelope.api_version, &envelope.kind).ok_or_else(|| {
        ApiError::UnsupportedMediaType(format!(
            "no kind \"{}\" is registered for version \"{}\" as {MEDIA_TYPE}: send it as application/json",
            envelope.kind, envelope.api_version
        ))
    })?;
    let mut object = fields(message, envelope.raw).map_err(unrecognized)?;
    object.insert("apiVersion".to_owned(), envelope.api_version.into());
    object.insert("kind".to_owned(), envelope.kind.into());
    Ok(Value::Object(object))
}

fn unrecognized(error: Malformed) -> ApiError {
    ApiError::BadRequest(format!("the object provided is unrecognized: proto: {error}"))
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut envelope = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Raw::Bytes(type_meta)) => {
                    for field in Fields(type_meta) {
                        match field? {
                            (1, raw) => envelope.api_version = text(raw)?,
                            (2, raw) => envelope.kind = text(raw)?,
                            _ => {}
                        }
                    }
                }
                (2, Raw::Bytes(raw)) => envelope.raw = raw,
                (3, Raw::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err(Malformed("an encoded object inside the envelope is not supported".to_owned()));
                }
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// The message of a kind.
fn root(api_version: &str, kind: &str) -> Option<&'static Message> {
    let package = match api_version {
        _ if kind == "DeleteOptions" => "meta",
        "v1" => "core",
        "authentication.k8s.io/v1" => "authentication",
        "authorization.k8s.io/v1" => "authorization",
        "certificates.k8s.io/v1" => "certificates",
        "coordination.k8s.io/v1" => "coordination",
        "events.k8s.io/v1" => "events",
        "policy/v1" => "policy",
        _ => return None,
    };
    table::find(&format!("{package}.{kind}"))
}

/// A message as a JSON object. The table has no message that contains itself, so this is never deep.
fn fields(message: &'static Message, bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (number, raw) = field?;
        // A field of a newer client is not ours to understand, as protobuf has it.
        if let Some(field) = message.field(number) {
            put(&mut object, field, raw)?;
        }
    }
    Ok(object)
}

fn put(object: &mut Map<String, Value>, field: &'static Field, raw: Raw<'_>) -> Result<(), Malformed> {
    match field.shape {
        Shape::One => {
            let value = value(field, raw)?;
            if field.keeps_zero || !is_zero(&value) {
                object.insert(field.name.to_owned(), value);
            }
        }
        Shape::List => {
            let list = object.entry(field.name).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(value(field, raw)?);
            }
        }
        Shape::Map => {
            let Raw::Bytes(entry) = raw else { return Err(wrong_type(field)) };
            let (mut key, mut held) = (String::new(), value(field, Raw::Bytes(&[]))?);
            for part in Fields(entry) {
                match part? {
                    (1, raw) => key = text(raw)?,
                    (2, raw) => held = value(field, raw)?,
                    _ => {}
                }
            }
            object.entry(field.name).or_insert_with(|| json!({}))[key] = held;
        }
    }
    Ok(())
}

fn value(field: &'static Field, raw: Raw<'_>) -> Result<Value, Malformed> {
    Ok(match (field.type_(), raw) {
        (Type::Text, raw) => text(raw)?.into(),
        (Type::Boolean, Raw::Varint(number)) => (number != 0).into(),
        // Negative numbers are sent in two's complement, int32 widened to 64 bits.
        (Type::Integer, Raw::Varint(number)) => number.cast_signed().into(),
        (Type::Bytes, Raw::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Type::Time, Raw::Bytes(bytes)) => time(bytes, 0)?,
        (Type::MicroTime, Raw::Bytes(bytes)) => time(bytes, 6)?,
        (Type::Quantity, Raw::Bytes(bytes)) => first_text(bytes)?.into(),
        (Type::Json, Raw::Bytes(bytes)) => json_value(bytes)?,
        (Type::Items, Raw::Bytes(bytes)) => {
            let items = Fields(bytes).map(|item| item.and_then(|(_, raw)| text(raw)));
            items.collect::<Result<Vec<_>, _>>()?.into()
        }
        (Type::Message(message), Raw::Bytes(bytes)) => Value::Object(fields(message, bytes)?),
        _ => return Err(wrong_type(field)),
    })
}

fn wrong_type(field: &Field) -> Malformed {
    Malformed(format!("wrong wire type for field `{}`", field.name))
}

fn text(raw: Raw<'_>) -> Result<String, Malformed> {
    match raw {
        Raw::Bytes(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("a text is not UTF-8".to_owned())),
        _ => Err(Malformed("wrong wire type for a text".to_owned())),
    }
}

/// The text of a message that has but one: field 1.
fn first_text(bytes: &[u8]) -> Result<String, Malformed> {
    for field in Fields(bytes) {
        if let (1, raw) = field? {
            return text(raw);
        }
    }
    Ok(String::new())
}

/// JSON inside a message of one field.
fn json_value(bytes: &[u8]) -> Result<Value, Malformed> {
    let held = first_text(bytes)?;
    if held.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_str(&held).map_err(|error| Malformed(format!("a raw field is not JSON: {error}")))
}

/// Seconds and nanoseconds as RFC 3339; null for the empty message, which is Go's zero time.
fn time(bytes: &[u8], digits: u8) -> Result<Value, Malformed> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Fields(bytes) {
        match field? {
            (1, Raw::Varint(number)) => seconds = number.cast_signed(),
            (2, Raw::Varint(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let time = i32::try_from(nanos).ok().and_then(|nanos| Timestamp::new(seconds, nanos).ok());
    let time = time.ok_or_else(|| Malformed("a time is out of range".to_owned()))?;
    Ok(format!("{time:.precision$}", precision = usize::from(digits)).into())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
