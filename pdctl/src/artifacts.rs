//! Artifacts: hashed, sent when they are not there, fetched and verified. Never more than a buffer of one
//! is in memory unless the caller asks for its bytes.

use std::{
    io::{self, Write},
    path::Path,
    pin::Pin,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{client::Body, core::Status};
pub(crate) use pd_manifests::upload::Hashed;
use pd_manifests::upload::{self, UploadError, Uploads};
use schemas::{Digest, well_known::ARTIFACTS_PATH};
use sha2::{Digest as _, Sha256};

use crate::{
    client::Cluster,
    errors::{self, Error, Result},
    progress::Transfer,
};

/// Reads a file once for its digest.
pub(crate) async fn hash_file(path: &Path) -> Result<Hashed> {
    upload::hash_file(path).await.map_err(failed_upload(None))
}

/// Uploads a file unless the store has it.
pub(crate) async fn ensure_file(cluster: &Cluster, path: &Path, hashed: &Hashed) -> Result<()> {
    let bar = Transfer::new(format!("uploading {}", path.display()), hashed.size);
    let sent = {
        let bar = bar.clone();
        uploads(cluster)?.ensure_file(path, *hashed, move |bytes| bar.add(bytes)).await
    };
    bar.finish();
    sent.map_err(failed_upload(Some(cluster)))
}

/// Uploads bytes unless the store has them; answers their digest.
pub(crate) async fn ensure_bytes(cluster: &Cluster, bytes: Vec<u8>) -> Result<Digest> {
    uploads(cluster)?.ensure_bytes(bytes).await.map_err(failed_upload(Some(cluster)))
}

fn uploads(cluster: &Cluster) -> Result<Uploads> {
    Uploads::new(&cluster.config).map_err(cluster.failed("cannot upload"))
}

/// As pdctl tells it; only reading a file goes without a cluster.
fn failed_upload(cluster: Option<&Cluster>) -> impl FnOnce(UploadError) -> Error {
    move |error| {
        let doing = |digest: &Digest| format!("cannot upload artifact {digest}");
        match (error, cluster) {
            (UploadError::File { path, source }, _) => Error::File { doing: "read", path, source },
            (UploadError::Transport { digest, source }, Some(cluster)) => {
                errors::transport(&cluster.origin, doing(&digest), &*source)
            }
            (UploadError::Refused { digest, status }, _) => {
                Error::Refused { doing: doing(&digest), status, hint: None }
            }
            (error, None) => Error::invalid(error.to_string()),
        }
    }
}

/// Whether the store has it.
pub(crate) async fn exists(cluster: &Cluster, digest: &Digest) -> Result<bool> {
    let doing = format!("cannot look for artifact {digest}");
    let response = send(cluster, &doing, Method::HEAD, digest).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(false),
        status if status.is_success() => Ok(true),
        status => Err(refused(doing, status, &[])),
    }
}

/// A small artifact as a whole, verified. Larger than `limit` is an error.
pub(crate) async fn bytes(cluster: &Cluster, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fetch(cluster, digest, &mut Sink { to: &mut bytes, failed: &Error::stdout }, Some(limit), None).await?;
    Ok(bytes)
}

/// Streams an artifact to `to`, verifying the digest on the way; answers the number of bytes.
pub(crate) async fn download(cluster: &Cluster, digest: &Digest, to: &mut Sink<'_>, bar: &Transfer) -> Result<u64> {
    fetch(cluster, digest, to, None, Some(bar)).await
}

/// Where a download goes, and what it means when that fails.
pub(crate) struct Sink<'a> {
    pub(crate) to: &'a mut dyn Write,
    pub(crate) failed: &'a dyn Fn(io::Error) -> Error,
}

async fn fetch(
    cluster: &Cluster,
    digest: &Digest,
    sink: &mut Sink<'_>,
    limit: Option<u64>,
    bar: Option<&Transfer>,
) -> Result<u64> {
    let doing = format!("cannot fetch artifact {digest}");
    let response = send(cluster, &doing, Method::GET, digest).await?;
    let status = response.status();
    let mut body = Box::pin(response.into_body().into_data_stream());
    if !status.is_success() {
        return Err(refused(doing, status, &gather(body).await));
    }
    let (mut hasher, mut size) = (Sha256::new(), 0);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| errors::transport(&cluster.origin, doing.clone(), &error))?;
        size += chunk.len() as u64;
        if limit.is_some_and(|limit| size > limit) {
            return Err(Error::invalid(format!("artifact {digest} is larger than it may be")));
        }
        hasher.update(&chunk);
        sink.to.write_all(&chunk).map_err(sink.failed)?;
        if let Some(bar) = bar {
            bar.add(chunk.len() as u64);
        }
    }
    let actual = Digest::from_bytes(hasher.finalize().into());
    if actual == *digest {
        Ok(size)
    } else {
        Err(Error::Answer { doing, reason: format!("the {size} bytes it sent have digest {actual}") })
    }
}

/// A request without a body, answered as it is.
async fn send(cluster: &Cluster, doing: &str, method: Method, digest: &Digest) -> Result<Response<Body>> {
    let request = Request::builder().method(method).uri(path(digest)).body(Body::empty());
    let request = request.map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
    cluster.client.send(request).await.map_err(cluster.failed(doing))
}

fn path(digest: &Digest) -> String {
    format!("{ARTIFACTS_PATH}/{digest}")
}

/// The first bytes of an error's body; enough for any Status.
pub(crate) async fn gather<E>(mut body: Pin<Box<dyn futures::Stream<Item = Result<Bytes, E>> + Send + '_>>) -> Vec<u8> {
    const STATUS_BYTES_MAX: usize = 64 << 10;
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > STATUS_BYTES_MAX {
            break;
        }
    }
    bytes
}

/// The server's Status, or one made from the code alone.
pub(crate) fn refused(doing: String, code: StatusCode, body: &[u8]) -> Error {
    let status = serde_json::from_slice::<Status>(body).ok().filter(|status| !status.message.is_empty());
    let status = status.unwrap_or_else(|| {
        let reason = code.canonical_reason().unwrap_or("unknown error");
        Status::failure(&format!("the server answered {} {reason}", code.as_u16()), "").with_code(code.as_u16())
    });
    Error::Refused { doing, status: status.boxed(), hint: None }
}
