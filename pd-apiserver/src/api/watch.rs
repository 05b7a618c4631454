//! Watch: changes of the store as the events of one client.
//!
//! In: a call and the store's changes. Out: newline-separated JSON, one chunk an event. An object that
//! enters or leaves the selection comes as ADDED or DELETED, whatever happened to it in the store.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    call::Call,
    error::ApiError,
    media::Form,
    registry,
    selectors::Selection,
    table::{IncludeObject, partial, table},
};
use crate::store::{Change, Changes, StoreError};

/// Time between bookmarks, as upstream.
const BOOKMARK_PERIOD: Duration = Duration::from_mins(1);
/// Least time a watch without `timeoutSeconds` lasts; up to as much again is added at random, so that the
/// watches of a restarted server do not end together. kubectl exits silently when a watch ends.
const TIMEOUT_MIN: Duration = Duration::from_mins(30);
/// Events rendered ahead of a slow client.
const EVENTS_AHEAD: usize = 64;
/// Pause after having lagged behind, so that a store that is going down is not asked in a hot loop.
const RESUBSCRIBE_DELAY: Duration = Duration::from_millis(100);
/// Marks the end of the initial events of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Starts a watch; its events come with the response's body.
pub(crate) fn watch(call: Call, form: Form) -> Result<Response, ApiError> {
    let options = &call.options;
    let selection = Selection::parse(call.target.kind, &options.label_selector, &options.field_selector)?;
    if options.send_initial_events && options.resource_version_match != "NotOlderThan" {
        return Err(ApiError::BadRequest("sendInitialEvents needs resourceVersionMatch=NotOlderThan".to_owned()));
    }
    let version = match options.resource_version.as_str() {
        "" | "0" => None,
        version => Some(registry::parse_revision(version)?),
    };
    let (events, body) = mpsc::channel(EVENTS_AHEAD);
    let stream = Stream { selection, form, events, last: 0, call };
    tokio::spawn(stream.run(version));
    let chunks = futures::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|chunk| (Ok::<Bytes, Infallible>(chunk), body))
    });
    let mut response = Body::from_stream(chunks).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// The client is gone, or nothing more can come.
struct Ended;

struct Stream {
    call: Call,
    selection: Selection,
    form: Form,
    events: mpsc::Sender<Bytes>,
    /// Everything up to this revision has been sent.
    last: u64,
}

impl Stream {
    async fn run(mut self, version: Option<u64>) {
        let deadline = Instant::now() + self.timeout();
        let gone = self.events.clone();
        let stop = self.call.state.stop.clone();
        let started = self.start(version).await;
        if started.is_err() {
            return;
        }
        let mut bookmarks = tokio::time::interval_at(Instant::now() + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Changes up to a revision read one period ago have arrived by now: it is safe to bookmark.
        let mut settled = self.last;
        while let Some(changes) = self.subscribe().await {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                () = stop.cancelled() => return,
                () = gone.closed() => return,
                ended = self.follow(changes, &mut bookmarks, &mut settled) => if ended.is_err() { return },
            }
            tokio::time::sleep(RESUBSCRIBE_DELAY).await;
        }
    }

    fn timeout(&self) -> Duration {
        if let Some(seconds) = self.call.options.timeout_seconds.filter(|seconds| *seconds > 0) {
            return Duration::from_secs(seconds);
        }
        let mut random = [0_u8; 2];
        // Without random bytes all watches last equally long: harmless.
        let _ = getrandom::fill(&mut random);
        TIMEOUT_MIN + TIMEOUT_MIN.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
    }

    /// Sends the present state, unless the client has it.
    async fn start(&mut self, version: Option<u64>) -> Result<(), Ended> {
        let is_streaming_list = self.call.options.send_initial_events;
        if let Some(version) = version.filter(|_| !is_streaming_list) {
            self.last = version;
            return Ok(());
        }
        let list = match registry::list_all(&self.call) {
            Ok(list) => list,
            Err(error) => return self.fail(&error).await,
        };
        for object in list.objects {
            self.send("ADDED", &object).await?;
        }
        self.last = list.revision;
        if is_streaming_list && self.call.options.bookmarks {
            let annotations = json!({INITIAL_EVENTS_END: "true"});
            self.bookmark(list.revision, Some(annotations)).await?;
        }
        Ok(())
    }

