//! From executors' outcomes to batches: what ended, sorted by what happens with it next. Built in the slots'
//! own tasks, so that whoever gathers the batches does work per batch and none per index.

use executor_protocol::{Call, Checked, Ended, EndedRun, Outcome};
use schemas::assignment::{CallFailure, FailureOutcome};
use schemas::limits::{LOG_BYTES_MAX, MESSAGE_BYTES_MAX};
use schemas::segment::Entries;

/// Indexes that have ended, ascending within each list.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Outputs of those that succeeded.
    pub outputs: Entries,
    /// What those that succeeded logged.
    pub logs: Vec<(u64, String)>,
    /// Those that did not.
    pub failures: Vec<Failed>,
    /// Targets found.
    pub found: Vec<u64>,
    /// Bytes of outputs and logs.
    pub bytes: u64,
    /// The highest index in it.
    pub last: u64,
    /// Outputs of other nodes that the task was shown.
    pub checks: Checks,
}

/// What a task said of the outputs that it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    pub attested: u64,
    pub refused: u64,
    pub failed: u64,
}

/// One index that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub index: u64,
    pub outcome: FailureOutcome,
    pub message: String,
    pub log: String,
}

impl Batch {
    /// Indexes in it.
    pub(crate) fn ended(&self) -> u64 {
        self.outputs.count() + self.failures.len() as u64
    }

    /// Of a run that adds up and is not empty.
    pub(super) fn of(run: EndedRun) -> Self {
        let mut batch = Self { last: run.next() - 1, ..Self::default() };
        let EndedRun { first, lengths, outputs, notable, .. } = run;
        if notable.is_empty() {
            batch.bytes = outputs.len() as u64;
            batch.outputs = Entries::of_run(first, lengths, outputs);
            return batch;
        }
        let mut lengths = lengths.into_iter().flat_map(|(times, length)| (0..times).map(move |_| length as usize));
        let mut notable = notable.into_iter().peekable();
        let mut rest = outputs.as_slice();
        for index in first..=batch.last {
            if let Some(one) = notable.next_if(|one| one.index == index) {
                batch.add_notable(one);
            } else if let Some(length) = lengths.next() {
                let (output, after) = rest.split_at(length);
                batch.add_output(index, output);
                rest = after;
            }
        }
        batch
    }

    /// One index that failed without its executor saying so.
    pub(crate) fn failed(index: u64, outcome: FailureOutcome, message: String) -> Self {
        let failures = vec![Failed { index, outcome, message, log: String::new() }];
        Self { failures, last: index, ..Self::default() }
    }

    fn add_notable(&mut self, Ended { index, call, found, checked }: Ended) {
        self.found.extend(found);
        match checked {
            None => {}
            Some(Checked::Attested) => self.checks.attested += 1,
            Some(Checked::Refused) => self.checks.refused += 1,
            Some(Checked::Failed(why)) => {
                self.checks.failed += 1;
                let why = cut(why, MESSAGE_BYTES_MAX);
                tracing::warn!(index, why, "the task's `verify` failed; the index was computed");
            }
        }
        self.bytes += call.log.len() as u64;
        match split(call.outcome) {
            Ok(output) => {
                self.add_output(index, &output);
                if !call.log.is_empty() {
                    self.logs.push((index, call.log));
                }
            }
            Err((outcome, message)) => self.failures.push(Failed { index, outcome, message, log: call.log }),
        }
    }

    fn add_output(&mut self, index: u64, output: &[u8]) {
        self.bytes += output.len() as u64;
        self.outputs.push(index, output);
    }
}

/// How a plan or merge call failed, as a status says it; none when it succeeded.
pub(crate) fn call_failure<T>(call: Call<T>) -> Result<T, CallFailure> {
    let log = call.log;
    split(call.outcome).map_err(|(outcome, message)| CallFailure { outcome, message, log: cut(log, LOG_BYTES_MAX) })
}

fn split<T>(outcome: Outcome<T>) -> Result<T, (FailureOutcome, String)> {
    let (kind, message) = match outcome {
        Outcome::Success(answer) => return Ok(answer),
        Outcome::Retryable(text) => (FailureOutcome::TaskErrorRetryable, text),
        Outcome::Permanent(text) => (FailureOutcome::TaskErrorPermanent, text),
        Outcome::Trap(text) => (FailureOutcome::Trap, text),
        Outcome::OutOfMemory(text) => (FailureOutcome::OutOfMemory, text),
        Outcome::TimedOut(text) => (FailureOutcome::Timeout, text),
        Outcome::InvalidOutput(text) => (FailureOutcome::InvalidOutput, text),
    };
    Err((kind, cut(message, MESSAGE_BYTES_MAX)))
}

/// At most that many bytes of a text, at a character's boundary.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aé".to_owned(), 2), "a");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
    }

    #[test]
    fn outputs_stay_packed_and_everything_else_is_sorted() {
        let ended = |index, outcome, log: &str| {
            let call = Call { outcome, log: log.to_owned(), wall_ns: 1, memory_peak_bytes: 1, limits: vec![] };
            let checked = match index {
                4 => Some(Checked::Attested),
                5 => Some(Checked::Refused),
                6 => Some(Checked::Failed("why".into())),
                _ => None,
            };
            Ended { index, call, found: if index == 6 { vec![2] } else { vec![] }, checked }
        };
        let run = [
            ended(3, Outcome::Success(vec![1]), ""),
            ended(4, Outcome::Success(vec![]), "info: a"),
            ended(5, Outcome::Trap("boom".into()), "error: b"),
            ended(6, Outcome::Success(vec![7, 8]), ""),
        ];
        let batch = Batch::of(run.into_iter().collect());
        let outputs: [(u64, &[u8]); 3] = [(3, &[1]), (4, &[]), (6, &[7, 8])];
        assert_eq!(batch.outputs.iter().collect::<Vec<_>>(), outputs);
        assert_eq!((batch.ended(), batch.last, batch.bytes), (4, 6, 3 + 7 + 8));
        assert_eq!((batch.logs, batch.found), (vec![(4, "info: a".to_owned())], vec![2]));
        assert_eq!((batch.failures[0].outcome, batch.failures[0].log.as_str()), (FailureOutcome::Trap, "error: b"));
        assert_eq!(batch.checks, Checks { attested: 1, refused: 1, failed: 1 });
        let plain = Batch::of((7..10).map(|index| ended(index, Outcome::Success(vec![9]), "")).collect());
        assert_eq!(plain.outputs, Entries::of_run(7, vec![(3, 1)], vec![9; 3]));
        assert_eq!((plain.ended(), plain.last, plain.bytes), (3, 9, 3));
    }
}
