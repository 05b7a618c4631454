//! The shape of built-in kinds, by a round trip through `k8s-openapi`'s types: what does not come back is
//! not a field of the kind.

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview},
    certificates::v1::CertificateSigningRequest,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace, Node, Secret},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    super::{
        error::ApiError,
        kinds::{Kind, Rules},
    },
    Findings,
};

pub(super) fn check(kind: &Kind, object: &mut Value, findings: &mut Findings) -> Result<(), ApiError> {
    let back = match kind.rules {
        Rules::Namespace => round_trip::<Namespace>(object),
        Rules::Node => round_trip::<Node>(object),
        Rules::Event => round_trip::<Event>(object),
        Rules::Lease => round_trip::<Lease>(object),
        Rules::Csr => round_trip::<CertificateSigningRequest>(object),
        Rules::ConfigMap => round_trip::<ConfigMap>(object),
        Rules::Secret => round_trip::<Secret>(object),
        Rules::SelfSubjectReview => round_trip::<SelfSubjectReview>(object),
        Rules::SelfSubjectAccessReview => asked::<SelfSubjectAccessReview>(object),
        Rules::SelfSubjectRulesReview => asked::<SelfSubjectRulesReview>(object),
        Rules::SubjectAccessReview => asked::<SubjectAccessReview>(object),
        _ => return Ok(()),
    };
    let back =
        back.map_err(|error| ApiError::BadRequest(format!("cannot decode the body as {}: {error}", kind.name)))?;
    prune(object, &back, "", findings);
    Ok(())
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
    T::deserialize(object).and_then(serde_json::to_value)
}

/// A review, whose spec may be left out by clients and whose status is not theirs to say.
fn asked<T: DeserializeOwned + Serialize>(object: &mut Value) -> Result<Value, serde_json::Error> {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("status");
    }
    round_trip::<T>(object)
}

fn is_empty(value: &Value) -> bool {
    value.as_str() == Some("") || super::holds_nothing(value)
}

/// Drops from `object` what is not in `back`.
fn prune(object: &mut Value, back: &Value, path: &str, findings: &mut Findings) {
    match (object, back) {
        (Value::Object(map), Value::Object(known)) => map.retain(|key, value| {
            if let Some(back) = known.get(key) {
                prune(value, back, &super::walk::join(path, key), findings);
            } else if !is_empty(value) {
                findings.unknown(path, key, &Map::new());
            }
            known.contains_key(key)
        }),
        (Value::Array(list), Value::Array(known)) => {
            for (at, (item, back)) in list.iter_mut().zip(known).enumerate() {
                prune(item, back, &format!("{path}[{at}]"), findings);
            }
        }
        _ => {}
    }
}
