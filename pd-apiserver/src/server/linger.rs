//! Refusals that the client gets to read.
//!
//! A server that answers before it has read the request and closes resets the connection, and a client that is
//! still sending sees a broken pipe instead of the answer. So the rest of a refused body is read and dropped, up
//! to a limit. A client that asked first (`Expect: 100-continue`) is not sending, and waits for nothing.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
};
use futures::StreamExt;
use http::header;
use hyper::body::{Frame, SizeHint};

/// Bytes read for nothing: eight of the largest manifests. Beyond it a client is told by the closed connection.
const LINGER_BYTES_MAX: usize = 8 << 20;
/// Time spent on them.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// A body whose rest can still be read when its reader has given up.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// Answers, and takes what is left of the request's body when the answer is a refusal.
pub(super) async fn linger(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    let response = next(Request::from_parts(parts, Body::new(body.clone()))).await;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if refused && !body.is_end_stream() {
        // A client that does not even send the rest in time gets the answer all the same.
        let _ = tokio::time::timeout(LINGER_MAX, drop_rest(Body::new(body))).await;
    }
    response
}

async fn drop_rest(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes += chunk.len();
        if bytes > LINGER_BYTES_MAX {
            return;
        }
    }
}
