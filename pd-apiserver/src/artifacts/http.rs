//! The artifact endpoints: `PUT`, `HEAD` and `GET /artifacts/v1/sha256:<hex>`, and `POST` of a set of indexes to
//! `/artifacts/v1/sha256:<hex>/differences/sha256:<hex>`.
//!
//! In: authenticated requests. Out: bytes or a Status. Whoever knows a digest has seen the bytes or an object
//! that names them, so users are not told apart by namespace here; nodes fetch what their Assignments name.

use std::{ops::Range, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemas::{
    Digest,
    digest::InvalidDigest,
    limits::ARTIFACT_BYTES_MAX,
    well_known::{ARTIFACTS_PATH, groups},
};
use serde_json::json;

use super::{
    ArtifactError, ArtifactStore, Fetched, Stored,
    compare::{self, CompareError},
    grants::NodeGrants,
};
use crate::{
    auth::Identity,
    server::status::{Reason, Refusal},
    store::StoreError,
};

/// Longest silence of a sender before the upload is given up.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);

/// What the endpoints need.
#[derive(Clone)]
pub struct ArtifactState {
    /// The blobs.
    pub artifacts: Arc<ArtifactStore>,
    /// Which of them a node may fetch.
    pub grants: Arc<NodeGrants>,
}

/// The artifact endpoints. Every request must carry an `Identity` extension.
pub fn router(state: ArtifactState) -> Router {
    let methods = put(upload).get(download).head(size);
    Router::new()
        .route(&format!("{ARTIFACTS_PATH}/{{digest}}"), methods)
        .route(&format!("{ARTIFACTS_PATH}/{{digest}}/differences/{{other}}"), post(differences))
        .with_state(state)
}

async fn upload(
    State(state): State<ArtifactState>,
    Extension(identity): Extension<Identity>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    permit(&identity, &[groups::ADMINS, groups::EDITORS, groups::NODES], "upload")?;
    let digest = parse(&digest)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > ARTIFACT_BYTES_MAX) {
        return Err(refusal(&ArtifactError::TooLarge { limit: ARTIFACT_BYTES_MAX }));
    }
    let chunks = chunks_in_time(body);
    let stored = state.artifacts.put(digest, chunks, ARTIFACT_BYTES_MAX).await;
    let Stored { size, created } = stored.map_err(|error| refusal(&error))?;
    let code = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((code, Json(json!({"digest": digest, "size": size}))).into_response())
}

/// The body's chunks; an error when none comes for too long.
fn chunks_in_time(body: Body) -> impl futures::Stream<Item = Result<bytes::Bytes, String>> + Unpin {
    let chunks = futures::stream::unfold(Some(body.into_data_stream()), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(BODY_IDLE_MAX, body.next()).await {
            Ok(chunk) => Some((chunk?.map_err(|error| error.to_string()), Some(body))),
            Err(_) => Some((Err(format!("no bytes for {} s", BODY_IDLE_MAX.as_secs())), None)),
        }
    });
    Box::pin(chunks)
}

async fn size(
    State(state): State<ArtifactState>,
    Extension(identity): Extension<Identity>,
    Path(digest): Path<String>,
) -> Result<Response, Refusal> {
    permit(&identity, &[groups::ADMINS, groups::EDITORS, groups::VIEWERS, groups::RECONCILERS, groups::NODES], "read")?;
    let digest = parse(&digest)?;
    let size = state.artifacts.head(&digest).await.map_err(|error| refusal(&error))?.ok_or_else(|| missing(&digest))?;
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), &digest, size);
    Ok(response)
}

