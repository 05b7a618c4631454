//! Artifacts: hashed, sent when they are not there, fetched and verified. Never more than a buffer of one
//! is in memory unless the caller asks for its bytes.

use std::{
    io::{self, Write},
    path::Path,
    pin::Pin,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    client::{Body, ConfigExt as _},
    core::Status,
};
use schemas::{Digest, well_known::ARTIFACTS_PATH};
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncReadExt as _};
use tokio_util::io::ReaderStream;
use tower::{ServiceBuilder, ServiceExt as _, util::BoxCloneService};

use crate::{
    client::Cluster,
    errors::{self, Error, Result},
    progress::Transfer,
};

/// Bytes read at once: large enough that the hash, not the calls, is the cost.
const BUFFER_BYTES: usize = 256 << 10;

type UploadBody = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A local file that is to be an artifact.
pub(crate) struct Hashed {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Reads a file once for its digest.
pub(crate) async fn hash_file(path: &Path) -> Result<Hashed> {
    let mut file = File::open(path).await.map_err(Error::file("read", path))?;
    let (mut hasher, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).await.map_err(Error::file("read", path))? {
            0 => return Ok(Hashed { digest: Digest::from_bytes(hasher.finalize().into()), size }),
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

/// Uploads a file unless the store has it.
pub(crate) async fn ensure_file(cluster: &Cluster, path: &Path, hashed: &Hashed) -> Result<()> {
    if exists(cluster, &hashed.digest).await? {
        return Ok(());
    }
    let bar = Transfer::new(format!("uploading {}", path.display()), hashed.size);
    let file = File::open(path).await.map_err(Error::file("read", path))?;
    let counted = ReaderStream::with_capacity(file.take(hashed.size), BUFFER_BYTES).inspect_ok({
        let bar = bar.clone();
        move |chunk| bar.add(chunk.len() as u64)
    });
    let body = StreamBody::new(counted.map_ok(http_body::Frame::data)).boxed_unsync();
    let sent = put(cluster, &hashed.digest, hashed.size, body).await;
    bar.finish();
    sent
}

/// Uploads bytes unless the store has them; answers their digest.
pub(crate) async fn ensure_bytes(cluster: &Cluster, bytes: Vec<u8>) -> Result<Digest> {
    let digest = Digest::of(&bytes);
    if !exists(cluster, &digest).await? {
        let size = bytes.len() as u64;
        let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync();
        put(cluster, &digest, size, body).await?;
    }
    Ok(digest)
}

/// Whether the store has it.
async fn exists(cluster: &Cluster, digest: &Digest) -> Result<bool> {
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

/// A PUT. kube's own client takes no streamed body, so this one goes through the same TLS and credentials
/// with a body type of our own.
async fn put(cluster: &Cluster, digest: &Digest, size: u64, body: UploadBody) -> Result<()> {
    let doing = format!("cannot upload artifact {digest}");
    let request = Request::put(path(digest)).header(CONTENT_LENGTH, size).body(body);
    let request = request.map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
    let service = upload_service(cluster).map_err(cluster.failed(&doing))?;
    let response =
        service.oneshot(request).await.map_err(|error| errors::transport(&cluster.origin, doing.clone(), &*error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    Err(refused(doing, status, &gather(Box::pin(response.into_body().into_data_stream())).await))
}

fn upload_service(cluster: &Cluster) -> Result<BoxCloneService<Request<UploadBody>, Answer, BoxError>, kube::Error> {
    let connector = cluster.config.rustls_https_connector()?;
    let http: legacy::Client<_, UploadBody> = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let stack = ServiceBuilder::new()
        .map_response(|answer: Response<hyper::body::Incoming>| {
            answer.map(|body| body.map_err(Into::into).boxed_unsync())
        })
        .layer(cluster.config.base_uri_layer())
        .option_layer(cluster.config.auth_layer()?)
        .layer(cluster.config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(BoxCloneService::new(stack))
}

fn path(digest: &Digest) -> String {
    format!("{ARTIFACTS_PATH}/{digest}")
}

/// The first bytes of an error's body; enough for any Status.
async fn gather<E>(mut body: Pin<Box<dyn futures::Stream<Item = Result<Bytes, E>> + Send + '_>>) -> Vec<u8> {
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
fn refused(doing: String, code: StatusCode, body: &[u8]) -> Error {
    let status = serde_json::from_slice::<Status>(body).ok().filter(|status| !status.message.is_empty());
    let status = status.unwrap_or_else(|| {
        let reason = code.canonical_reason().unwrap_or("unknown error");
        Status::failure(&format!("the server answered {} {reason}", code.as_u16()), "").with_code(code.as_u16())
    });
    Error::Refused { doing, status: status.boxed(), hint: None }
}
