//! Artifacts over HTTP: streamed both ways, hashed while they pass, with a timeout on every silence.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{TryStreamExt as _, future::BoxFuture};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{Config, client::ConfigExt as _};
use schemas::{Digest, limits::ARTIFACT_BYTES_MAX, well_known::ARTIFACTS_PATH};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

/// Silence from the server after which a transfer is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Slowest upload that is waited for, in bytes a second: 64 KiB/s, half of a bad wireless link.
const UPLOAD_RATE_MIN: u64 = 64 << 10;
/// Bytes of a refusal that are read for its message.
const REFUSAL_BYTES_MAX: usize = 8 << 10;
/// Bytes read from a file at a time for an upload.
const CHUNK_BYTES: usize = 256 << 10;

/// Why an artifact did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("{verb} of artifact {digest}: the API server fell silent")]
    Timeout { verb: &'static str, digest: Digest },
    #[error("{verb} of artifact {digest}: the connection failed")]
    Network { verb: &'static str, digest: Digest, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{verb} of artifact {digest}: the API server answered {code}: {message}")]
    Refused { verb: &'static str, digest: Digest, code: u16, message: String },
    #[error("artifact {expected} arrived with the digest {actual}: the transfer or the store is damaged")]
    Mismatch { expected: Digest, actual: Digest },
    #[error("artifact {0} is larger than the limit of {ARTIFACT_BYTES_MAX} bytes")]
    TooLarge(Digest),
    #[error("{path} cannot be used")]
    Disk { path: PathBuf, source: io::Error },
}

impl ArtifactError {
    /// True when the same transfer may succeed later without anybody doing anything.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Network { .. } | Self::Mismatch { .. } => true,
            Self::Refused { code, .. } => *code >= 500 || *code == 429,
            Self::TooLarge(_) | Self::Disk { .. } => false,
        }
    }
}

type Body = BoxBody<Bytes, io::Error>;
type Sent = BoxFuture<'static, Result<Response<Incoming>, legacy::Error>>;

/// The artifact store of the API server.
#[derive(Clone)]
pub(crate) struct Artifacts {
    base: String,
    send: Arc<dyn Fn(Request<Body>) -> Sent + Send + Sync>,
}

impl Artifacts {
    pub(crate) fn new(config: &Config) -> Result<Self, kube::Error> {
        let connector = config.rustls_https_connector()?;
        let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(connector);
        let base = config.cluster_url.to_string();
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { base, send: Arc::new(move |request| Box::pin(client.request(request))) })
    }

    /// Streams an artifact into `to`, a new file; answers its size. The file is removed on any error.
    pub(crate) async fn get(&self, digest: Digest, to: &Path) -> Result<u64, ArtifactError> {
        let got = self.get_into(digest, to).await;
        if got.is_err() {
            let _ = tokio::fs::remove_file(to).await;
        }
        got
    }

    async fn get_into(&self, digest: Digest, to: &Path) -> Result<u64, ArtifactError> {
        const VERB: &str = "download";
        let disk = |source| ArtifactError::Disk { path: to.to_owned(), source };
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
        let answer = self.ask(VERB, Method::GET, digest, None, body, IDLE_TIMEOUT).await?;
        let mut body = answer.into_body();
        let mut file =
            tokio::io::BufWriter::with_capacity(CHUNK_BYTES, tokio::fs::File::create(to).await.map_err(disk)?);
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        loop {
            let frame = tokio::time::timeout(IDLE_TIMEOUT, body.frame())
                .await
                .map_err(|_| ArtifactError::Timeout { verb: VERB, digest })?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|e| ArtifactError::Network { verb: VERB, digest, source: e.into() })?;
            let Ok(bytes) = frame.into_data() else { continue };
            size += bytes.len() as u64;
            if size > ARTIFACT_BYTES_MAX {
                return Err(ArtifactError::TooLarge(digest));
            }
            hash.update(&bytes);
            file.write_all(&bytes).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        let actual = Digest::from_bytes(hash.finalize().into());
        if actual == digest { Ok(size) } else { Err(ArtifactError::Mismatch { expected: digest, actual }) }
    }

    /// Uploads a file whose digest is known. The server verifies it.
    pub(crate) async fn put(&self, digest: Digest, size: u64, from: &Path) -> Result<(), ArtifactError> {
        let file = tokio::fs::File::open(from)
            .await
            .map_err(|source| ArtifactError::Disk { path: from.to_owned(), source })?;
        let stream = ReaderStream::with_capacity(file, CHUNK_BYTES.min(size.max(1) as usize));
        let body = StreamBody::new(stream.map_ok(Frame::data)).boxed();
        let limit = IDLE_TIMEOUT + Duration::from_secs(size / UPLOAD_RATE_MIN);
        let answer = self.ask("upload", Method::PUT, digest, Some(size), body, limit).await?;
        // The body is read so that the connection can be used again.
        let _ = tokio::time::timeout(IDLE_TIMEOUT, answer.into_body().collect()).await;
        Ok(())
    }

    async fn ask(
        &self,
        verb: &'static str,
        method: Method,
        digest: Digest,
        size: Option<u64>,
        body: Body,
        limit: Duration,
    ) -> Result<Response<Incoming>, ArtifactError> {
        let network = |source| ArtifactError::Network { verb, digest, source };
        let mut request = Request::builder().method(method).uri(format!("{}{ARTIFACTS_PATH}/{digest}", self.base));
        if let Some(size) = size {
            request = request
                .header(http::header::CONTENT_LENGTH, size)
                .header(http::header::CONTENT_TYPE, "application/octet-stream");
        }
        let request = request.body(body).map_err(|e| network(e.into()))?;
        let answer = tokio::time::timeout(limit, (self.send)(request))
            .await
            .map_err(|_| ArtifactError::Timeout { verb, digest })?
            .map_err(|e| network(e.into()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(verb, digest, answer).await) }
    }
}

async fn refusal(verb: &'static str, digest: Digest, answer: Response<Incoming>) -> ArtifactError {
    let code = answer.status();
    let body = http_body_util::Limited::new(answer.into_body(), REFUSAL_BYTES_MAX);
    let text = match tokio::time::timeout(IDLE_TIMEOUT, body.collect()).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        _ => String::new(),
    };
    let status: Option<kube::core::Status> = serde_json::from_str(&text).ok();
    let message = status.map_or(text, |status| status.message);
    let message = if message.is_empty() { reason(code) } else { message };
    ArtifactError::Refused { verb, digest, code: code.as_u16(), message }
}

fn reason(code: StatusCode) -> String {
    code.canonical_reason().unwrap_or("no reason given").to_owned()
}
