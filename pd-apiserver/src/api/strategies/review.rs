//! SelfSubjectReview: who am I? Computed from the identity, never stored.

use serde_json::{Value, json};

use crate::auth::Identity;

pub(crate) fn self_subject_review(identity: &Identity) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        "metadata": {"creationTimestamp": null},
        "status": {"userInfo": {"username": identity.user, "groups": identity.groups}},
    })
}
