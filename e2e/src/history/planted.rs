//! That the judges can say no: histories of a server that is right pass, and the same histories with one bug planted do not.
//!
//! The histories are random: clients of a register whose calls overlap, some unanswered, and two watches of all of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Answer, Ask, Call, Kind, Moment, Seen, State, Watch, Wrong, check_calls, check_watches, states};

/// Between two moments at which calls take effect; calls last longer, so that they overlap.
const PACE: Moment = 4;

/// One call to come: its kind, its key, how long before and after its moment it lasts, and how lucky it is.
type Step = (u8, u8, Moment, Moment, u8);

/// Everything that was recorded.
#[derive(Clone, Debug)]
struct History {
    calls: Vec<Call>,
    watches: Vec<Watch>,
    end: BTreeMap<String, (u64, String)>,
}

impl History {
    fn judge(&self) -> Vec<Wrong> {
        let seen = self.watches.iter().flat_map(|watch| &watch.seen);
        let newest = seen.filter_map(revision).max().unwrap_or_default();
        let mut wrong = check_watches(&self.watches, newest);
        wrong.extend(check_calls(&self.calls, &states(&self.watches), &self.end));
        wrong
    }
}

fn revision(seen: &Seen) -> Option<u64> {
    match seen {
        Seen::Event { revision, .. } => Some(*revision),
        Seen::Bookmark(_) | Seen::Resumed(_) => None,
    }
}

/// A server that is right: one register a key, one counter of revisions.
#[derive(Default)]
struct Register {
    live: BTreeMap<String, (u64, String)>,
    revision: u64,
    events: Vec<Seen>,
}

impl Register {
    fn take(&mut self, key: &str, ask: &Ask) -> Answer {
        let live = self.live.get(key).cloned();
        let found = live.as_ref().map(|(revision, _)| *revision);
        let (kind, value) = match ask {
            Ask::Get => return Answer::Read(live),
            Ask::Create { value } if found.is_none() => (Kind::Added, value.clone()),
            Ask::Replace { value, expected } if found == Some(*expected) => (Kind::Modified, value.clone()),
            Ask::Delete { expected } if found == Some(*expected) => {
                (Kind::Deleted, live.map(|(_, value)| value).unwrap_or_default())
            }
            _ => return Answer::Refused,
        };
        self.revision += 1;
        if kind == Kind::Deleted {
            self.live.remove(key);
        } else {
            self.live.insert(key.to_owned(), (self.revision, value.clone()));
        }
        self.events.push(Seen::Event { kind, key: key.to_owned(), revision: self.revision, value });
        Answer::Written((kind != Kind::Deleted).then_some(self.revision))
    }
}

/// What the steps come to.
fn record(steps: &[Step]) -> History {
    let mut register = Register::default();
    let mut calls = Vec::new();
    for (number, (kind, key, before, after, luck)) in steps.iter().enumerate() {
        let key = format!("k{key}");
        let live = register.live.get(&key).map_or(0, |(revision, _)| *revision);
        // Some are late: what they expect is gone.
        let expected = if luck % 4 == 0 { live.saturating_sub(1) } else { live };
        let value = format!("v{number}");
        let ask = match kind {
            0 => Ask::Get,
            1 => Ask::Delete { expected },
            _ if live == 0 => Ask::Create { value },
            _ => Ask::Replace { value, expected },
        };
        let moment = 10 + PACE * number as Moment;
        let mut answer = register.take(&key, &ask);
        if *luck == 7 && !matches!(answer, Answer::Read(_)) {
            answer = Answer::Unknown;
        }
        calls.push(Call { key, ask, sent: moment - before, answered: moment + after, answer });
    }
    let whole = Watch { after: 0, seen: register.events.clone() };
    let mut resumed = whole.clone();
    if let Some(revision) = resumed.seen.first().and_then(revision) {
        resumed.seen.splice(1..1, [Seen::Bookmark(revision), Seen::Resumed(revision)]);
    }
    History { calls, watches: vec![whole, resumed], end: register.live }
}

/// A way to be wrong. Each answers whether there was anything in the history to do it to; `at` chooses where.
type Bug = fn(&mut History, usize) -> bool;

