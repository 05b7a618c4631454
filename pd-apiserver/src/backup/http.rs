//! `GET /backup/v1`: a backup as a stream, for admins.

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use schemas::well_known::BACKUP_PATH;

use super::write::{Source, stream};
use crate::{
    auth::{Identity, authorize_path},
    server::status::{Reason, Refusal},
};

/// What the endpoint needs.
pub type BackupState = Source;

/// The endpoint. Every request must carry an `Identity` extension.
pub fn router(state: BackupState) -> Router {
    Router::new().route(BACKUP_PATH, get(backup)).with_state(state)
}

async fn backup(State(source): State<Source>, Extension(identity): Extension<Identity>) -> Response {
    let allowed = authorize_path(&identity, "get", BACKUP_PATH).map_err(|denied| denied.to_string());
    let allowed = allowed.and_then(|()| match &identity.namespace {
        Some(namespace) => Err(format!("forbidden: the credential is good for namespace \"{namespace}\" only")),
        None => Ok(()),
    });
    if let Err(denied) = allowed {
        return Refusal::new(StatusCode::FORBIDDEN, Reason::Forbidden, denied).into_response();
    }
    if let Err(error) = source.store.ready() {
        let message = error.to_string();
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::ServiceUnavailable, message).into_response();
    }
    tracing::info!(user = identity.user, "backup begins");
    ([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(stream(source))).into_response()
}
