//! The accept loop: TCP, TLS, HTTP/1.1, with a limit on everything a stranger can hold.
//!
//! In: connections. Out: requests to the router, each with the `Peer` of its connection beside it. It knows
//! nothing of paths or kinds.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{body::Body, response::Response};
use futures::future::BoxFuture;
use http::{Method, Request, Version};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{front::Front, lasting};
use crate::{
    api::Lasting,
    auth::certificates::{Peer, peer_of},
};

/// Connections at once: 10,000 watches and some.
const CONNECTIONS_MAX: usize = 16_384;
/// File descriptors kept for the store, artifacts and the rest.
const DESCRIPTORS_RESERVED: usize = 256;
/// For the TLS handshake: several round trips of a bad link, and bcrypt-slow clients.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// First byte of a TLS record that opens a connection; no method of HTTP begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// From the handshake to the first request.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(10);
/// For the head of a later request. hyper counts from the end of the answer before, so this is also how long a
/// connection may idle: longer than the 90 s for which clients pool theirs, or they would write into a closed one.
const NEXT_REQUEST_MAX: Duration = Duration::from_mins(2);
/// Head of a request.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Buffer of a connection; a TLS record is 16 KiB.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause when descriptors or memory have run out: closing connections is what helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For requests in flight when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What the loop needs.
pub(super) struct Listener {
    pub(super) tcp: TcpListener,
    pub(super) tls: TlsAcceptor,
    /// Whether plain HTTP is refused.
    pub(super) is_tls_required: bool,
    pub(super) front: Arc<Front>,
}

/// One of the connections that there may be.
struct Held {
    front: Arc<Front>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn new(listener: &Listener, permit: Option<OwnedSemaphorePermit>) -> Self {
        listener.front.metrics.connections.inc();
        Self { front: Arc::clone(&listener.front), _permit: permit }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.front.metrics.connections.dec();
    }
}

impl Listener {
    /// Accepts until `stop`, then lets requests in flight finish.
    pub(super) async fn run(self, stop: CancellationToken) {
        let limit = Arc::new(Semaphore::new(connections_max()));
        let tasks = TaskTracker::new();
        let listener = Arc::new(self);
        while let Some((stream, permit)) = stop.run_until_cancelled(listener.accept(&limit)).await {
            let (listener, stop, lasting) = (Arc::clone(&listener), stop.clone(), tasks.clone());
            tasks.spawn(async move {
                let held = Held::new(&listener, permit);
                // A task of its own: this one has the size of everything that a connection may be doing.
                if let Some(sending) = listener.serve(stream, stop).await {
                    lasting.spawn(async move {
                        sending.await;
                        drop(held);
                    });
                }
            });
        }
        tasks.close();
        if tokio::time::timeout(DRAIN_MAX, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "connections did not finish in time");
        }
    }

    async fn accept(&self, limit: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed.
        let permit = Arc::clone(limit).acquire_owned().await.ok();
        loop {
            match self.tcp.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection. Answers what remains to be sent when a lasting answer has taken it over.
    async fn serve(&self, stream: TcpStream, stop: CancellationToken) -> Option<BoxFuture<'static, ()>> {
        // Answers are small and waited for: never let them wait for more bytes.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        if !self.is_tls_required && is_plain(&stream).await {
            return self.serve_http(stream, None, stop).await;
        }
        match tokio::time::timeout(HANDSHAKE_MAX, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let peer = peer(&stream);
                return self.serve_http(stream, peer, stop).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
        None
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Option<Peer>,
        stop: CancellationToken,
    ) -> Option<BoxFuture<'static, ()>> {
        let asked = AtomicBool::new(false);
        let lasting: Mutex<Option<Response>> = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let takes_chunks = request.version() == Version::HTTP_11 && request.method() == Method::GET;
            let mut request = request.map(Body::new);
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            let (front, lasting) = (&self.front, &lasting);
            async move {
                let response = front.answer(request).await;
                if takes_chunks && response.extensions().get::<Lasting>().is_some() {
                    *lasting.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
                    // The loop below finds it, and this future ends with the connection's HTTP.
                    return std::future::pending().await;
                }
                Ok::<_, Infallible>(response)
            }
        });
        let taken_over = || lasting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(NEXT_REQUEST_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES);
        let mut connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut first_request = std::pin::pin!(tokio::time::sleep(FIRST_REQUEST_MAX));
        let (mut waiting, mut stopping) = (true, false);
        loop {
            tokio::select! {
                biased;
                done = &mut connection => {
                    if let Err(error) = done {
                        tracing::debug!(%error, "connection ended");
                    }
                    return None;
                }
                // After the connection, whose service puts it there.
                response = poll_fn(|_| taken_over().map_or(Poll::Pending, Poll::Ready)) => {
                    let stream = connection.into_parts().io.into_inner();
                    return Some(Box::pin(lasting::send(stream, response)));
                }
                () = &mut first_request, if waiting => {
                    waiting = false;
                    if !asked.load(Ordering::Relaxed) {
                        return None;
                    }
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    }
}

/// True when the connection does not begin with a TLS handshake. One that begins with nothing is TLS's to time out.
async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE_MAX, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0] != TLS_HANDSHAKE
}

fn peer(stream: &TlsStream<TcpStream>) -> Option<Peer> {
    peer_of(stream.get_ref().1.peer_certificates()?.first()?)
}

/// Errors that say something of one connection, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// As many connections as the process may have descriptors, which is raised as far as it goes.
fn connections_max() -> usize {
    let descriptors = daemon::descriptors::raise()
        .map_or(usize::MAX, |descriptors| usize::try_from(descriptors).unwrap_or(usize::MAX));
    descriptors.saturating_sub(DESCRIPTORS_RESERVED).clamp(16, CONNECTIONS_MAX)
}
