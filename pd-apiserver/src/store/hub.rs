//! Fan-out of committed changes to watchers.
//!
//! In: changes in revision order, from the writer only. Out: one bounded queue per watcher. The newest
//! changes are kept in memory, so that a watcher which comes back after a moment costs no disk reads. It
//! knows nothing of redb.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::mpsc;

use super::{Change, Changes, snapshot::change_bytes};

/// Changes a watcher may lag behind before its stream ends. They are shared between watchers, so 10,000
/// laggards hold 10,000 x 2,048 pointers (160 MiB) at worst, not as many objects.
const WATCH_QUEUE_MAX: usize = 2048;
/// Newest changes kept in memory, ...
pub(super) const RECENT_CHANGES_MAX: usize = 2048;
/// ... in bytes.
pub(super) const RECENT_BYTES_MAX: usize = 16 << 20;
/// New watchers between two sweeps for closed ones under prefixes where nothing happens.
const SWEEP_EVERY: usize = 256;

/// The watchers and the newest changes.
#[derive(Default)]
pub(super) struct Hub {
    watchers: BTreeMap<String, Vec<mpsc::Sender<Arc<Change>>>>,
    recent: VecDeque<Arc<Change>>,
    recent_bytes: usize,
    /// `recent` holds every change after this revision.
    complete_after: u64,
    joined: usize,
    dropped: u64,
}

impl Hub {
    /// Starts over with `recent`, which is complete after revision `complete_after`. Ends all streams.
    pub(super) fn restart(&mut self, complete_after: u64, recent: VecDeque<Arc<Change>>) {
        self.watchers.clear();
        self.recent_bytes = recent.iter().map(|change| change_bytes(change)).sum();
        self.recent = recent;
        self.complete_after = complete_after;
    }

    /// Ends all streams.
    pub(super) fn stop(&mut self) {
        self.watchers.clear();
    }

    /// Hands `changes` to the watchers of their keys. A watcher whose queue is full is dropped.
    pub(super) fn publish(&mut self, changes: Vec<Arc<Change>>) {
        let mut dropped = 0;
        for (prefix, watchers) in &mut self.watchers {
            for change in changes.iter().filter(|change| change.key.starts_with(prefix.as_str())) {
                watchers.retain(|watcher| match watcher.try_send(Arc::clone(change)) {
                    Ok(()) => true,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        dropped += 1;
                        false
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => false,
                });
            }
        }
        self.dropped += dropped;
        self.watchers.retain(|_, watchers| !watchers.is_empty());
        for change in changes {
            self.remember(change);
        }
    }

    fn remember(&mut self, change: Arc<Change>) {
        self.recent_bytes += change_bytes(&change);
        self.recent.push_back(change);
        while self.recent.len() > RECENT_CHANGES_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= change_bytes(&oldest);
            self.complete_after = oldest.revision;
        }
    }

    /// Whether the changes after `revision` are all in memory.
    pub(super) fn reaches_back_to(&self, revision: u64) -> bool {
        revision >= self.complete_after
    }

    /// Joins a watcher that already holds `history`, complete up to `up_to`. The caller has checked
    /// `reaches_back_to(up_to)`, so nothing is lost between the two.
    pub(super) fn join(&mut self, prefix: &str, up_to: u64, history: Vec<Arc<Change>>) -> Changes {
        let first = self.recent.partition_point(|change| change.revision <= up_to);
        let newer = self.recent.range(first..).filter(|change| change.key.starts_with(prefix));
        let backlog: Vec<Arc<Change>> = history.into_iter().chain(newer.cloned()).collect();
        let (sender, receiver) = mpsc::channel(backlog.len() + WATCH_QUEUE_MAX);
        for change in backlog {
            // The queue was made longer than the backlog.
            let _ = sender.try_send(change);
        }
        self.joined += 1;
        if self.joined.is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
        self.watchers.entry(prefix.to_owned()).or_default().push(sender);
        receiver
    }

    fn sweep(&mut self) {
        self.watchers.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
    }

    /// Watchers now, and watchers dropped for lagging so far.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.watchers.values().map(Vec::len).sum(), self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, revision: u64) -> Arc<Change> {
        Arc::new(Change { key: key.to_owned(), revision, value: None, previous: None })
    }

    fn drain(changes: &mut Changes) -> Vec<u64> {
        std::iter::from_fn(|| changes.try_recv().ok()).map(|change| change.revision).collect()
    }

    #[test]
    fn a_watcher_gets_the_recent_past_and_then_what_happens() {
        let mut hub = Hub::default();
        hub.publish(vec![change("/a/1", 1), change("/b/1", 2), change("/a/2", 3)]);
        let mut changes = hub.join("/a/", 1, Vec::new());
        hub.publish(vec![change("/a/3", 4), change("/b/2", 5)]);
        assert_eq!(drain(&mut changes), [3, 4]);
    }

    #[test]
    fn a_laggard_is_dropped_and_the_others_are_not() {
        let mut hub = Hub::default();
        let mut lagging = hub.join("", 0, Vec::new());
        let mut reading = hub.join("", 0, Vec::new());
        let mut read = 0;
        for revision in 1..=(WATCH_QUEUE_MAX as u64 + 10) {
            hub.publish(vec![change("/a", revision)]);
            read += drain(&mut reading).len();
        }
        assert_eq!(read, WATCH_QUEUE_MAX + 10);
        assert_eq!(drain(&mut lagging).len(), WATCH_QUEUE_MAX);
        assert!(lagging.is_closed(), "the stream must end");
        assert_eq!(hub.counts(), (1, 1));
    }

    #[test]
    fn memory_forgets_whole_revisions_only() {
        let mut hub = Hub::default();
        let revisions = RECENT_CHANGES_MAX as u64;
        for revision in 1..=revisions {
            hub.publish(vec![change("/a", revision), change("/b", revision)]);
        }
        assert!(!hub.reaches_back_to(revisions / 2 - 1));
        assert!(hub.reaches_back_to(revisions / 2));
    }
}
