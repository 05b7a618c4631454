//! CertificateSigningRequests: a node's key is signed at once. A join token signs one key only; the same
//! key again is answered again, so that a node may retry.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemas::well_known::{NODE_SIGNER, NODE_USER_PREFIX, groups};
use serde_json::{Value, json};

use super::{
    super::{
        call::{Call, text},
        error::{ApiError, Cause, reasons},
        kinds::{self, Rules},
        registry::{self, seconds},
    },
    settings,
};
use crate::{
    pki,
    store::{Precondition, StoreError, Write},
};

/// Annotation of a join token: the key that it signed.
const SIGNED_KEY: &str = "processdistro.dev/signed-key-sha256";
/// Times that a token is marked used against ever newer states.
const MARK_ATTEMPTS: usize = 8;

pub(super) fn validate(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if object["spec"]["signerName"] != NODE_SIGNER {
        let message =
            format!("Unsupported value: {}: supported values: \"{NODE_SIGNER}\"", object["spec"]["signerName"]);
        causes.push(Cause::new(reasons::NOT_SUPPORTED, "spec.signerName", message));
    }
    if let Err(cause) = request_pem(object) {
        causes.push(*cause);
    }
    causes
}

/// True when both objects ask for the same key to be signed.
pub(crate) fn is_same_request(one: &Value, other: &Value) -> bool {
    one["spec"]["request"].is_string() && one["spec"]["request"] == other["spec"]["request"]
}

fn request_pem(object: &Value) -> Result<String, Box<Cause>> {
    let bytes = STANDARD.decode(text(&object["spec"]["request"])).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Box::new(Cause::new(
            reasons::INVALID,
            "spec.request",
            "Invalid value: must be a PEM block `CERTIFICATE REQUEST`, base64-encoded",
        ))
    })
}

pub(super) async fn admit(call: &Call, object: &mut Value) -> Result<Vec<Cause>, ApiError> {
    let Ok(pem) = request_pem(object) else { return Ok(Vec::new()) };
    let request = match pki::inspect_request(&pem) {
        Ok(request) => request,
        Err(error) => return Ok(vec![Cause::new(reasons::INVALID, "spec.request", format!("Invalid value: {error}"))]),
    };
    let Some(node) = request.common_name.strip_prefix(NODE_USER_PREFIX).filter(|name| !name.is_empty()) else {
        let message = format!(
            "Invalid value: the common name must be `{NODE_USER_PREFIX}` and the node's name, not `{}`",
            request.common_name
        );
        return Ok(vec![Cause::new(reasons::INVALID, "spec.request", message)]);
    };
    settings::admit_node(call, node)?;
    authorize(call, node, &request.key_sha256).await?;
    let signed = match call.state.authority.sign_node_csr(&pem, node) {
        Ok(signed) => signed,
        Err(error) => return Ok(vec![Cause::new(reasons::INVALID, "spec.request", format!("Invalid value: {error}"))]),
    };
    let now = seconds(call.now);
    object["spec"]["username"] = call.identity.user.as_str().into();
    object["spec"]["groups"] = json!(call.identity.groups);
    object["status"] = json!({
        "certificate": STANDARD.encode(signed.certificate),
        "conditions": [{
            "type": "Approved", "status": "True", "reason": "NodeRequest",
            "message": "a join token or the node's own certificate vouches for it",
            "lastUpdateTime": now, "lastTransitionTime": now,
        }],
    });
    Ok(Vec::new())
}

/// May this identity have a certificate for `node` with that key?
async fn authorize(call: &Call, node: &str, key_sha256: &str) -> Result<(), ApiError> {
    let identity = &call.identity;
    if let Some(token) = &identity.token {
        return mark_used(call, token, key_sha256).await;
    }
    if let Some(own) = call.node() {
        return if own == node {
            Ok(())
        } else {
            Err(call.target.forbidden(format!("node `{own}` may renew only its own certificate, not that of `{node}`")))
        };
    }
    if identity.groups.iter().any(|group| group == groups::ADMINS) {
        return Ok(());
    }
    Err(call.target.forbidden("only a join token, the node itself or an admin may ask for a node's certificate"))
}

/// Binds a join token to the first key it signs.
async fn mark_used(call: &Call, token: &str, key_sha256: &str) -> Result<(), ApiError> {
    let kind = kinds::by_rules(Rules::Token);
    for _ in 0..MARK_ATTEMPTS {
        let store = &call.state.store;
        let stored = registry::find(&**store, kind, "", token)?.ok_or_else(|| {
            call.target.forbidden(format!("join token `{token}` is gone; create another one with `pdctl token create`"))
        })?;
        let mut object = stored.object;
        match text(&object["metadata"]["annotations"][SIGNED_KEY]) {
            "" => {}
            key if key == key_sha256 => return Ok(()),
            _ => {
                return Err(call.target.forbidden(format!(
                    "join token `{token}` has signed another key already; each node needs a token of its own"
                )));
            }
        }
        if call.options.dry_run {
            return Ok(());
        }
        object["metadata"]["annotations"][SIGNED_KEY] = key_sha256.into();
        object["status"]["used"] = true.into();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        let value = serde_json::to_vec(&object)
            .map_err(|error| ApiError::Internal(format!("cannot encode a token: {error}")))?;
        let write = Write {
            key: kind.key("", token),
            precondition: Precondition::Revision(stored.revision),
            value: Some(value.into()),
        };
        match store.commit(vec![write]).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(call.target.stale())
}
