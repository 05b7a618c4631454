//! Token: a credential that expires. Only a hash of the secret is stored; the secret itself is answered
//! once, to the request that created it.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// What a Token allows, and for how long. Cluster-scoped, immutable; deleting it revokes it.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "Token",
    status = "TokenStatus",
    derive = "PartialEq",
    doc = "A Token is a bearer credential that expires, or the single-use token with which a node joins.",
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".status.expiresAt"),
    printcolumn(name = "Used", type_ = "boolean", json_path = ".status.used"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// What it allows.
    pub role: Role,
    /// For `Edit` and `View`: the only namespace it is good for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How long it lives: 24h by default, 1h for a join token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// Everything.
    Admin,
    /// Reading and writing the namespaced kinds of users.
    Edit,
    /// Reading what Edit may.
    View,
    /// Reading `/metrics`.
    Metrics,
    /// Joining one node, once.
    Join,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// From then on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_sha256: Option<String>,
    /// A join token that a node has joined with.
    #[serde(default)]
    pub used: bool,
    /// `ID.SECRET`; only in the answer to the request that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// How long a Token lives unless it says otherwise.
pub mod defaults {
    use super::Duration;

    /// A day.
    pub const fn ttl() -> Duration {
        Duration::from_millis(24 * 3_600_000)
    }

    /// An hour, for a token with which a node joins.
    pub const fn join_ttl() -> Duration {
        Duration::from_millis(3_600_000)
    }
}
