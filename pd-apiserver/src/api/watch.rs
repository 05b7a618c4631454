//! Watch: changes of the store as the events of one client.
//!
//! In: a call and the store's changes. Out: newline-separated JSON, made as fast as the client takes it: what it has
//! not taken waits in the store's bounded queue and nowhere else. An object that enters or leaves the selection
//! comes as ADDED or DELETED, whatever happened to it in the store.

mod event;

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::error::TryRecvError,
    time::{Instant, Interval, MissedTickBehavior, Sleep},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

pub(super) use self::event::new_object;
use self::event::{Type, bookmark, failure, line, meaning, print, transition};
use super::{
    call::Call,
    error::ApiError,
    kinds::{Kind, Rules},
    media::Form,
    pods,
    print::{Item, Look},
    registry,
    selectors::Selection,
    table::IncludeObject,
    topics::topic_of_selection,
    views,
};
use crate::store::{Change, Changes, Record, StoreError};

/// Time between bookmarks, as upstream.
const BOOKMARK_PERIOD: Duration = Duration::from_mins(1);
/// Least time a watch without `timeoutSeconds` lasts; up to as much again is added at random, so that the
/// watches of a restarted server do not end together. kubectl exits silently when a watch ends.
const TIMEOUT_MIN: Duration = Duration::from_mins(30);
/// Events that are there already go out together up to this size: one write instead of many, and two TLS records.
const CHUNK_BYTES: usize = 32 << 10;
/// Pause after having lagged behind, so that a store that is going down is not asked in a hot loop.
const RESUBSCRIBE_DELAY: Duration = Duration::from_millis(100);
/// Marks the end of the initial events of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Marks an answer that goes on for long, and after which its connection need not be used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting;

