//! Writes on their way to the writer thread.
//!
//! In: requests from any thread. Out: batches, each of which becomes one redb transaction. While the store
//! is halted, requests are refused here and never wait.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{StoreError, Write};

/// Requests that may wait: beyond it the disk is too slow for the load, and callers should hear so.
const QUEUE_MAX: usize = 8192;
/// Requests of one redb transaction, ...
const BATCH_REQUESTS_MAX: usize = 1024;
/// ... and bytes of them: 16 MiB keep one commit below a second on a slow disk.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// One transaction and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) writes: Vec<Write>,
    pub(super) answer: oneshot::Sender<Result<u64, StoreError>>,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    halted: Option<StoreError>,
    deletes_only: bool,
    stopping: bool,
}

/// The queue in front of the writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, request: Request) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(error) = &state.halted {
            return Err(error.clone());
        }
        if state.stopping {
            return Err(StoreError::Unavailable("the server is shutting down".to_owned()));
        }
        if state.deletes_only && request.writes.iter().any(|write| write.value.is_some()) {
            return Err(StoreError::Full);
        }
        if state.requests.len() == QUEUE_MAX {
            return Err(StoreError::Unavailable(format!("{QUEUE_MAX} writes are waiting already; try again")));
        }
        state.requests.push_back(request);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for requests and takes what fits one transaction; `None` once the queue is stopping and empty. With
    /// `patience` it waits no longer than that, and then takes nothing.
    pub(super) fn next_batch(&self, patience: Option<Duration>) -> Option<Vec<Request>> {
        let mut state = self.lock();
        while state.requests.is_empty() {
            if state.stopping {
                return None;
            }
            let Some(patience) = patience else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            if waited.1.timed_out() {
                return Some(Vec::new());
            }
            state = waited.0;
        }
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(request) = state.requests.pop_front() else { break };
            bytes +=
                request.writes.iter().map(|write| write.value.as_ref().map_or(0, bytes::Bytes::len)).sum::<usize>();
            batch.push(request);
        }
        Some(batch)
    }

    /// Refuses all requests, the waiting ones included, until `resume`.
    pub(super) fn halt(&self, error: StoreError) {
        let mut state = self.lock();
        for request in state.requests.drain(..) {
            let _ = request.answer.send(Err(error.clone()));
        }
        state.halted = Some(error);
    }

    pub(super) fn resume(&self) {
        self.lock().halted = None;
    }

    /// From now on, refuses everything but deletes, or nothing.
    pub(super) fn set_deletes_only(&self, deletes_only: bool) {
        self.lock().deletes_only = deletes_only;
    }

    pub(super) fn ready(&self) -> Result<(), StoreError> {
        let state = self.lock();
        match &state.halted {
            Some(error) => Err(error.clone()),
            None if state.deletes_only => Err(StoreError::Full),
            None => Ok(()),
        }
    }

    /// Lets the writer finish what waits and end.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Waits for `pause` or until the queue is stopping; true: it is.
    pub(super) fn wait_stopping(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.lock();
        while !state.stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
