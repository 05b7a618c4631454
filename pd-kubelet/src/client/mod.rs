//! The way to the API server: one kube client for objects and one HTTP client for artifacts, both over the
//! node's TLS identity.
//!
//! In: an `Identity`. Out: `Connection`, a handle that always has the current pair of clients and tells its
//! holders when it was rebuilt (a renewed certificate, a healed partition). Every await on the wire that
//! starts here has a timeout. It knows no kinds.

mod artifacts;

use std::{sync::Arc, time::Duration};

use backon::ExponentialBuilder;
use http::Uri;
use kube::{Client, Config, api::PatchParams};
use tokio::sync::watch;

pub(crate) use artifacts::{ArtifactError, Artifacts};

use crate::identity::{Identity, IdentityError};

/// One request for an object, answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Opening a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request to the API server has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No client can be built from the credentials.
    #[error("no client can be built from the credentials")]
    Build(#[source] Box<kube::Error>),
    /// The server did not answer in time.
    #[error("the API server did not answer within {after:?} (to {what})")]
    Timeout {
        /// What was attempted.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The server refused or the connection failed.
    #[error("the API server could not be asked to {what}")]
    Request {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl ClientError {
    /// True when the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Build(_) => false,
            Self::Timeout { .. } => true,
            Self::Request { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code >= 500 || status.code == 429,
                kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => false,
                _ => true,
            },
        }
    }

    /// The HTTP status the server answered with, if it answered.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Request { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The clients of one identity.
pub(crate) struct Clients {
    pub api: Client,
    pub artifacts: Artifacts,
}

/// The current clients, shared by everyone who talks to the server.
#[derive(Clone)]
pub(crate) struct Connection {
    server: Uri,
    identity: Arc<watch::Sender<Identity>>,
    clients: Arc<watch::Sender<Arc<Clients>>>,
}

impl Connection {
    pub(crate) fn new(server: Uri, identity: Identity) -> Result<Self, ClientError> {
        let clients = Arc::new(clients(&server, &identity)?);
        Ok(Self {
            server,
            identity: Arc::new(watch::Sender::new(identity)),
            clients: Arc::new(watch::Sender::new(clients)),
        })
    }

    pub(crate) fn current(&self) -> Arc<Clients> {
        self.clients.borrow().clone()
    }

    /// Changes whenever the clients were rebuilt.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Clients>> {
        self.clients.subscribe()
    }

    /// Goes on with another identity.
    pub(crate) fn replace(&self, identity: &Identity) -> Result<(), ClientError> {
        self.clients.send_replace(Arc::new(clients(&self.server, identity)?));
        self.identity.send_replace(identity.clone());
        Ok(())
    }

    /// New connections instead of the pooled ones, after a silence that may have killed them.
    pub(crate) fn reconnect(&self) {
        let identity = self.identity.borrow().clone();
        match clients(&self.server, &identity) {
            Ok(clients) => {
                self.clients.send_replace(Arc::new(clients));
            }
            Err(error) => tracing::warn!(error = crate::chain(&error), "clients not rebuilt"),
        }
    }
}

fn clients(server: &Uri, identity: &Identity) -> Result<Clients, ClientError> {
    let config = config(server, &Credential::Node(identity));
    let artifacts = Artifacts::new(&config).map_err(|source| ClientError::Build(Box::new(source)))?;
    let api = Client::try_from(config).map_err(|source| ClientError::Build(Box::new(source)))?;
    Ok(Clients { api, artifacts })
}

/// With what a client shows itself.
pub(crate) enum Credential<'a> {
    /// With nothing, to a server that is not verified: for the CA alone.
    Unverified,
    /// With a join token, to a server that the CA vouches for.
    Token { ca_pem: String, token: String },
    /// With the node's certificate.
    Node(&'a Identity),
}

pub(crate) fn kube_client(server: &Uri, credential: &Credential<'_>) -> Result<Client, ClientError> {
    let config = config(server, credential);
    Client::try_from(config).map_err(|source| ClientError::Build(Box::new(source)))
}

fn config(server: &Uri, credential: &Credential<'_>) -> Config {
    // Another library in the process may have linked a second provider; ours is ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(server.clone());
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = false;
    config.root_cert = Some(Vec::new());
    match credential {
        Credential::Unverified => config.accept_invalid_certs = true,
        Credential::Token { ca_pem, token } => {
            config.root_cert = Some(ders(ca_pem));
            config.auth_info.token = Some(token.clone().into());
        }
        Credential::Node(identity) => {
            config.root_cert = Some(ders(&identity.ca_pem));
            let (certificate, key) = split_pair(&identity.pair_pem);
            config.auth_info.client_certificate_data = Some(base64(&certificate));
            config.auth_info.client_key_data = Some(base64(&key).into());
        }
    }
    config
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).flatten().map(|block| block.contents).collect()
}

/// Certificate and key of the one file that holds both.
fn split_pair(pair: &str) -> (String, String) {
    let at = pair.find("-----BEGIN CERTIFICATE-----").unwrap_or(pair.len());
    (pair[at..].to_owned(), pair[..at].to_owned())
}

fn base64(text: &str) -> String {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

/// A request with its timeout and its name in errors.
pub(crate) async fn timed<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClientError> {
    timed_within(REQUEST_TIMEOUT, what, request).await
}

/// As `timed`, with another limit.
pub(crate) async fn timed_within<T>(
    after: Duration,
    what: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(after, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ClientError::Request { what, source: Box::new(source) }),
        Err(_) => Err(ClientError::Timeout { what, after }),
    }
}

/// Server-side apply under our name, over whoever else owns a field of ours.
pub(crate) fn apply() -> PatchParams {
    PatchParams::apply("pd-kubelet").force()
}

/// Tries for ever, at most every five seconds, with jitter so that a restarted server is not stampeded.
pub(crate) fn patient() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
}

/// For `notify` of a retried request.
pub(crate) fn log_retry(error: &ClientError, delay: Duration) {
    tracing::warn!(error = crate::chain(error), delay_ms = delay.as_millis() as u64, "will try again");
}

impl From<ClientError> for IdentityError {
    fn from(source: ClientError) -> Self {
        Self::Exchange { what: "build a client", source }
    }
}
