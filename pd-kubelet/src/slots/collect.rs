//! From executors' outcomes to batches: what ended, sorted by what happens with it next. Built in the slots'
//! own tasks, so that whoever gathers the batches does work per batch and none per index.

use std::ops::RangeInclusive;

use executor_protocol::{Call, Ended, Outcome};
use schemas::assignment::{CallFailure, FailureOutcome};
use schemas::limits::{LOG_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Indexes that have ended, ascending within each list.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Outputs of those that succeeded.
    pub outputs: Vec<(u64, Vec<u8>)>,
    /// What those that succeeded logged.
    pub logs: Vec<(u64, String)>,
    /// Those that did not.
    pub failures: Vec<Failed>,
    /// Targets found.
    pub found: Vec<u64>,
    /// The indexes of `outputs`, coalesced.
    pub succeeded: Vec<RangeInclusive<u64>>,
    /// Bytes of outputs and logs.
    pub bytes: u64,
    /// The highest index in it.
    pub last: u64,
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
        (self.outputs.len() + self.failures.len()) as u64
    }

    pub(super) fn of(ended: Vec<Ended>) -> Self {
        let mut batch = Self { outputs: Vec::with_capacity(ended.len()), ..Self::default() };
        for one in ended {
            batch.last = batch.last.max(one.index);
            batch.found.extend(one.found);
            match split(one.call.outcome) {
                Ok(output) => batch.success(one.index, output, one.call.log),
                Err((outcome, message)) => {
                    let log = one.call.log;
                    batch.bytes += log.len() as u64;
                    batch.failures.push(Failed { index: one.index, outcome, message, log });
                }
            }
        }
        batch
    }

    /// One index that failed without its executor saying so.
    pub(crate) fn failed(index: u64, outcome: FailureOutcome, message: String) -> Self {
        let failures = vec![Failed { index, outcome, message, log: String::new() }];
        Self { failures, last: index, ..Self::default() }
    }

    fn success(&mut self, index: u64, output: Vec<u8>, log: String) {
        self.bytes += (output.len() + log.len()) as u64;
        self.outputs.push((index, output));
        if !log.is_empty() {
            self.logs.push((index, log));
        }
        match self.succeeded.last_mut() {
            Some(range) if range.end() + 1 == index => *range = *range.start()..=index,
            _ => self.succeeded.push(index..=index),
        }
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
    fn successes_are_coalesced() {
        let ended = |index, outcome| Ended {
            index,
            call: Call { outcome, log: String::new(), wall_ns: 1, memory_peak_bytes: 1, limits: vec![] },
            found: vec![],
        };
        let batch = Batch::of(vec![
            ended(3, Outcome::Success(vec![1])),
            ended(4, Outcome::Success(vec![])),
            ended(5, Outcome::Trap("boom".into())),
            ended(6, Outcome::Success(vec![])),
        ]);
        assert_eq!(batch.succeeded, [3..=4, 6..=6]);
        assert_eq!((batch.ended(), batch.last, batch.bytes), (4, 6, 1));
        assert_eq!(batch.failures[0].outcome, FailureOutcome::Trap);
    }
}