async fn download(
    State(state): State<ArtifactState>,
    Extension(identity): Extension<Identity>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let digest = parse(&digest)?;
    permit_download(&state, &identity, &digest)?;
    let size = state.artifacts.head(&digest).await.map_err(|error| refusal(&error))?.ok_or_else(|| missing(&digest))?;
    let range = headers.get(header::RANGE).and_then(|range| parse_range(range.to_str().ok()?, size));
    let partial = range.is_some();
    let fetched = state.artifacts.get(&digest, range).await.map_err(|error| refusal(&error))?;
    let Fetched { size, range, body } = fetched.ok_or_else(|| missing(&digest))?;
    let mut response = Response::new(Body::from_stream(body));
    describe(response.headers_mut(), &digest, range.end - range.start);
    if partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        if let Ok(value) = HeaderValue::try_from(content_range) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// Which of the indexes in the body two segments hold different outputs of.
async fn differences(
    State(state): State<ArtifactState>,
    Extension(identity): Extension<Identity>,
    Path((digest, other)): Path<(String, String)>,
    body: String,
) -> Result<String, Refusal> {
    permit(&identity, &[groups::ADMINS, groups::EDITORS, groups::VIEWERS, groups::RECONCILERS], "compare")?;
    let malformed = |why: String| Refusal::new(StatusCode::BAD_REQUEST, Reason::BadRequest, why);
    let (left, right) = (parse(&digest)?, parse(&other)?);
    let indexes = body.trim().parse().map_err(|error| malformed(format!("the body is no set of indexes: {error}")))?;
    match compare::differences(&state.artifacts, [left, right], &indexes).await {
        Ok(differing) => Ok(differing.to_string()),
        Err(CompareError::Missing(digest)) => Err(missing(&digest)),
        Err(CompareError::Artifact(error)) => Err(refusal(&error)),
        Err(error) => Err(malformed(error.to_string())),
    }
}

fn describe(headers: &mut HeaderMap, digest: &Digest, length: u64) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{digest}\"")) {
        headers.insert(header::ETAG, tag);
    }
}

fn parse(digest: &str) -> Result<Digest, Refusal> {
    let malformed = |error: InvalidDigest| Refusal::new(StatusCode::BAD_REQUEST, Reason::BadRequest, error.to_string());
    digest.parse().map_err(malformed)
}

fn permit(identity: &Identity, roles: &[&str], verb: &str) -> Result<(), Refusal> {
    if roles.iter().any(|role| identity.has(role)) { Ok(()) } else { Err(forbidden(identity, verb)) }
}

fn forbidden(identity: &Identity, verb: &str) -> Refusal {
    let message = format!("artifacts is forbidden: User \"{}\" cannot {verb} artifacts", identity.user);
    Refusal::new(StatusCode::FORBIDDEN, Reason::Forbidden, message)
}

fn permit_download(state: &ArtifactState, identity: &Identity, digest: &Digest) -> Result<(), Refusal> {
    let Some(node) = identity.node() else {
        return permit(identity, &[groups::ADMINS, groups::EDITORS, groups::VIEWERS, groups::RECONCILERS], "read");
    };
    if state.grants.allow(node, digest).map_err(|error| unavailable(&error))? {
        return Ok(());
    }
    let message = format!("artifacts \"{digest}\" is forbidden: no Assignment of node \"{node}\" names it");
    Err(Refusal::new(StatusCode::FORBIDDEN, Reason::Forbidden, message))
}

fn missing(digest: &Digest) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, Reason::NotFound, format!("artifacts \"{digest}\" not found"))
}

fn unavailable(error: &StoreError) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::ServiceUnavailable, error.to_string())
}

fn refusal(error: &ArtifactError) -> Refusal {
    let (code, reason) = match error {
        ArtifactError::Mismatch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, Reason::Invalid),
        ArtifactError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Reason::RequestEntityTooLarge),
        ArtifactError::Body(_) => (StatusCode::BAD_REQUEST, Reason::BadRequest),
        ArtifactError::OutOfRange { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, Reason::BadRequest),
        ArtifactError::Damaged { .. } | ArtifactError::Storage { .. } | ArtifactError::File { .. } => {
            tracing::error!(%error, "artifact store failed");
            (StatusCode::INTERNAL_SERVER_ERROR, Reason::InternalError)
        }
    };
    let refusal = Refusal::new(code, reason, error.to_string());
    match error {
        ArtifactError::OutOfRange { size } => refusal.with_header(header::CONTENT_RANGE, format!("bytes */{size}")),
        _ => refusal,
    }
}

/// A single range of `bytes=a-b`, `bytes=a-` or `bytes=-n`. Anything else is ignored, as RFC 9110 says.
fn parse_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let length = last.parse::<u64>().ok()?;
        return Some(size.saturating_sub(length)..size);
    }
    let first = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.checked_add(1)? };
    (last.is_empty() || first < end).then_some(first..end.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, range) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=10-19", Some(10..20)),
            ("bytes=90-", Some(90..100)),
            ("bytes=-10", Some(90..100)),
            ("bytes=-1000", Some(0..100)),
            ("bytes=200-300", Some(200..301)),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("bytes=a-b", None),
            ("items=0-1", None),
        ] {
            assert_eq!(parse_range(text, 100), range, "{text}");
        }
    }
}