/// Starts a watch; its events come with the response's body.
pub(crate) fn watch(call: Call, form: Form) -> Result<Response, ApiError> {
    let options = &call.options;
    let selection = Selection::parse(call.target.kind, &options.label_selector, &options.field_selector)?;
    let version = match options.resource_version.as_str() {
        "" | "0" => None,
        version => Some(registry::parse_revision(version)?),
    };
    let stream = Box::new(Stream::new(call, selection, form, version));
    let chunks = futures::stream::unfold(stream, |mut stream| async move {
        stream.next().await.map(|chunk| (Ok::<Bytes, Infallible>(chunk), stream))
    });
    let mut response = Body::from_stream(chunks).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

/// Where a watch stands.
enum Phase {
    /// Nothing has been sent. A client that names a version has the state of that version.
    Start(Option<u64>),
    /// The objects of the present state that are still to be sent.
    Initial(Initial),
    /// Changes are to be asked for.
    Detached,
    /// Changes come.
    Following(Changes),
    /// Nothing more comes.
    Ended,
}

/// Objects of the present state.
enum Initial {
    Stored(std::vec::IntoIter<Record>),
    Computed(std::vec::IntoIter<Value>),
}

/// A state of the store whose changes have all come, be they sent or not.
#[derive(Clone, Copy)]
struct Mark {
    revision: u64,
    /// The watch ends there.
    is_end: bool,
}

/// One watch. It does nothing but when its client takes something.
struct Stream {
    call: Call,
    selection: Selection,
    look: Look,
    phase: Phase,
    /// Everything up to this revision has been sent.
    last: u64,
    /// What is said once all that has come so far is sent.
    mark: Option<Mark>,
    bookmarks: Interval,
    deadline: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream {
    fn new(call: Call, selection: Selection, form: Form, version: Option<u64>) -> Self {
        let look = Look { form, include: IncludeObject::parse(&call.options.include_object) };
        let mut bookmarks = tokio::time::interval_at(Instant::now() + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Box::pin(tokio::time::sleep(timeout(call.options.timeout_seconds)));
        let stop = Box::pin(call.state.stop.clone().cancelled_owned());
        let phase = Phase::Start(version);
        Self { call, selection, look, phase, last: 0, mark: None, bookmarks, deadline, stop }
    }

    /// The next events, one or more lines; `None`: there are none any more.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match &mut self.phase {
                Phase::Start(version) => {
                    let version = *version;
                    if let Err(error) = self.start(version) {
                        return Some(self.fail(&error));
                    }
                }
                Phase::Initial(objects) => {
                    match objects.chunk(self.call.target.kind, self.look) {
                        Ok(None) => self.phase = Phase::Detached,
                        Ok(chunk) => return chunk,
                        Err(error) => return Some(self.fail(&error)),
                    }
                    if self.call.options.send_initial_events && self.call.options.bookmarks {
                        return Some(self.bookmark(self.last, Some(json!({INITIAL_EVENTS_END: "true"}))));
                    }
                }
                Phase::Detached => match self.subscribe() {
                    Ok(changes) => self.phase = Phase::Following(changes),
                    Err(error) => return Some(self.fail(&error)),
                },
                Phase::Following(_) => {
                    if let Some(chunk) = self.follow().await {
                        return Some(chunk);
                    }
                }
                Phase::Ended => return None,
            }
        }
    }

    /// Takes the present state, unless the client has it.
    fn start(&mut self, version: Option<u64>) -> Result<(), ApiError> {
        if let Some(version) = version.filter(|_| !self.call.options.send_initial_events) {
            (self.last, self.phase) = (version, Phase::Detached);
        } else {
            let (revision, initial) = self.present()?;
            (self.last, self.phase) = (revision, Phase::Initial(initial));
        }
        Ok(())
    }

    /// The present state and its revision.
    fn present(&self) -> Result<(u64, Initial), ApiError> {
        if views::is_view(self.call.target.kind.rules) {
            let list = views::list_all(&self.call)?;
            return Ok((list.revision, Initial::Computed(list.objects.into_iter())));
        }
        let all = registry::all(&self.call)?;
        Ok((all.revision, Initial::Stored(all.records.into_iter())))
    }

    /// Changes after what was sent.
    fn subscribe(&self) -> Result<Changes, ApiError> {
        let target = &self.call.target;
        let prefix = match self.selection.name() {
            Some(name) if !self.is_of_pods() && (!target.kind.namespaced || !target.namespace.is_empty()) => {
                target.kind.key(&target.namespace, name)
            }
            _ => target.kind.watched_prefix(&target.namespace),
        };
        let topic = topic_of_selection(target.kind, &self.selection);
        self.call.state.store.watch_topic(&prefix, topic, self.last).map_err(|error| match error {
            StoreError::Future { requested, newest } => ApiError::Expired(format!(
                "resource version {requested} is not of this store; it is at {newest}: list anew"
            )),
            error => error.into(),
        })
    }

    /// Waits for something to say; `None`: there was nothing for this client, or it lagged.
    async fn follow(&mut self) -> Option<Bytes> {
        let Phase::Following(changes) = &mut self.phase else { return None };
        if let Some(mark) = self.mark {
            if self.last > mark.revision {
                return self.pass(mark, false);
            }
            return match changes.try_recv() {
                Ok(change) => self.gather(change),
                Err(TryRecvError::Empty) => self.pass(mark, true),
                // It has lagged: what is missing may be older than the mark.
                Err(TryRecvError::Disconnected) => self.pass(mark, false),
            };
        }
        let is_end = tokio::select! {
            biased;
            () = &mut self.stop => true,
            () = &mut self.deadline => true,
            change = changes.recv() => {
                if let Some(change) = change {
                    return self.gather(change);
                }
                tokio::time::sleep(RESUBSCRIBE_DELAY).await;
                self.phase = Phase::Detached;
                return None;
            }
            _ = self.bookmarks.tick() => false,
        };
        self.mark = Some(Mark { revision: self.call.state.store.published(), is_end });
        None
    }

    /// Says how far the client has come, if it has just come there. A client that starts again from there misses nothing
    /// and is sent nothing twice, however little of what happens is for it; without that each end of a watch would cost
    /// the server a long history, or a new list.
    fn pass(&mut self, mark: Mark, is_reached: bool) -> Option<Bytes> {
        self.mark = None;
        if mark.is_end {
            self.phase = Phase::Ended;
        }
        (is_reached && self.call.options.bookmarks).then(|| self.bookmark(mark.revision, None))
    }

    /// The events of a change and of those that have come after it.
    fn gather(&mut self, first: Arc<Change>) -> Option<Bytes> {
        let mut chunk = Chunk::default();
        let mut next = Some(first);
        while let Some(change) = next {
            match self.lines_of(&change) {
                Ok(lines) => lines.into_iter().for_each(|line| chunk.push(Some(line))),
                Err(error) => {
                    chunk.push(Some(self.fail(&error)));
                    break;
                }
            }
            self.last = change.revision;
            next = match &mut self.phase {
                Phase::Following(changes) if chunk.len() < CHUNK_BYTES => changes.try_recv().ok(),
                _ => None,
            };
        }
        chunk.finish()
    }

    fn is_of_pods(&self) -> bool {
        self.call.target.kind.rules == Rules::Pod
    }

    /// What a change has to say to this client: of an object one line or none, of the Pods behind it any number.
    fn lines_of(&self, change: &Arc<Change>) -> Result<Vec<Bytes>, ApiError> {
        let kind = self.call.target.kind;
        if self.is_of_pods() {
            let pods = pods::changes(&self.call, change)?.into_iter();
            let meant = pods.filter_map(|(old, new)| transition(&self.selection, old, new));
            return meant.map(|(type_, pod)| print(kind, type_, Item::Parsed(&pod), self.look)).collect();
        }
        let type_ = meaning(change, kind, &self.selection)?;
        type_.map(|type_| line(change, kind, type_, self.look)).into_iter().collect()
    }

    fn bookmark(&self, revision: u64, annotations: Option<Value>) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        bookmark(self.call.target.kind, &metadata, self.look.form)
    }

    /// Ends, and says why.
    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.phase = Phase::Ended;
        failure(error)
    }
}

