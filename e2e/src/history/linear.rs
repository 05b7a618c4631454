//! Every acknowledged write is there, and each key behaves like one register that is read and compared-and-set in one
//! place.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Ask, Call, Moment, State, Wrong};

/// Everything that is wrong with `calls`, given the `states` of every key and what a list showed at the end.
pub fn check_calls(
    calls: &[Call],
    states: &BTreeMap<String, Vec<State>>,
    at_the_end: &BTreeMap<String, (u64, String)>,
) -> Vec<Wrong> {
    let none = Vec::new();
    let keys: BTreeSet<&String> =
        calls.iter().map(|call| &call.key).chain(states.keys()).chain(at_the_end.keys()).collect();
    let mut wrong = Vec::new();
    for key in keys {
        let states = states.get(key).unwrap_or(&none);
        let of_key: Vec<&Call> = calls.iter().filter(|call| call.key == *key).collect();
        let mut register = Register { key, states, calls: of_key, wrong: &mut wrong };
        register.check_end(at_the_end.get(key));
        if let Some(writers) = register.writers() {
            register.check_acknowledged(&writers);
            register.check_expectations(&writers);
            register.check_moments(&writers);
            register.check_refusals(&writers);
        }
    }
    wrong
}

/// One key. A state's number is its place among the key's states; before the first one the key is absent.
struct Register<'a> {
    key: &'a str,
    states: &'a [State],
    calls: Vec<&'a Call>,
    wrong: &'a mut Vec<Wrong>,
}

impl<'a> Register<'a> {
    fn complain(&mut self, what: String) {
        self.wrong.push(Wrong(format!("{}: {what}", self.key)));
    }

    fn check_end(&mut self, found: Option<&(u64, String)>) {
        let last = self.states.last();
        let expected = last.and_then(|state| Some((state.revision, state.value.clone()?)));
        if found.cloned() != expected {
            self.complain(format!("the list at the end shows {found:?}, the changes lead to {expected:?}"));
        }
    }

