//! A watch takes its connection over.
//!
//! In: a connection whose request has been read, and the answer to it. Out: that answer in chunks, and the end of the
//! connection. All that a client of a watch still does is to leave, so there is nothing for an HTTP server to wait
//! for: ten thousand idle watches would keep its buffers, more than half of all that they cost.

use std::{io, time::Duration};

use axum::{body::Bytes, response::Response};
use futures::StreamExt;
use http::{header, response::Parts};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// For a client to take what is sent. Until then the events that it has not taken wait for it.
const STALL_MAX: Duration = Duration::from_mins(1);
/// Read at a time of what a client says while nobody listens.
const IGNORED_BYTES: usize = 64;
/// The chunk that ends a body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Sends a lasting answer until it or the client ends.
pub(super) async fn send(stream: impl AsyncRead + AsyncWrite + Unpin, response: Response) {
    if let Err(error) = send_all(stream, response, STALL_MAX).await {
        tracing::debug!(%error, "a lasting answer ended early");
    }
}

async fn send_all(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    response: Response,
    stall_max: Duration,
) -> io::Result<()> {
    let (parts, body) = response.into_parts();
    write(&mut stream, &head(&parts), stall_max).await?;
    drop(parts);
    let mut chunks = body.into_data_stream();
    let mut ignored = [0; IGNORED_BYTES];
    loop {
        tokio::select! {
            biased;
            chunk = chunks.next() => match chunk {
                Some(Ok(chunk)) => write(&mut stream, &framed(&chunk), stall_max).await?,
                // Without the last chunk the client knows that this is not the end.
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => break,
            },
            read = stream.read(&mut ignored) => if read? == 0 {
                return Ok(());
            },
        }
    }
    write(&mut stream, LAST_CHUNK, stall_max).await?;
    stream.shutdown().await
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], stall_max: Duration) -> io::Result<()> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "the client has taken nothing for a while");
    tokio::time::timeout(stall_max, written).await.map_err(stalled)?
}

/// Status line and headers.
fn head(parts: &Parts) -> Vec<u8> {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).into_bytes();
    let mut line = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        line(name.as_str(), value.as_bytes());
    }
    line("date", Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string().as_bytes());
    line("transfer-encoding", b"chunked");
    line("connection", b"close");
    head.extend_from_slice(b"\r\n");
    head
}

fn framed(chunk: &Bytes) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
    framed.reserve_exact(chunk.len() + 2);
    framed.extend_from_slice(chunk);
    framed.extend_from_slice(b"\r\n");
    framed
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn response(chunks: &'static [&'static str]) -> Response {
        let body = Body::from_stream(futures::stream::iter(chunks).map(|chunk| Ok::<_, Infallible>(*chunk)));
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.status_mut() = StatusCode::OK;
        response
    }

    #[tokio::test]
    async fn it_is_an_answer_in_chunks_that_ends_its_connection() {
        let (mut client, server) = tokio::io::duplex(16);
        let sending = tokio::spawn(send(server, response(&["a line\n", "and another one\n"])));
        // What a client says by the way is not looked at.
        client.write_all(b"GET /").await.expect("sent");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("the end");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
        let lines: Vec<_> = lines.collect();
        for expected in ["content-type: application/json", "transfer-encoding: chunked", "connection: close"] {
            assert!(lines.contains(&expected), "{lines:?}");
        }
        assert!(lines.iter().any(|line| line.starts_with("date: ") && line.ends_with(" GMT")), "{lines:?}");
        assert_eq!(body, "7\r\na line\n\r\n10\r\nand another one\n\r\n0\r\n\r\n");
        sending.await.expect("sent");
    }

    #[tokio::test]
    async fn it_ends_when_the_client_leaves() {
        let (client, server) = tokio::io::duplex(1 << 10);
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
        let sending = tokio::spawn(send(server, Response::new(body)));
        drop(client);
        sending.await.expect("it has ended");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (client, server) = tokio::io::duplex(16);
        let sent = send_all(server, response(&["more than sixteen bytes\n"]), Duration::from_millis(20)).await;
        assert_eq!(sent.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        drop(client);
    }
}