/// How long a watch lasts.
fn timeout(asked_seconds: Option<u64>) -> Duration {
    if let Some(seconds) = asked_seconds.filter(|seconds| *seconds > 0) {
        return Duration::from_secs(seconds);
    }
    let mut random = [0_u8; 2];
    // Without random bytes all watches last equally long: harmless.
    let _ = getrandom::fill(&mut random);
    TIMEOUT_MIN + TIMEOUT_MIN.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}

impl Initial {
    /// The next events; `None`: there are no more.
    fn chunk(&mut self, kind: &Kind, look: Look) -> Result<Option<Bytes>, ApiError> {
        let mut chunk = Chunk::default();
        while chunk.len() < CHUNK_BYTES {
            let line = match self {
                Self::Stored(records) => {
                    records.next().map(|record| print(kind, Type::Added, Item::of(&record)?, look))
                }
                Self::Computed(objects) => {
                    objects.next().map(|object| print(kind, Type::Added, Item::Parsed(&object), look))
                }
            };
            match line {
                None => break,
                Some(line) => chunk.push(Some(line?)),
            }
        }
        Ok(chunk.finish())
    }
}

/// Lines on their way out. A single one is not copied.
#[derive(Default)]
struct Chunk {
    first: Option<Bytes>,
    all: BytesMut,
}

impl Chunk {
    fn push(&mut self, line: Option<Bytes>) {
        let Some(line) = line else { return };
        match self.first.take() {
            None if self.all.is_empty() => self.first = Some(line),
            None => self.all.extend_from_slice(&line),
            Some(first) => {
                self.all.extend_from_slice(&first);
                self.all.extend_from_slice(&line);
            }
        }
    }

    fn len(&self) -> usize {
        self.first.as_ref().map_or(self.all.len(), Bytes::len)
    }

    fn finish(self) -> Option<Bytes> {
        match self.first {
            Some(line) => Some(line),
            None => (!self.all.is_empty()).then(|| self.all.freeze()),
        }
    }
}
