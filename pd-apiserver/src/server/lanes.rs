//! Lanes: how much of the server each kind of client can hold, so that none can starve another.
//!
//! In: requests with an `Identity`. Out: the same requests, or 429 when their lane stays full. Watches, followed logs,
//! artifacts and backups last as long as they last and are bounded elsewhere.

use std::time::Duration;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Method, Uri};
use schemas::well_known::{ARTIFACTS_PATH, BACKUP_PATH, groups};
use tokio::sync::Semaphore;

use crate::{api::ApiError, auth::Identity};

/// Reads of one lane in flight at once, as upstream.
const READS_MAX: usize = 400;
/// Writes of one lane in flight at once, as upstream: far more than one group commit takes.
const WRITES_MAX: usize = 200;
/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// One kind of client.
struct Lane {
    reads: Semaphore,
    writes: Semaphore,
}

impl Default for Lane {
    fn default() -> Self {
        Self { reads: Semaphore::new(READS_MAX), writes: Semaphore::new(WRITES_MAX) }
    }
}

/// The lanes of one server.
#[derive(Default)]
pub(super) struct Lanes {
    /// Kubelets and reconcilers.
    system: Lane,
    /// Everybody else.
    users: Lane,
}

impl Lanes {
    fn turn(&self, identity: &Identity, method: &Method) -> &Semaphore {
        let is_system = identity.has(groups::NODES) || identity.has(groups::RECONCILERS);
        let lane = if is_system { &self.system } else { &self.users };
        if matches!(*method, Method::GET | Method::HEAD) { &lane.reads } else { &lane.writes }
    }
}

/// Answers a request when it is its turn.
pub(super) async fn limit(lanes: &Lanes, request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let Some(identity) = request.extensions().get::<Identity>().filter(|_| !is_long(request.uri())) else {
        return next(request).await;
    };
    let turn = lanes.turn(identity, request.method());
    // The semaphores are never closed: the inner error cannot come.
    let Ok(_permit) = tokio::time::timeout(WAIT_MAX, turn.acquire()).await else {
        let message = "Too many requests, please try again later.";
        return ApiError::TooManyRequests(message.to_owned()).into_response();
    };
    next(request).await
}

/// Requests that last by their nature.
fn is_long(uri: &Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    uri.path().starts_with(ARTIFACTS_PATH)
        || uri.path() == BACKUP_PATH
        || pairs.any(|pair| matches!(pair, "watch" | "watch=1" | "watch=true" | "follow=1" | "follow=true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_cannot_take_the_lane_of_nodes() {
        let lanes = Lanes::default();
        let identity =
            |group: &str| Identity { user: "x".into(), groups: vec![group.into()], namespace: None, token: None };
        let users = lanes.turn(&identity(groups::EDITORS), &Method::POST);
        let _all = users.try_acquire_many(WRITES_MAX as u32).expect("permits");
        assert_eq!(users.available_permits(), 0);
        assert_eq!(lanes.turn(&identity(groups::ADMINS), &Method::PATCH).available_permits(), 0);
        assert_eq!(lanes.turn(&identity(groups::EDITORS), &Method::GET).available_permits(), READS_MAX);
        assert_eq!(lanes.turn(&identity(groups::NODES), &Method::POST).available_permits(), WRITES_MAX);
    }

    #[test]
    fn what_lasts_is_not_counted() {
        let lasts = |uri: &str| is_long(&uri.parse().expect("a URI"));
        assert!(lasts("/api/v1/nodes?&watch=true") && lasts("/api/v1/namespaces/d/pods/x/log?follow=true"));
        assert!(lasts("/artifacts/v1/sha256:00") && lasts("/backup/v1"));
        assert!(!lasts("/api/v1/nodes?watch=false") && !lasts("/api/v1/nodes"));
    }
}
