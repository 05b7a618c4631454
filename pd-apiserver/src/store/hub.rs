//! Fan-out of committed changes to watchers.
//!
//! In: changes in revision order, from the writer only. Out: one bounded queue per watcher. The newest
//! changes are kept in memory, so that a watcher which comes back after a moment costs no disk reads. It
//! knows nothing of redb.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;

use super::{
    Change, Changes,
    snapshot::change_bytes,
    watchers::{News, TopicOf, Watchers},
};

/// Changes a watcher may lag behind before its stream ends. They are shared between watchers, so 10,000
/// laggards hold 10,000 x 2,048 pointers (160 MiB) at worst, not as many objects.
const WATCH_QUEUE_MAX: usize = 2048;
/// Newest changes kept in memory, ...
pub(super) const RECENT_CHANGES_MAX: usize = 8192;
/// ... in bytes.
pub(super) const RECENT_BYTES_MAX: usize = 16 << 20;
/// Least number of new watchers between two sweeps for closed ones under prefixes where nothing happens.
const SWEEP_EVERY: usize = 256;

/// The watchers and the newest changes.
pub(super) struct Hub {
    watchers: Watchers,
    recent: VecDeque<News>,
    recent_bytes: usize,
    /// `recent` holds every change after this revision.
    complete_after: u64,
    joined: usize,
    dropped: u64,
    topic_of: TopicOf,
}

impl Hub {
    /// Nobody watches yet. `topic_of` finds what a change is about.
    pub(super) fn new(topic_of: TopicOf) -> Self {
        Self {
            watchers: Watchers::default(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            complete_after: 0,
            joined: 0,
            dropped: 0,
            topic_of,
        }
    }

    /// Starts over with `recent`, which is complete after revision `complete_after`. Ends all streams.
    pub(super) fn restart(&mut self, complete_after: u64, recent: VecDeque<Arc<Change>>) {
        self.watchers = Watchers::default();
        self.recent_bytes = recent.iter().map(|change| change_bytes(change)).sum();
        self.recent = recent.into_iter().map(News::new).collect();
        self.complete_after = complete_after;
    }

    /// Ends all streams.
    pub(super) fn stop(&mut self) {
        self.watchers = Watchers::default();
    }

    /// Hands `changes` to the watchers of their keys. A watcher whose queue is full is dropped.
    pub(super) fn publish(&mut self, changes: Vec<Arc<Change>>) {
        for change in changes {
            let news = News::new(change);
            self.dropped += self.watchers.send(&news, self.topic_of);
            self.remember(news);
        }
    }

    fn remember(&mut self, news: News) {
        self.recent_bytes += change_bytes(&news.change);
        self.recent.push_back(news);
        while self.recent.len() > RECENT_CHANGES_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= change_bytes(&oldest.change);
            self.complete_after = oldest.change.revision;
        }
    }

    /// Whether the changes after `revision` are all in memory.
    pub(super) fn reaches_back_to(&self, revision: u64) -> bool {
        revision >= self.complete_after
    }

    /// Joins a watcher that already holds `history`, complete up to `up_to`. The caller has checked
    /// `reaches_back_to(up_to)`, so nothing is lost between the two.
    pub(super) fn join(&mut self, prefix: &str, topic: Option<&str>, up_to: u64, history: Vec<Arc<Change>>) -> Changes {
        let of = self.topic_of;
        let first = self.recent.partition_point(|news| news.change.revision <= up_to);
        let newer = self.recent.range(first..).filter(|news| news.change.key.starts_with(prefix));
        let newer = newer.filter(|news| news.is_about(topic, of)).map(|news| Arc::clone(&news.change));
        let older = history.into_iter().map(News::new).filter(|news| news.is_about(topic, of)).map(|news| news.change);
        let backlog: Vec<Arc<Change>> = older.chain(newer).collect();
        let (sender, receiver) = mpsc::channel(backlog.len() + WATCH_QUEUE_MAX);
        for change in backlog {
            // The queue was made longer than the backlog.
            let _ = sender.try_send(change);
        }
        self.joined += 1;
        // Each sweep looks at every watcher: once for as many new ones keeps joining cheap.
        if self.joined >= self.watchers.count().max(SWEEP_EVERY) {
            self.joined = 0;
            self.watchers.sweep();
        }
        self.watchers.add(prefix, topic, sender);
        receiver
    }

    /// Watchers now, and watchers dropped for lagging so far.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.watchers.count(), self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Derived, *};

