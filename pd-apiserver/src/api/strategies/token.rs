//! Tokens: the secret is drawn here and answered once.

use schemas::{TokenSpec, token::TokenStatus};
use serde_json::Value;

use super::{
    super::{
        call::{Call, text},
        error::{ApiError, Cause},
    },
    causes, typed,
};
use crate::auth::tokens;

/// Lifetime of a token whose spec names none; `default_token` fills one in, so this is never met in practice.
const TTL_SECONDS_FALLBACK: u64 = 3_600;

pub(super) fn validate_update(old: &Value, new: &Value) -> Vec<Cause> {
    match (typed::<TokenSpec>(old, "spec"), typed::<TokenSpec>(new, "spec")) {
        (Some(old), Some(new)) => causes(schemas::validation::validate_token_update(&old, &new)),
        _ => Vec::new(),
    }
}

pub(super) fn admit(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let name = text(&object["metadata"]["name"]);
    let minted = tokens::mint(name).map_err(|error| {
        ApiError::Internal(format!("cannot draw a secret: the system has no random bytes: {error}"))
    })?;
    let ttl = typed::<TokenSpec>(object, "spec").and_then(|spec| spec.ttl);
    let ttl = ttl.map_or(std::time::Duration::from_secs(TTL_SECONDS_FALLBACK), |ttl| ttl.0);
    let expires_at = call.now.checked_add(ttl).map_err(|error| {
        ApiError::BadRequest(format!("spec.ttl: the token would expire beyond the end of time: {error}"))
    })?;
    let status = TokenStatus {
        expires_at: Some(expires_at),
        secret_sha256: Some(minted.secret_sha256.clone()),
        used: false,
        token: (!call.options.dry_run).then(|| minted.token.clone()),
    };
    object["status"] = serde_json::to_value(status)
        .map_err(|error| ApiError::Internal(format!("cannot encode a token's status: {error}")))?;
    Ok(())
}
