//! Large answers go out as gzip to clients that take it.
//!
//! In: requests and whole answers. Out: the same answers, smaller. What comes in pieces (watches, artifacts) is left
//! alone.

use std::io::Write as _;

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};

/// Least size worth it, as upstream: smaller ones cost more time here than they save on the wire.
const BYTES_MIN: u64 = 128 << 10;

/// Answers, packed when that is wanted and worth it.
pub(super) async fn compress(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let is_wanted = accepts_gzip(request.headers());
    let response = next(request).await;
    if !is_wanted || !is_worth_it(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The whole body is in memory already: its exact size was known.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else { return Response::from_parts(parts, Body::empty()) };
    let packed = tokio::task::spawn_blocking({
        let bytes = bytes.clone();
        move || pack(&bytes)
    });
    let Ok(Ok(packed)) = packed.await else { return Response::from_parts(parts, Body::from(bytes)) };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::from(packed))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && weight.replace(' ', "") != "q=0"
    })
}

fn is_worth_it(response: &Response) -> bool {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|type_| type_.as_bytes().starts_with(b"application/json"));
    is_json
        && response.body().size_hint().exact().is_some_and(|size| size >= BYTES_MIN)
        && !response.headers().contains_key(header::CONTENT_ENCODING)
}

fn pack(bytes: &Bytes) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::{Json, response::IntoResponse};

    use super::*;

    async fn ask(accept: &str, size: usize) -> (Option<HeaderValue>, Vec<u8>) {
        let request =
            Request::builder().header(header::ACCEPT_ENCODING, accept).body(Body::empty()).expect("a request");
        let response = compress(request, async |_| Json("x".repeat(size)).into_response()).await;
        let coding = response.headers().get(header::CONTENT_ENCODING).cloned();
        (coding, to_bytes(response.into_body(), usize::MAX).await.expect("a body").to_vec())
    }

    #[tokio::test]
    async fn only_large_answers_to_those_who_take_it_are_packed() {
        let large = BYTES_MIN as usize;
        let (coding, packed) = ask("br, gzip", large).await;
        assert_eq!(coding, Some(HeaderValue::from_static("gzip")));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
        assert_eq!(text.len(), large + 2);
        for (accept, size) in [("", large), ("identity", large), ("gzip;q=0", large), ("gzip", 10)] {
            assert_eq!(ask(accept, size).await.0, None, "{accept} {size}");
        }
    }
}
