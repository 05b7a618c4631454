//! Recorded histories of the API, and what must hold of them.
//!
//! In: what clients asked and were answered, when, and what watchers saw. Out: everything that is wrong with it. Pure:
//! it judges what was recorded and knows no server. The order of revisions is the witness: a history is right when
//! every call can be given a moment between its start and its end, in that order.

mod linear;
#[cfg(test)]
mod planted;
mod watches;

use std::{collections::BTreeMap, fmt};

pub use self::{linear::check_calls, watches::check_watches};

/// A moment, in microseconds from the beginning of the recording.
pub type Moment = u64;

/// What a client asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Its value.
    Get,
    /// To create it.
    Create {
        /// With a value that no other call writes.
        value: String,
    },
    /// To replace it as it was at a revision.
    Replace {
        /// By a value that no other call writes.
        value: String,
        /// Of the state that is replaced.
        expected: u64,
    },
    /// To delete it as it was at a revision.
    Delete {
        /// Of the state that is deleted.
        expected: u64,
    },
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A get: the value and its revision, or that there is none.
    Read(Option<(u64, String)>),
    /// A write is done; a delete does not say at which revision.
    Written(Option<u64>),
    /// Somebody else was first: it exists, is gone, or has another revision.
    Refused,
    /// None, or one that leaves open what happened.
    Unknown,
}

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of which key.
    pub key: String,
    /// What was asked.
    pub ask: Ask,
    /// When it was sent.
    pub sent: Moment,
    /// When the answer was there; of an unknown one, when the client gave up.
    pub answered: Moment,
    /// The answer.
    pub answer: Answer,
}

impl Call {
    /// The value that it writes.
    fn value(&self) -> Option<&str> {
        match &self.ask {
            Ask::Create { value } | Ask::Replace { value, .. } => Some(value),
            Ask::Get | Ask::Delete { .. } => None,
        }
    }

    /// The latest moment at which it may have taken effect.
    fn latest(&self) -> Moment {
        if self.answer == Answer::Unknown { Moment::MAX } else { self.answered }
    }
}

/// What a watcher was told of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Added,
    /// It is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// What a watcher saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A change.
    Event {
        /// Its kind.
        kind: Kind,
        /// Of which key.
        key: String,
        /// At which revision.
        revision: u64,
        /// The value then; of a deleted key, the last one.
        value: String,
    },
    /// Everything up to this revision has been seen.
    Bookmark(u64),
    /// The connection broke, and the watch went on after this revision.
    Resumed(u64),
}

/// Everything that one watcher saw, from the state of one revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// It was asked for what comes after this revision.
    pub after: u64,
    /// In the order of arrival.
    pub seen: Vec<Seen>,
}

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One state of a key: since which revision, and its value; none: it was deleted then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Of the change that made it.
    pub revision: u64,
    /// The value.
    pub value: Option<String>,
}

/// The states of every key in the order of revisions, as the watchers saw them together. All keys were absent before.
pub fn states(watches: &[Watch]) -> BTreeMap<String, Vec<State>> {
    let mut states: BTreeMap<String, BTreeMap<u64, State>> = BTreeMap::new();
    for seen in watches.iter().flat_map(|watch| &watch.seen) {
        if let Seen::Event { kind, key, revision, value } = seen {
            let value = (*kind != Kind::Deleted).then(|| value.clone());
            let state = State { revision: *revision, value };
            states.entry(key.clone()).or_default().insert(*revision, state);
        }
    }
    states.into_iter().map(|(key, states)| (key, states.into_values().collect())).collect()
}
