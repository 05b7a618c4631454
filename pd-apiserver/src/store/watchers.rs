//! Who watches what.
//!
//! In: prefixes of keys, topics, and changes. Out: each change to the queues of those who watch it. A topic is a word
//! that a change is about, so that a thousand watchers who each want a thousandth of a prefix cost a change nothing; what
//! the topic of a change is, is told by whoever knows what the bytes mean.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::mpsc;

use super::Change;

/// Answers the topic of an object, if its kind has any.
pub type TopicOf = fn(key: &str, value: &[u8]) -> Option<String>;

/// Where the changes of one watcher go.
pub(super) type Sender = mpsc::Sender<Arc<Change>>;

/// The watchers of one prefix.
#[derive(Default)]
struct Audience {
    /// Those who want all of it.
    all: Vec<Sender>,
    /// Those who want one topic.
    by_topic: HashMap<String, Vec<Sender>>,
}

impl Audience {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.by_topic.is_empty()
    }

    fn len(&self) -> usize {
        self.all.len() + self.by_topic.values().map(Vec::len).sum::<usize>()
    }

    fn lists(&mut self) -> impl Iterator<Item = &mut Vec<Sender>> {
        std::iter::once(&mut self.all).chain(self.by_topic.values_mut())
    }
}

/// A change and what it is about, which is found out when somebody asks, and once.
pub(super) struct News {
    pub(super) change: Arc<Change>,
    topics: OnceCell<Vec<String>>,
}

impl News {
    pub(super) const fn new(change: Arc<Change>) -> Self {
        Self { change, topics: OnceCell::new() }
    }

    /// The topic of the object before, and that of the object after if it is another one.
    fn topics(&self, of: TopicOf) -> &[String] {
        self.topics.get_or_init(|| {
            let states = [&self.change.previous, &self.change.value].into_iter().flatten();
            let mut topics: Vec<String> = states.filter_map(|value| of(&self.change.key, value)).collect();
            topics.dedup();
            topics
        })
    }

    /// Whether it is about `topic`; everything is about no topic.
    pub(super) fn is_about(&self, topic: Option<&str>, of: TopicOf) -> bool {
        topic.is_none_or(|topic| self.topics(of).iter().any(|found| found == topic))
    }
}

/// The watchers, found by the prefixes of a key: what nobody touches costs a write nothing.
#[derive(Default)]
pub(super) struct Watchers {
    by_prefix: HashMap<String, Audience>,
    /// How many prefixes have each length in bytes. There are few lengths, however many watchers.
    lengths: BTreeMap<usize, usize>,
    count: usize,
}

impl Watchers {
    pub(super) fn add(&mut self, prefix: &str, topic: Option<&str>, watcher: Sender) {
        let audience = self.by_prefix.entry(prefix.to_owned()).or_default();
        if audience.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        match topic {
            None => audience.all.push(watcher),
            Some(topic) => audience.by_topic.entry(topic.to_owned()).or_default().push(watcher),
        }
        self.count += 1;
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Hands a change to those who watch a prefix of its key. Answers how many were dropped for lagging.
    pub(super) fn send(&mut self, news: &News, of: TopicOf) -> u64 {
        let mut dropped = 0;
        let mut emptied = Vec::new();
        let change = &news.change;
        for length in self.lengths.keys() {
            // A length that cuts a character in two is of a prefix of some other key.
            let Some(prefix) = change.key.get(..*length) else { continue };
            let Some(audience) = self.by_prefix.get_mut(prefix) else { continue };
            let mut gone = offer(&mut audience.all, change, &mut dropped);
            if !audience.by_topic.is_empty() {
                for topic in news.topics(of) {
                    let Some(watchers) = audience.by_topic.get_mut(topic) else { continue };
                    gone += offer(watchers, change, &mut dropped);
                    if watchers.is_empty() {
                        audience.by_topic.remove(topic);
                    }
                }
            }
            self.count -= gone;
            if audience.is_empty() {
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

    /// Forgets those who have gone from where nothing happens.
    pub(super) fn sweep(&mut self) {
        for audience in self.by_prefix.values_mut() {
            audience.lists().for_each(|watchers| watchers.retain(|watcher| !watcher.is_closed()));
            audience.by_topic.retain(|_, watchers| !watchers.is_empty());
        }
        self.by_prefix.retain(|_, audience| !audience.is_empty());
        self.count = self.by_prefix.values().map(Audience::len).sum();
        self.lengths.clear();
        for prefix in self.by_prefix.keys() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn has_prefix_of(&self, length: usize) -> bool {
        self.lengths.contains_key(&length)
    }
}

/// Hands `change` to each; those who have gone or lag are let go. Answers how many those are.
fn offer(watchers: &mut Vec<Sender>, change: &Arc<Change>, dropped: &mut u64) -> usize {
    let before = watchers.len();
    watchers.retain(|watcher| match watcher.try_send(Arc::clone(change)) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Full(_)) => {
            *dropped += 1;
            false
        }
        Err(mpsc::error::TrySendError::Closed(_)) => false,
    });
    before - watchers.len()
}
