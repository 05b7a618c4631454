//! What anybody may ask: is it alive, is it ready, what is its CA; and `/metrics` for those who may.

use std::sync::Arc;

use axum::{Extension, Router, extract::State, response::IntoResponse, response::Response, routing::get};
use http::{HeaderMap, StatusCode, header};

use super::status::{Reason, Refusal};
use crate::{
    auth::{Identity, authorize_metrics},
    metrics::Metrics,
    pki::Authority,
    store::Store,
};

/// What these paths need.
#[derive(Clone)]
pub(super) struct HealthState {
    pub(super) store: Arc<dyn Store>,
    pub(super) authority: Arc<Authority>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) fn router(state: HealthState) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/ca", get(ca))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn ready(State(state): State<HealthState>) -> Response {
    match state.store.ready() {
        Ok(()) => "ok".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("[-]store failed: {error}\n")).into_response(),
    }
}

async fn ca(State(state): State<HealthState>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], state.authority.ca_pem().to_owned()).into_response()
}

async fn metrics(
    State(state): State<HealthState>,
    Extension(identity): Extension<Identity>,
    headers: HeaderMap,
) -> Response {
    if let Err(denied) = authorize_metrics(&identity) {
        return Refusal::new(StatusCode::FORBIDDEN, Reason::Forbidden, denied.to_string()).into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match state.metrics.text(accept) {
        Ok((kind, text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => {
            let message = error.to_string();
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Reason::InternalError, message).into_response()
        }
    }
}
