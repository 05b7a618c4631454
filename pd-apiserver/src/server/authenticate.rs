//! Who is asking: the client certificate of the connection, else the bearer token of the request.
//!
//! In: requests with a `Peer` beside them. Out: the same requests with an `Identity`, or 401.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::{
    impersonate::impersonated,
    status::{Reason, Refusal},
};
use crate::auth::{
    Identity,
    certificates::Peer,
    tokens::{TokenError, Tokens},
};

/// Paths that are served to anybody.
const OPEN_PATHS: &[&str] = &["/livez", "/readyz", "/healthz", "/version", "/ca"];

/// Answers what is open to all or comes from somebody known.
pub(super) async fn authenticate(
    tokens: &Tokens,
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let path = request.uri().path();
    if OPEN_PATHS.contains(&path.strip_suffix('/').unwrap_or(path)) {
        return next(request).await;
    }
    let peer = request.extensions().get::<Peer>();
    let identity = identify(peer, request.headers(), tokens, Timestamp::now());
    match identity.and_then(|identity| impersonated(identity, request.headers())) {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn identify(peer: Option<&Peer>, headers: &HeaderMap, tokens: &Tokens, now: Timestamp) -> Result<Identity, Refusal> {
    if let Some(peer) = peer {
        // The handshake has checked this once; a connection may outlive its certificate.
        if now < peer.not_after {
            return Ok(peer.identity.clone());
        }
        return Err(unauthorized(&format!("the client certificate has expired at {}", peer.not_after)));
    }
    let bearer = bearer(headers).ok_or_else(|| unauthorized("send a client certificate or a bearer token"))?;
    tokens.authenticate(bearer, now).map_err(|error| match error {
        TokenError::Store(error) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::ServiceUnavailable, error.to_string())
        }
        error => unauthorized(&error.to_string()),
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(why: &str) -> Refusal {
    let message = format!("Unauthorized: {why}");
    Refusal::new(StatusCode::UNAUTHORIZED, Reason::Unauthorized, message)
        .with_header(header::WWW_AUTHENTICATE, "Bearer")
}
