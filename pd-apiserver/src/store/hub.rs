//! Fan-out of committed changes to watchers.
//!
//! In: changes in revision order, from the writer only. Out: one bounded queue per watcher. The newest
//! changes are kept in memory, so that a watcher which comes back after a moment costs no disk reads. It
//! knows nothing of redb.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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
/// Least number of new watchers between two sweeps for closed ones under prefixes where nothing happens.
const SWEEP_EVERY: usize = 256;

/// The watchers, found by the prefixes of a key: what nobody touches costs a write nothing.
#[derive(Default)]
struct Watchers {
    by_prefix: HashMap<String, Vec<mpsc::Sender<Arc<Change>>>>,
    /// How many prefixes have each length in bytes. There are few lengths, however many watchers.
    lengths: BTreeMap<usize, usize>,
    count: usize,
}

impl Watchers {
    fn add(&mut self, prefix: &str, watcher: mpsc::Sender<Arc<Change>>) {
        let watchers = self.by_prefix.entry(prefix.to_owned()).or_default();
        if watchers.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        watchers.push(watcher);
        self.count += 1;
    }

    /// Hands `change` to those who watch a prefix of its key. Answers how many were dropped for lagging.
    fn send(&mut self, change: &Arc<Change>) -> u64 {
        let mut dropped = 0;
        let mut emptied = Vec::new();
        for length in self.lengths.keys() {
            // A length that cuts a character in two is of a prefix of some other key.
            let Some(prefix) = change.key.get(..*length) else { continue };
            let Some(watchers) = self.by_prefix.get_mut(prefix) else { continue };
            let before = watchers.len();
            watchers.retain(|watcher| match watcher.try_send(Arc::clone(change)) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    dropped += 1;
                    false
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
            self.count -= before - watchers.len();
            if watchers.is_empty() {
                emptied.push(*length);
            }
        }
        for length in emptied {
            self.forget(length, &change.key[..length]);
        }
        dropped
    }

    fn forget(&mut self, length: usize, prefix: &str) {
        self.by_prefix.remove(prefix);
        if let Some(prefixes) = self.lengths.get_mut(&length) {
            *prefixes -= 1;
            if *prefixes == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    /// Forgets those who have gone from prefixes where nothing happens.
    fn sweep(&mut self) {
        for watchers in self.by_prefix.values_mut() {
            watchers.retain(|watcher| !watcher.is_closed());
        }
        self.by_prefix.retain(|_, watchers| !watchers.is_empty());
        self.count = self.by_prefix.values().map(Vec::len).sum();
        self.lengths.clear();
        for prefix in self.by_prefix.keys() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
    }
}

/// The watchers and the newest changes.
#[derive(Default)]
pub(super) struct Hub {
    watchers: Watchers,
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
        self.watchers = Watchers::default();
        self.recent_bytes = recent.iter().map(|change| change_bytes(change)).sum();
        self.recent = recent;
        self.complete_after = complete_after;
    }

    /// Ends all streams.
    pub(super) fn stop(&mut self) {
        self.watchers = Watchers::default();
    }

    /// Hands `changes` to the watchers of their keys. A watcher whose queue is full is dropped.
    pub(super) fn publish(&mut self, changes: Vec<Arc<Change>>) {
        for change in changes {
            self.dropped += self.watchers.send(&change);
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
        // Each sweep looks at every watcher: once for as many new ones keeps joining cheap.
        if self.joined >= self.watchers.count.max(SWEEP_EVERY) {
            self.joined = 0;
            self.watchers.sweep();
        }
        self.watchers.add(prefix, sender);
        receiver
    }

    /// Watchers now, and watchers dropped for lagging so far.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.watchers.count, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Derived, *};

    fn change(key: &str, revision: u64) -> Arc<Change> {
        Arc::new(Change { key: key.to_owned(), revision, value: None, previous: None, derived: Derived::default() })
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

    #[test]
    fn every_prefix_of_a_key_is_served_and_no_other() {
        let mut hub = Hub::default();
        let mut watches =
            ["", "/a/", "/a/x", "/a/é", "/a/xy", "/b/", "/a/x/and/longer"].map(|p| (p, hub.join(p, 0, Vec::new())));
        hub.publish(vec![change("/a/x", 1), change("/a/éa", 2), change("/b/", 3)]);
        let seen: Vec<_> = watches.iter_mut().map(|(prefix, changes)| (*prefix, drain(changes))).collect();
        let expected: [(&str, &[u64]); 7] = [
            ("", &[1, 2, 3]),
            ("/a/", &[1, 2]),
            ("/a/x", &[1]),
            ("/a/é", &[2]),
            ("/a/xy", &[]),
            ("/b/", &[3]),
            ("/a/x/and/longer", &[]),
        ];
        assert!(
            seen.iter().zip(expected).all(|((p, s), (prefix, revisions))| *p == prefix && s == revisions),
            "{seen:?}"
        );
    }

    #[test]
    fn watchers_that_have_gone_are_forgotten() {
        let mut hub = Hub::default();
        for number in 0..10 * SWEEP_EVERY {
            drop(hub.join(&format!("/quiet/{number}"), 0, Vec::new()));
        }
        assert!(hub.counts().0 <= 2 * SWEEP_EVERY, "{}", hub.counts().0);
        let kept = hub.join("/loud/", 0, Vec::new());
        drop(hub.join("/loud/", 0, Vec::new()));
        let before = hub.counts().0;
        hub.publish(vec![change("/loud/a", 1)]);
        assert_eq!(hub.counts().0, before - 1);
        drop(kept);
        hub.publish(vec![change("/loud/a", 2)]);
        assert_eq!(hub.counts().0, before - 2);
        assert!(!hub.watchers.lengths.contains_key(&"/loud/".len()));
    }
}
