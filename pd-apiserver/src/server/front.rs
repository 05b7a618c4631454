//! What every request passes on its way to the room that answers it, from the outside in.
//!
//! In: requests with the `Peer` of their connection beside them. Out: answers, whatever happens behind. The steps are
//! plain functions round each other, so that a request costs one future and not one box for each of them.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::StatusCode;
use tower::ServiceExt;

use super::{
    authenticate, compress,
    lanes::{self, Lanes},
    linger,
    status::{Reason, Refusal},
};
use crate::{
    api::{self, ApiState},
    auth::tokens::Tokens,
    metrics::{self, Metrics},
};

/// The way in.
pub(super) struct Front {
    pub(super) metrics: Arc<Metrics>,
    pub(super) tokens: Tokens,
    pub(super) lanes: Lanes,
    /// The Kubernetes API.
    pub(super) api: Arc<ApiState>,
    /// What is no path of it.
    pub(super) others: Router,
}

impl Front {
    /// Answers one request.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let inside = async |request| {
            authenticate::authenticate(&self.tokens, request, async |request| {
                lanes::limit(&self.lanes, request, async |request| self.dispatch(request).await).await
            })
            .await
        };
        let caught = async |request| match AssertUnwindSafe(compress::compress(request, inside)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => panicked(),
        };
        metrics::measure(&self.metrics, request, async |request| linger::linger(request, caught).await).await
    }

    async fn dispatch(&self, request: Request) -> Response {
        if api::is_served(request.uri().path()) {
            return api::serve(Arc::clone(&self.api), request).await;
        }
        // A router has no errors of its own.
        self.others
            .clone()
            .oneshot(request)
            .await
            .map_or_else(|never| match never {}, |response| response.map(Body::new))
    }
}

fn panicked() -> Response {
    tracing::error!("a request handler panicked");
    let message = "the server failed on this request; its log says where";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Reason::InternalError, message).into_response()
}