const BUGS: [(&str, Bug); 9] = [
    ("two events change places", |history, at| {
        let events = &mut history.watches[0].seen;
        let is_there = events.len() >= 2;
        if is_there {
            let at = at % (events.len() - 1);
            events.swap(at, at + 1);
        }
        is_there
    }),
    ("one watch misses an event", |history, at| {
        let events = &mut history.watches[0].seen;
        !events.is_empty() && revision(&events.remove(at % events.len())).is_some()
    }),
    ("an event comes twice", |history, at| {
        let events = &mut history.watches[0].seen;
        let event = events.get(at % events.len().max(1)).cloned();
        event.is_some_and(|event| {
            events.push(event);
            true
        })
    }),
    ("watches are told different values", |history, at| {
        let event = nth_event(&mut history.watches[0].seen, at);
        event.is_some_and(|event| {
            if let Seen::Event { value, .. } = event {
                value.push('x');
            }
            true
        })
    }),
    ("a bookmark promises too much", |history, at| {
        let events = &mut history.watches[0].seen;
        let last = events.last().and_then(revision);
        last.is_some_and(|last| {
            events.insert(at % events.len(), Seen::Bookmark(last));
            true
        })
    }),
    ("an acknowledged write is lost", |history, at| {
        let is_written = |call: &&Call| matches!(call.answer, Answer::Written(Some(_)));
        let written: Vec<u64> = history.calls.iter().filter(is_written).filter_map(written_at).collect();
        let Some(lost) = written.get(at % written.len().max(1)).copied() else { return false };
        for watch in &mut history.watches {
            watch.seen.retain(|seen| revision(seen) != Some(lost));
        }
        history.end.retain(|_, (revision, _)| *revision != lost);
        true
    }),
    ("a read shows a state that was replaced before it was asked for", |history, _| {
        let states = states(&history.watches);
        let calls = history.calls.clone();
        let stale = |call: &Call| {
            let replaced = |pair: &[State]| {
                let by = calls.iter().find(|by| written_at(by) == Some(pair[1].revision))?;
                let old = pair[0].value.clone().filter(|_| by.answered < call.sent)?;
                Some((pair[0].revision, old))
            };
            states.get(&call.key)?.windows(2).find_map(replaced)
        };
        let mut reads = history.calls.iter_mut().filter(|call| matches!(call.answer, Answer::Read(_)));
        let found = reads.find_map(|call| Some((stale(call)?, call)));
        found.is_some_and(|(old, call)| {
            call.answer = Answer::Read(Some(old));
            true
        })
    }),
    ("a read shows what nobody wrote", |history, at| {
        let mut reads: Vec<_> =
            history.calls.iter_mut().filter(|call| matches!(call.answer, Answer::Read(_))).collect();
        let count = reads.len().max(1);
        reads.get_mut(at % count).is_some_and(|call| {
            call.answer = Answer::Read(Some((1, "ghost".to_owned())));
            true
        })
    }),
    ("the list at the end lacks an object", |history, _| history.end.pop_first().is_some()),
];

fn nth_event(seen: &mut [Seen], at: usize) -> Option<&mut Seen> {
    let count = seen.len().max(1);
    seen.get_mut(at % count)
}

/// The revision that an acknowledged create or replace was answered.
fn written_at(call: &Call) -> Option<u64> {
    match call.answer {
        Answer::Written(revision) => revision,
        _ => None,
    }
}

proptest! {
    #[test]
    fn a_right_server_is_never_accused(steps in prop::collection::vec((0..6u8, 0..2u8, 0..8u64, 0..8u64, 0..8u8), 0..40)) {
        let history = record(&steps);
        prop_assert_eq!(history.judge(), Vec::new(), "{:#?}", history);
    }

    #[test]
    fn a_wrong_one_always_is(
        steps in prop::collection::vec((0..6u8, 0..2u8, 0..8u64, 0..8u64, 0..8u8), 0..40),
        at: prop::sample::Index,
    ) {
        let history = record(&steps);
        for (name, bug) in BUGS {
            let mut wrong = history.clone();
            if bug(&mut wrong, at.index(usize::MAX)) {
                prop_assert!(!wrong.judge().is_empty(), "not found: {}\n{:#?}", name, wrong);
            }
        }
    }
}

#[test]
fn every_bug_finds_a_place_in_an_ordinary_history() {
    let step = |number: u8| (number % 6, 0, 1, 1, 1);
    let history = record(&(0..24).map(step).collect::<Vec<_>>());
    for (name, bug) in BUGS {
        assert!(bug(&mut history.clone(), 3), "{name}");
    }
}
