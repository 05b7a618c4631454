//! Bare HTTP connections, one request at a time on each: the least that a client library costs, and the same
//! one for every server that is measured.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kube::{
    Config,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::net::TcpStream;
use tower::Service;

type Sender = http1::SendRequest<Full<Bytes>>;

/// How to reach one API server, with the identity of a kubeconfig.
#[derive(Clone)]
pub(super) struct Wire {
    open: Arc<dyn Fn() -> BoxFuture<'static, Result<Sender>> + Send + Sync>,
    host: String,
}

impl Wire {
    /// Over TLS, as an ordinary client: the CA and the client certificate of a kubeconfig.
    pub(super) async fn to(kubeconfig: &Path) -> Result<Self> {
        let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let connector = config.rustls_https_connector()?;
        let uri = config.cluster_url;
        let host = uri.authority().context("a server without an address")?.to_string();
        let open = move || -> BoxFuture<'static, Result<Sender>> {
            let (mut connector, uri) = (connector.clone(), uri.clone());
            Box::pin(async move {
                let stream = connector.call(uri).await.map_err(|error| anyhow::anyhow!("connecting: {error}"))?;
                let (sender, connection) = http1::handshake(stream).await.context("starting HTTP")?;
                tokio::spawn(connection);
                Ok(sender)
            })
        };
        Ok(Self { open: Arc::new(open), host })
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> Result<Connection> {
        Ok(Connection { sender: (self.open)().await?, host: self.host.clone() })
    }
}

/// One connection.
pub(super) struct Connection {
    sender: Sender,
    host: String,
}

impl Connection {
    async fn request(&mut self, method: &str, path: &str, kind: &str, body: Bytes) -> Result<(StatusCode, Incoming)> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        let request = request.header(header::CONTENT_TYPE, kind).header(header::USER_AGENT, "pd-bench");
        let request = request.body(Full::new(body)).context("building a request")?;
        self.sender.ready().await.context("waiting for a connection")?;
        let answer = self.sender.send_request(request).await.with_context(|| format!("{method} {path}"))?;
        Ok((answer.status(), answer.into_body()))
    }

    /// Sends a request and reads the whole answer, which must be a success.
    pub(super) async fn send(&mut self, method: &str, path: &str, kind: &str, body: Bytes) -> Result<Bytes> {
        let (status, answer) = self.request(method, path, kind, body).await?;
        let answer = answer.collect().await.context("reading an answer")?.to_bytes();
        ensure!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }

    /// GET.
    pub(super) async fn get(&mut self, path: &str) -> Result<Bytes> {
        self.send("GET", path, "application/json", Bytes::new()).await
    }

    /// Starts a watch; its events are lines of the body.
    pub(super) async fn watch(&mut self, path: &str) -> Result<Incoming> {
        let (status, body) = self.request("GET", path, "application/json", Bytes::new()).await?;
        ensure!(status.is_success(), "GET {path}: {status}");
        Ok(body)
    }
}

/// A TCP connection for a protocol of one's own.
pub(super) async fn tcp(address: SocketAddr) -> Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    Ok(TokioIo::new(stream))
}
