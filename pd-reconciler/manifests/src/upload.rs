//! Uploading a local file as an artifact: hashed first, sent only when the store does not have it, streamed.
//!
//! kube's own client takes no streamed body, so this goes through the same TLS and credentials with a body type
//! of its own.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, Empty, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{Config, client::ConfigExt as _, core::Status};
use schemas::{Digest, well_known::ARTIFACTS_PATH};
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncReadExt as _};
use tokio_util::io::ReaderStream;
use tower::{ServiceBuilder, ServiceExt as _, util::BoxCloneSyncService};

/// Bytes read at once: large enough that the hash, not the calls, is the cost.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of a refusal that are read for its message.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<hyper::body::Incoming>;

/// Why a file is not an artifact now.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server cannot be asked.
    #[error("cannot send artifact {digest}: {source}")]
    Transport {
        /// The artifact.
        digest: Digest,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The server said no.
    #[error("artifact {digest} is refused: {}", status.message)]
    Refused {
        /// The artifact.
        digest: Digest,
        /// What the server said.
        status: Box<Status>,
    },
}

/// A local file that is to be an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Of its content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Reads a file once for its digest.
pub async fn hash_file(path: &Path) -> Result<Hashed, UploadError> {
    let wrong = |source| UploadError::File { path: path.to_owned(), source };
    let mut file = File::open(path).await.map_err(wrong)?;
    let (mut hasher, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).await.map_err(wrong)? {
            0 => return Ok(Hashed { digest: Digest::from_bytes(hasher.finalize().into()), size }),
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

/// The artifact store of one API server.
#[derive(Clone)]
pub struct Uploads {
    service: BoxCloneSyncService<Request<Body>, Answer, BoxError>,
}

impl Uploads {
    /// With the server, TLS and credentials of a client's configuration.
    pub fn new(config: &Config) -> Result<Self, kube::Error> {
        let connector = config.rustls_https_connector()?;
        let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(connector);
        let stack = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(http);
        Ok(Self { service: BoxCloneSyncService::new(stack) })
    }

    /// Uploads a file unless the store has it; `sent` hears of the bytes as they go.
    pub async fn ensure_file(
        &self,
        path: &Path,
        hashed: Hashed,
        sent: impl Fn(u64) + Send + 'static,
    ) -> Result<(), UploadError> {
        if self.exists(hashed.digest).await? {
            return Ok(());
        }
        let wrong = |source| UploadError::File { path: path.to_owned(), source };
        let file = File::open(path).await.map_err(wrong)?;
        let stream = ReaderStream::with_capacity(file.take(hashed.size), BUFFER_BYTES);
        let counted = stream.inspect_ok(move |chunk| sent(chunk.len() as u64)).map_ok(http_body::Frame::data);
        self.put(hashed, StreamBody::new(counted).boxed_unsync()).await
    }

    /// Uploads bytes unless the store has them; answers their digest.
    pub async fn ensure_bytes(&self, bytes: Vec<u8>) -> Result<Digest, UploadError> {
        let hashed = Hashed { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        if !self.exists(hashed.digest).await? {
            let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync();
            self.put(hashed, body).await?;
        }
        Ok(hashed.digest)
    }

    async fn exists(&self, digest: Digest) -> Result<bool, UploadError> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let answer = self.send(digest, Request::builder().method(Method::HEAD), body).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(refused(digest, answer).await),
        }
    }

    async fn put(&self, hashed: Hashed, body: Body) -> Result<(), UploadError> {
        let request = Request::builder().method(Method::PUT).header(CONTENT_LENGTH, hashed.size);
        let answer = self.send(hashed.digest, request, body).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(hashed.digest, answer).await) }
    }

    async fn send(&self, digest: Digest, request: http::request::Builder, body: Body) -> Result<Answer, UploadError> {
        let failed = |source| UploadError::Transport { digest, source };
        let request = request.uri(format!("{ARTIFACTS_PATH}/{digest}")).body(body).map_err(|e| failed(e.into()))?;
        self.service.clone().oneshot(request).await.map_err(failed)
    }
}

/// The server's Status, or one made from the code alone.
async fn refused(digest: Digest, answer: Answer) -> UploadError {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let status = serde_json::from_slice::<Status>(&bytes).ok().filter(|status| !status.message.is_empty());
    let status = status.unwrap_or_else(|| {
        let reason = code.canonical_reason().unwrap_or("unknown error");
        Status::failure(&format!("the server answered {} {reason}", code.as_u16()), "").with_code(code.as_u16())
    });
    UploadError::Refused { digest, status: status.boxed() }
}
