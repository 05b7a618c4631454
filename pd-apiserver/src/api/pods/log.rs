//! `pods/log`: what an attempt has logged, once its node has reported it.
//!
//! A log comes with the report of how its attempt ended. While the attempt runs there is none; `follow` waits for it.

use std::{convert::Infallible, fmt::Write as _};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderValue, header};
use schemas::{
    Digest,
    limits::{LOG_BYTES_MAX, OUTPUT_BYTES_MAX},
    segment::{Directory, PREFIX_BYTES},
};
use tokio::sync::mpsc;

use super::{
    Source,
    attempts::{self, Attempt, State},
    find, object,
};
use crate::{
    api::{call::Call, error::ApiError, options::LogOptions, registry::seconds},
    artifacts::{ArtifactError, ArtifactStore},
};

/// Largest header of a segment of logs that is read: 8 bytes for each index of a segment as large as they get.
const HEADER_BYTES_MAX: u64 = OUTPUT_BYTES_MAX;

/// Answers the log as text.
pub(crate) async fn log(call: &Call) -> Result<Response, ApiError> {
    let options = &call.options.log;
    check(call, options)?;
    let (source, attempt) = find(call)?;
    if attempt.is_running() && options.follow {
        return Ok(follow(call.clone(), source, attempt));
    }
    let text = text_of(call, &source, &attempt).await?;
    Ok(plain(Body::from(text)))
}

fn plain(body: Body) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn check(call: &Call, options: &LogOptions) -> Result<(), ApiError> {
    let pod = &call.target.name;
    if !options.container.is_empty() && options.container != object::CONTAINER {
        return Err(ApiError::BadRequest(format!("container {} is not valid for pod {pod}", options.container)));
    }
    if options.previous {
        return Err(ApiError::BadRequest(format!(
            "previous terminated container \"{}\" in pod \"{pod}\" not found: each attempt is a pod of its own",
            object::CONTAINER
        )));
    }
    if options.has_since {
        return Err(ApiError::BadRequest(
            "sinceSeconds and sinceTime are not supported: the lines of a subtask's log carry no times".to_owned(),
        ));
    }
    Ok(())
}

/// Waits for the attempt to end, then sends its log.
fn follow(call: Call, source: Source, attempt: Attempt) -> Response {
    let (sender, body) = mpsc::channel(1);
    tokio::spawn(async move {
        let stop = call.state.stop.clone();
        let ended = tokio::select! {
            ended = until_ended(&call, source, &attempt) => ended,
            () = stop.cancelled() => return,
            () = sender.closed() => return,
        };
        let text = match ended {
            Ok(Some((source, attempt))) => text_of(&call, &source, &attempt).await,
            Ok(None) => Ok(String::new()),
            Err(error) => Err(error),
        };
        // The answer has begun: an error can only be said in its words, as upstream does.
        let text = text.unwrap_or_else(|error| format!("unable to retrieve the log: {error}\n"));
        let _ = sender.send(text.into()).await;
    });
    let chunks = futures::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|chunk| (Ok::<Bytes, Infallible>(chunk), body))
    });
    plain(Body::from_stream(chunks))
}

/// The attempt as it ended; `None`: its Assignment is gone, or it was given to another node.
async fn until_ended(call: &Call, source: Source, attempt: &Attempt) -> Result<Option<(Source, Attempt)>, ApiError> {
    let store = &call.state.store;
    let mut changes = store.watch(&source.key, source.revision)?;
    while let Some(change) = changes.recv().await {
        if change.key != source.key {
            continue;
        }
        let Some(bytes) = &change.value else { return Ok(None) };
        let source = Source::read(&change.key, bytes, change.revision)?;
        match attempts::find(&source.assignment, attempt.index, attempt.number) {
            Some(ended) if !ended.is_running() => return Ok(Some((source, ended))),
            _ => {}
        }
    }
    Err(ApiError::Unavailable("the store has ended the watch; ask again".to_owned()))
}

async fn text_of(call: &Call, source: &Source, attempt: &Attempt) -> Result<String, ApiError> {
    let artifacts: Vec<Digest> = match &attempt.state {
        State::Running { .. } => Vec::new(),
        State::Succeeded { logs } => logs.iter().copied().collect(),
        State::Failed { logs, .. } => logs.clone(),
    };
    for digest in artifacts {
        if let Some(bytes) = entry(&call.state.artifacts, &digest, attempt.index).await? {
            let time = reported_at(source);
            return Ok(cut(&String::from_utf8_lossy(&bytes), &call.options.log, &time));
        }
    }
    Ok(String::new())
}

/// When the node last reported: the lines have no times of their own.
fn reported_at(source: &Source) -> String {
    let metadata = &source.assignment.metadata;
    let entries = metadata.managed_fields.iter().flatten();
    let reported =
        entries.filter(|entry| entry.subresource.as_deref() == Some("status")).filter_map(|e| e.time.as_ref());
    let newest = reported.map(|time| time.0).max().or(metadata.creation_timestamp.as_ref().map(|time| time.0));
    newest.map(seconds).unwrap_or_default()
}

/// The part of a log that was asked for.
fn cut(log: &str, options: &LogOptions, time: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let skipped = options.tail_lines.map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut text = String::with_capacity(log.len());
    for line in &lines[skipped..] {
        let prefix = if options.timestamps { format!("{time} ") } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{prefix}{line}");
    }
    if let Some(limit) = options.limit_bytes {
        let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// One entry of an artifact in segment format, by three ranged reads; `None`: it has none, or is gone.
async fn entry(artifacts: &ArtifactStore, digest: &Digest, index: u64) -> Result<Option<Bytes>, ApiError> {
    let damaged = |error| ApiError::Internal(format!("the log artifact {digest} does not read: {error}"));
    let Some(prefix) = range(artifacts, digest, 0, PREFIX_BYTES as u64).await? else { return Ok(None) };
    let length = Directory::header_bytes(&prefix).map_err(damaged)? as u64;
    let header = range(artifacts, digest, PREFIX_BYTES as u64, length.min(HEADER_BYTES_MAX)).await?;
    let directory = Directory::decode(&header.unwrap_or_default()).map_err(damaged)?;
    let Some(place) = directory.entry(index) else { return Ok(None) };
    Ok(range(artifacts, digest, place.start, (place.end - place.start).min(LOG_BYTES_MAX as u64)).await?)
}

async fn range(
    artifacts: &ArtifactStore,
    digest: &Digest,
    start: u64,
    length: u64,
) -> Result<Option<Bytes>, ArtifactError> {
    if length == 0 {
        return Ok(Some(Bytes::new()));
    }
    let Some(fetched) = artifacts.get(digest, Some(start..start + length)).await? else { return Ok(None) };
    let chunks: Vec<Bytes> = fetched.body.try_collect().await?;
    Ok(Some(chunks.concat().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_from_its_end() {
        let options = LogOptions { tail_lines: Some(2), ..LogOptions::default() };
        assert_eq!(cut("a\nb\nc\n", &options, ""), "b\nc\n");
        assert_eq!(cut("a\nb", &LogOptions { timestamps: true, ..options.clone() }, "T"), "T a\nT b\n");
        assert_eq!(cut("aé\n", &LogOptions { limit_bytes: Some(2), ..LogOptions::default() }, ""), "a");
        assert_eq!(cut("", &options, ""), "");
    }
}