    /// Changes after what was sent; `None`: there will be none, and the client has been told.
    async fn subscribe(&self) -> Option<Changes> {
        let target = &self.call.target;
        let prefix = match self.selection.name() {
            Some(name) if !target.kind.namespaced || !target.namespace.is_empty() => {
                target.kind.key(&target.namespace, name)
            }
            _ => target.kind.prefix(&target.namespace),
        };
        let error = match self.call.state.store.watch(&prefix, self.last) {
            Ok(changes) => return Some(changes),
            Err(StoreError::Future { requested, newest }) => ApiError::Expired(format!(
                "resource version {requested} is not of this store; it is at {newest}: list anew"
            )),
            Err(error) => error.into(),
        };
        let _ = self.fail(&error).await;
        None
    }

    /// Sends changes until they end (the watcher lagged), or the client does.
    async fn follow(&mut self, mut changes: Changes, bookmarks: &mut Interval, settled: &mut u64) -> Result<(), Ended> {
        loop {
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some(change) => self.forward(&change).await?,
                    None => return Ok(()),
                },
                _ = bookmarks.tick() => {
                    let revision = (*settled).max(self.last);
                    *settled = self.call.state.store.revision();
                    if self.call.options.bookmarks {
                        self.bookmark(revision, None).await?;
                    }
                }
            }
        }
    }

    async fn forward(&mut self, change: &Change) -> Result<(), Ended> {
        match self.event_of(change) {
            Ok(Some((type_, object))) => self.send(type_, &object).await?,
            Ok(None) => {}
            Err(error) => return self.fail(&error).await,
        }
        self.last = change.revision;
        Ok(())
    }

    /// What a change means to this client.
    fn event_of(&self, change: &Change) -> Result<Option<(&'static str, Value)>, ApiError> {
        let object = |bytes: &Option<Bytes>| {
            bytes.as_ref().map(|bytes| registry::decode(&change.key, bytes, change.revision)).transpose()
        };
        let new = object(&change.value)?;
        let is_in = new.as_ref().is_some_and(|object| self.selection.matches(object));
        let old = if is_in && self.selection.is_everything() { None } else { object(&change.previous)? };
        let was_in = match &old {
            Some(object) => self.selection.matches(object),
            None => self.selection.is_everything() && change.previous.is_some(),
        };
        Ok(match (was_in, is_in) {
            (false, true) => new.map(|object| ("ADDED", object)),
            (true, true) => new.map(|object| ("MODIFIED", object)),
            (true, false) => old.map(|object| ("DELETED", object)),
            (false, false) => None,
        })
    }

    async fn send(&self, type_: &str, object: &Value) -> Result<(), Ended> {
        let kind = self.call.target.kind;
        let include = IncludeObject::parse(&self.call.options.include_object);
        let shown = match self.form {
            Form::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                &table(kind, std::slice::from_ref(object), metadata, include, jiff::Timestamp::now())
            }
            Form::Partial => &partial(object),
            Form::Json | Form::Discovery(_) => object,
        };
        self.write(&json!({"type": type_, "object": shown})).await
    }

    async fn bookmark(&self, revision: u64, annotations: Option<Value>) -> Result<(), Ended> {
        let kind = self.call.target.kind;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let object = match self.form {
            Form::Table => {
                let object = json!({
                    "kind": kind.name, "apiVersion": kind.api_version(), "metadata": metadata,
                });
                let mut table = table(kind, &[], metadata, IncludeObject::None, jiff::Timestamp::now());
                table["rows"] = json!([{"cells": [], "object": object}]);
                table
            }
            Form::Partial => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            Form::Json | Form::Discovery(_) => {
                json!({"kind": kind.name, "apiVersion": kind.api_version(), "metadata": metadata})
            }
        };
        self.write(&json!({"type": "BOOKMARK", "object": object})).await
    }

    /// Tells the client why it ends.
    async fn fail(&self, error: &ApiError) -> Result<(), Ended> {
        let _ = self.write(&json!({"type": "ERROR", "object": error.status()})).await;
        Err(Ended)
    }

    async fn write(&self, event: &Value) -> Result<(), Ended> {
        let mut line = event.to_string();
        line.push('\n');
        self.events.send(line.into()).await.map_err(|_| Ended)
    }
}
