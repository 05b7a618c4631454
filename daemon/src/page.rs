//! The page: plain HTTP with `/metrics`, `/livez` and `/readyz`, for whoever can reach its address. It shows figures
//! and no more; credentials and objects are never on it.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::text;

/// Time for a client's request head, and between two requests on one connection: longer than a scrape interval.
const HEADER_TIME_MAX: Duration = Duration::from_mins(2);
/// Connections at once: a few scrapers and people, and no way to use up our descriptors.
const CONNECTIONS_MAX: usize = 64;
/// Pause when a connection could not be accepted: closing others is what helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a page shows.
pub trait Source: Send + Sync + 'static {
    /// What the component counts.
    fn registry(&self) -> &Registry;

    /// Whether it does what it is there for: one line for a person either way.
    fn ready(&self) -> Result<String, String> {
        Ok("ok".to_owned())
    }
}

/// Binds the address of the page, so that a taken port is an error at start.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    Ok(listener)
}

/// Serves the page for ever.
pub async fn serve<S: Source>(listener: TcpListener, source: Arc<S>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.uri().path(), request.headers(), source.as_ref());
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "metrics connection ended");
            }
            drop(permit);
        });
    }
}

fn answer(path: &str, headers: &HeaderMap, source: &impl Source) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let line = |text: &str| format!("{text}\n");
    let (status, kind, body) = match path {
        "/metrics" => {
            let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            match text::answer(source.registry(), accept) {
                Ok((kind, text)) => (StatusCode::OK, kind, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, line(&error.to_string())),
            }
        }
        "/livez" | "/healthz" => (StatusCode::OK, TEXT, line("ok")),
        "/readyz" => match source.ready() {
            Ok(how) => (StatusCode::OK, TEXT, line(&how)),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, line(&why)),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, line("there is only /metrics, /livez and /readyz")),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing {
        registry: Registry,
        ready: Result<String, String>,
    }

    impl Source for Thing {
        fn registry(&self) -> &Registry {
            &self.registry
        }

        fn ready(&self) -> Result<String, String> {
            self.ready.clone()
        }
    }

    #[test]
    fn readiness_is_told_by_the_status() {
        for (ready, code) in [(Ok("ok: leads".to_owned()), 200), (Err("not yet".to_owned()), 503)] {
            let thing = Thing { registry: crate::registry("pd_thing", |_| {}), ready };
            assert_eq!(answer("/readyz", &HeaderMap::new(), &thing).status(), code);
            assert_eq!(answer("/livez", &HeaderMap::new(), &thing).status(), 200);
            assert_eq!(answer("/metrics", &HeaderMap::new(), &thing).status(), 200);
            assert_eq!(answer("/", &HeaderMap::new(), &thing).status(), 404);
        }
    }
}