    /// The call behind each state; `None`: one has none.
    fn writers(&mut self) -> Option<Vec<&'a Call>> {
        let mut taken = BTreeSet::new();
        let mut writers = Vec::new();
        for (number, state) in self.states.iter().enumerate() {
            let candidates =
                self.calls.iter().enumerate().filter(|(at, call)| !taken.contains(at) && self.made(call, number));
            // Of two deletes of the same state the acknowledged one did it.
            let found = candidates.map(|(at, call)| (at, *call)).min_by_key(|(_, call)| call.answer == Answer::Unknown);
            let Some((at, call)) = found else {
                self.complain(format!("nobody asked for the state of revision {}: {:?}", state.revision, state.value));
                return None;
            };
            taken.insert(at);
            writers.push(call);
        }
        Some(writers)
    }

    /// Whether a call made the state.
    fn made(&self, call: &Call, number: usize) -> bool {
        let state = &self.states[number];
        if matches!(call.answer, Answer::Refused | Answer::Read(_)) {
            return false;
        }
        match (&call.ask, &state.value) {
            (Ask::Delete { expected }, None) => self.revision_before(number) == Some(*expected),
            (_, Some(value)) => call.value() == Some(value),
            _ => false,
        }
    }

    /// Revision of the state before, if the key was there.
    fn revision_before(&self, number: usize) -> Option<u64> {
        let before = self.states[..number].last()?;
        before.value.as_ref().map(|_| before.revision)
    }

    /// An acknowledged write has made a state, at the revision that was answered.
    fn check_acknowledged(&mut self, writers: &[&Call]) {
        for call in self.calls.clone() {
            let Answer::Written(revision) = call.answer else { continue };
            let number = writers.iter().position(|writer| std::ptr::eq(*writer, call));
            match number.map(|number| self.states[number].revision) {
                None => self.complain(format!("an acknowledged write is lost: {call:?}")),
                Some(made) if revision.is_some_and(|revision| revision != made) => {
                    self.complain(format!("a write was answered another revision than {made}: {call:?}"));
                }
                Some(_) => {}
            }
        }
    }

    /// A create found nothing; a replace and a delete found the revision that they expected.
    fn check_expectations(&mut self, writers: &[&Call]) {
        for (number, call) in writers.iter().enumerate() {
            let expected = match call.ask {
                Ask::Create { .. } => None,
                Ask::Replace { expected, .. } | Ask::Delete { expected } => Some(expected),
                Ask::Get => continue,
            };
            let found = self.revision_before(number);
            if found != expected {
                self.complain(format!("a write over revision {found:?} was accepted: {call:?}"));
            }
        }
    }

    /// Gives each call the earliest moment that its place in the order allows; each must lie within its call.
    fn check_moments(&mut self, writers: &[&Call]) {
        let starts = self.earliest(writers);
        for (call, number) in self.reads() {
            let fits = match number {
                Some(number) => starts[number] <= call.answered,
                None => self.absent(writers, &starts).any(|(from, until)| from <= call.answered && call.sent <= until),
            };
            if !fits {
                self.complain(format!("a read of something that was not there yet or no more: {call:?}"));
            }
        }
        for (number, call) in writers.iter().enumerate() {
            if starts[number] > call.latest() {
                self.complain(format!(
                    "revision {} was answered before an earlier one was asked for or read: {call:?}",
                    self.states[number].revision
                ));
            }
        }
    }

    /// Reads with the number of the state that they saw; `None`: they saw that the key was absent.
    fn reads(&mut self) -> Vec<(&'a Call, Option<usize>)> {
        let mut reads = Vec::new();
        for call in self.calls.clone() {
            let Answer::Read(read) = &call.answer else { continue };
            let Some((revision, value)) = read else {
                reads.push((call, None));
                continue;
            };
            let same = |state: &State| state.revision == *revision && state.value.as_ref() == Some(value);
            match self.states.iter().position(same) {
                Some(number) => reads.push((call, Some(number))),
                None => self.complain(format!("a read of what nobody wrote: {call:?}")),
            }
        }
        reads
    }

    /// The earliest moment of each state: after it was asked for, after the state before, and after that was last
    /// asked for by somebody who still read it.
    fn earliest(&mut self, writers: &[&Call]) -> Vec<Moment> {
        let mut complaints = Vec::new();
        std::mem::swap(self.wrong, &mut complaints);
        let reads = self.reads();
        // What `reads` complained of is said once, by `check_moments`.
        std::mem::swap(self.wrong, &mut complaints);
        let mut moments = Vec::new();
        let mut now = 0;
        for (number, writer) in writers.iter().enumerate() {
            now = now.max(writer.sent);
            moments.push(now);
            let readers = reads.iter().filter(|(_, read)| *read == Some(number));
            now = readers.map(|(call, _)| call.sent).fold(now, Moment::max);
        }
        moments
    }

    /// The times during which the key may have been absent.
    fn absent(&self, writers: &[&Call], starts: &[Moment]) -> impl Iterator<Item = (Moment, Moment)> {
        let latest = |number: usize| writers.get(number).map_or(Moment::MAX, |writer| writer.latest());
        let first = (0, latest(0));
        let deleted = self.states.iter().enumerate().filter(|(_, state)| state.value.is_none());
        let gaps: Vec<_> = deleted.map(|(number, _)| (starts[number], latest(number + 1))).collect();
        std::iter::once(first).chain(gaps)
    }

    /// Nobody is refused while exactly what they expected was there for the whole time.
    fn check_refusals(&mut self, writers: &[&Call]) {
        let starts = self.earliest(writers);
        for call in self.calls.clone().into_iter().filter(|call| call.answer == Answer::Refused) {
            let there_throughout = |number: usize| {
                let until = starts.get(number + 1).copied().unwrap_or(Moment::MAX);
                writers[number].latest() < call.sent && call.answered < until
            };
            let expected = match call.ask {
                Ask::Create { .. } => {
                    let never = self.states.is_empty() || call.answered < starts[0];
                    let gone = (0..self.states.len()).any(|n| self.states[n].value.is_none() && there_throughout(n));
                    never || gone
                }
                Ask::Replace { expected, .. } | Ask::Delete { expected } => {
                    (0..self.states.len()).any(|n| self.states[n].revision == expected && there_throughout(n))
                }
                Ask::Get => true,
            };
            if expected {
                self.complain(format!("a write was refused without a reason: {call:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ask: Ask, (sent, answered): (Moment, Moment), answer: Answer) -> Call {
        Call { key: "k".to_owned(), ask, sent, answered, answer }
    }

    fn create(value: &str, times: (Moment, Moment), revision: u64) -> Call {
        call(Ask::Create { value: value.to_owned() }, times, Answer::Written(Some(revision)))
    }

    fn replace(value: &str, expected: u64, times: (Moment, Moment), answer: Answer) -> Call {
        call(Ask::Replace { value: value.to_owned(), expected }, times, answer)
    }

    fn get(times: (Moment, Moment), read: Option<(u64, &str)>) -> Call {
        call(Ask::Get, times, Answer::Read(read.map(|(revision, value)| (revision, value.to_owned()))))
    }

    fn delete(expected: u64, times: (Moment, Moment)) -> Call {
        call(Ask::Delete { expected }, times, Answer::Written(None))
    }

    /// Complaints about calls, with states given as (revision, value).
    fn check(calls: &[Call], states: &[(u64, Option<&str>)]) -> Vec<String> {
        let states: Vec<State> = states
            .iter()
            .map(|(revision, value)| State { revision: *revision, value: value.map(str::to_owned) })
            .collect();
        let last = states.last().and_then(|state| Some((state.revision, state.value.clone()?)));
        let end = last.map(|last| ("k".to_owned(), last)).into_iter().collect();
        let states = BTreeMap::from([("k".to_owned(), states)]);
        check_calls(calls, &states, &end).into_iter().map(|wrong| wrong.0).collect()
    }

    fn assert_wrong(calls: &[Call], states: &[(u64, Option<&str>)], what: &str) {
        let found = check(calls, states);
        assert!(found.iter().any(|wrong| wrong.contains(what)), "{what} is not among {found:?}");
    }

    const STATES: &[(u64, Option<&str>)] = &[(5, Some("a")), (6, Some("b")), (9, None)];

    fn good() -> Vec<Call> {
        vec![
            get((0, 1), None),
            create("a", (2, 4), 5),
            get((3, 5), Some((5, "a"))),
            replace("b", 5, (5, 8), Answer::Written(Some(6))),
            get((6, 7), Some((5, "a"))),
            get((6, 9), Some((6, "b"))),
            replace("c", 5, (9, 10), Answer::Refused),
            delete(6, (11, 13)),
            get((12, 14), None),
        ]
    }

    #[test]
    fn a_good_history_passes() {
        assert_eq!(check(&good(), STATES), Vec::<String>::new());
    }

    #[test]
    fn an_unanswered_write_may_have_happened_or_not_and_late() {
        let mut calls = good();
        calls.push(replace("lost", 6, (7, 8), Answer::Unknown));
        assert_eq!(check(&calls, STATES), Vec::<String>::new());
        let calls =
            vec![create("a", (0, 1), 5), replace("late", 5, (2, 3), Answer::Unknown), get((8, 9), Some((5, "a")))];
        assert_eq!(check(&calls, &[(5, Some("a")), (6, Some("late"))]), Vec::<String>::new());
    }

    #[test]
    fn of_two_deletes_the_acknowledged_one_did_it() {
        let unknown = call(Ask::Delete { expected: 5 }, (2, 3), Answer::Unknown);
        assert_eq!(
            check(&[create("a", (0, 1), 5), unknown, delete(5, (2, 4))], &[(5, Some("a")), (6, None)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_lost_write_is_found() {
        assert_wrong(
            &[create("a", (0, 1), 5), replace("b", 5, (2, 3), Answer::Written(Some(6)))],
            &[(5, Some("a"))],
            "lost",
        );
        assert_wrong(&[create("a", (0, 1), 5), delete(5, (2, 3))], &[(5, Some("a"))], "lost");
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut calls = good();
        calls.push(get((9, 10), Some((5, "a"))));
        assert_wrong(&calls, STATES, "was answered before an earlier one was asked for or read");
        let mut calls = good();
        calls.push(get((14, 15), Some((6, "b"))));
        assert_wrong(&calls, STATES, "was answered before an earlier one was asked for or read");
    }

    #[test]
    fn a_read_from_the_future_is_found() {
        let mut calls = good();
        calls.push(get((0, 1), Some((5, "a"))));
        assert_wrong(&calls, STATES, "not there yet");
    }

    #[test]
    fn absence_is_read_only_while_it_may_be() {
        let mut calls = good();
        calls.push(get((5, 6), None));
        assert_wrong(&calls, STATES, "not there yet or no more");
        let mut calls = good();
        calls.push(get((11, 12), None));
        assert_eq!(check(&calls, STATES), Vec::<String>::new());
    }

    #[test]
    fn reads_that_go_back_are_found() {
        // The write of b is unanswered, so each of the two alone would be right.
        let calls = [
            create("a", (0, 1), 5),
            replace("b", 5, (2, 3), Answer::Unknown),
            get((4, 5), Some((6, "b"))),
            get((6, 7), Some((5, "a"))),
        ];
        let found = check(&calls, &[(5, Some("a")), (6, Some("b"))]);
        assert!(!found.is_empty(), "b was read, then a");
    }

    #[test]
    fn two_writers_of_one_expectation_are_found() {
        let calls = [
            create("a", (0, 1), 5),
            replace("b", 5, (2, 5), Answer::Written(Some(6))),
            replace("c", 5, (2, 5), Answer::Written(Some(7))),
        ];
        assert_wrong(&calls, &[(5, Some("a")), (6, Some("b")), (7, Some("c"))], "was accepted");
        let calls = [create("a", (0, 1), 5), create("b", (2, 3), 6)];
        assert_wrong(&calls, &[(5, Some("a")), (6, Some("b"))], "was accepted");
    }

    #[test]
    fn a_write_that_nobody_made_and_a_wrong_revision_are_found() {
        assert_wrong(&[create("a", (0, 1), 5)], &[(5, Some("a")), (6, Some("ghost"))], "nobody asked");
        assert_wrong(&[create("a", (0, 1), 4)], &[(5, Some("a"))], "another revision");
        assert_wrong(&[create("a", (0, 1), 5), get((2, 3), Some((5, "x")))], &[(5, Some("a"))], "what nobody wrote");
    }

    #[test]
    fn a_refusal_without_a_reason_is_found() {
        let calls = [create("a", (0, 1), 5), replace("b", 5, (2, 3), Answer::Refused)];
        assert_wrong(&calls, &[(5, Some("a"))], "without a reason");
        let create_refused = call(Ask::Create { value: "z".to_owned() }, (0, 1), Answer::Refused);
        assert_wrong(&[create_refused, create("a", (2, 3), 5)], &[(5, Some("a"))], "without a reason");
    }

    #[test]
    fn an_end_that_the_changes_do_not_lead_to_is_found() {
        let states = BTreeMap::from([("k".to_owned(), vec![State { revision: 5, value: Some("a".to_owned()) }])]);
        let found = check_calls(&[create("a", (0, 1), 5)], &states, &BTreeMap::new());
        assert!(found[0].0.contains("the list at the end"), "{found:?}");
    }
}