    fn change(key: &str, revision: u64) -> Arc<Change> {
        Arc::new(Change { key: key.to_owned(), revision, value: None, previous: None, derived: Derived::default() })
    }

    /// Values are their own topics.
    fn hub() -> Hub {
        Hub::new(|_, value| String::from_utf8(value.to_vec()).ok())
    }

    fn drain(changes: &mut Changes) -> Vec<u64> {
        std::iter::from_fn(|| changes.try_recv().ok()).map(|change| change.revision).collect()
    }

    #[test]
    fn a_watcher_gets_the_recent_past_and_then_what_happens() {
        let mut hub = hub();
        hub.publish(vec![change("/a/1", 1), change("/b/1", 2), change("/a/2", 3)]);
        let mut changes = hub.join("/a/", None, 1, Vec::new());
        hub.publish(vec![change("/a/3", 4), change("/b/2", 5)]);
        assert_eq!(drain(&mut changes), [3, 4]);
    }

    #[test]
    fn a_laggard_is_dropped_and_the_others_are_not() {
        let mut hub = hub();
        let mut lagging = hub.join("", None, 0, Vec::new());
        let mut reading = hub.join("", None, 0, Vec::new());
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
        let mut hub = hub();
        let revisions = RECENT_CHANGES_MAX as u64;
        for revision in 1..=revisions {
            hub.publish(vec![change("/a", revision), change("/b", revision)]);
        }
        assert!(!hub.reaches_back_to(revisions / 2 - 1));
        assert!(hub.reaches_back_to(revisions / 2));
    }

    #[test]
    fn every_prefix_of_a_key_is_served_and_no_other() {
        let mut hub = hub();
        let mut watches = ["", "/a/", "/a/x", "/a/é", "/a/xy", "/b/", "/a/x/and/longer"]
            .map(|p| (p, hub.join(p, None, 0, Vec::new())));
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
    fn a_topic_is_handed_to_those_who_want_it_before_and_after() {
        let told = |revision, previous: Option<&'static str>, value: Option<&'static str>| {
            let bytes = |text: Option<&'static str>| text.map(|text| bytes::Bytes::from_static(text.as_bytes()));
            Arc::new(Change { value: bytes(value), previous: bytes(previous), ..(*change("/a/x", revision)).clone() })
        };
        let mut hub = hub();
        hub.publish(vec![told(1, None, Some("red")), told(2, None, Some("blue"))]);
        let mut red = hub.join("/a/", Some("red"), 0, Vec::new());
        let mut blue = hub.join("/a/", Some("blue"), 1, vec![told(1, None, Some("red"))]);
        let mut all = hub.join("/a/", None, 2, Vec::new());
        hub.publish(vec![
            told(3, Some("red"), Some("red")),
            told(4, Some("red"), Some("blue")),
            told(5, Some("blue"), None),
            told(6, None, Some("green")),
        ]);
        assert_eq!(
            (drain(&mut red), drain(&mut blue), drain(&mut all)),
            (vec![1, 3, 4], vec![2, 4, 5], vec![3, 4, 5, 6])
        );
        // Who has gone is forgotten at the next change, and the topic with the last.
        drop((red, all));
        hub.publish(vec![told(7, None, Some("red"))]);
        assert_eq!(hub.counts(), (1, 0));
        drop(blue);
        hub.publish(vec![told(8, None, Some("blue"))]);
        assert_eq!(hub.counts(), (0, 0));
        assert!(!hub.watchers.has_prefix_of("/a/".len()));
    }

    #[test]
    fn watchers_that_have_gone_are_forgotten() {
        let mut hub = hub();
        for number in 0..10 * SWEEP_EVERY {
            drop(hub.join(&format!("/quiet/{number}"), None, 0, Vec::new()));
        }
        assert!(hub.counts().0 <= 2 * SWEEP_EVERY, "{}", hub.counts().0);
        let kept = hub.join("/loud/", None, 0, Vec::new());
        drop(hub.join("/loud/", None, 0, Vec::new()));
        let before = hub.counts().0;
        hub.publish(vec![change("/loud/a", 1)]);
        assert_eq!(hub.counts().0, before - 1);
        drop(kept);
        hub.publish(vec![change("/loud/a", 2)]);
        assert_eq!(hub.counts().0, before - 2);
        assert!(!hub.watchers.has_prefix_of("/loud/".len()));
    }
}
