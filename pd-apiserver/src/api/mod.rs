//! The Kubernetes wire protocol: what a client of any Kubernetes tool finds behind our port.
//!
//! In: HTTP requests with an `Identity` beside them, and a store of bytes. Out: objects, lists, tables,
//! watches, discovery and Status errors. It knows nothing of TLS, of files or of how an identity was proved.

mod age;
mod apply;
mod call;
mod discovery;
mod error;
mod garbage;
#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
mod kinds;
mod media;
mod openapi;
mod options;
mod patch;
mod pods;
mod print;
mod protobuf;
mod raw;
mod registry;
mod respond;
mod reviews;
mod scale;
mod schema;
mod selectors;
mod serve;
mod strategies;
mod subtasks;
mod table;
mod topics;
mod usage;
mod views;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use daemon::settings::Settings;
use tokio_util::sync::CancellationToken;

pub(crate) use self::watch::Lasting;
pub use self::{
    error::{ApiError, Cause, Subject},
    pods::Hidden as HiddenPods,
};
pub use self::{serve::serve, strategies::settings::Unfinished, topics::topic_of};
use crate::{artifacts::ArtifactStore, pki::Authority, store::Store};

/// What the API needs of the rest of the server.
pub struct ApiState {
    /// The objects.
    pub store: Arc<dyn Store>,
    /// The blobs that objects name.
    pub artifacts: Arc<ArtifactStore>,
    /// Signs nodes' certificates.
    pub authority: Arc<Authority>,
    /// Pods that somebody deleted.
    pub hidden: Arc<HiddenPods>,
    /// What the operator has configured.
    pub settings: Arc<Settings>,
    /// The Jobs that have not ended, counted for admission.
    pub unfinished: Arc<Unfinished>,
    /// Ends watches and the garbage collector: they would keep a server that drains waiting.
    pub stop: CancellationToken,
}

/// Whether a path is of the Kubernetes API: `/version`, `/api`, `/apis` and `/openapi`.
pub fn is_served(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "version" | "api" | "apis" | "openapi")
}

/// Creates the namespaces that exist from the first start. Call it before serving.
pub async fn bootstrap(state: &Arc<ApiState>) -> Result<(), ApiError> {
    for name in strategies::PERMANENT_NAMESPACES {
        match serve::create_as_system(state, kinds::Rules::Namespace, name).await {
            Ok(()) | Err(ApiError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Follows the store and deletes what has lost its owner, its namespace or its time, until `state.stop`.
pub async fn collect_garbage(state: Arc<ApiState>) {
    let stop = state.stop.clone();
    garbage::run(state, stop).await;
}
