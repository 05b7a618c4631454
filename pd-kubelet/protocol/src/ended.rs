//! What has ended of a run, packed: an output that nothing is to be said of costs its bytes and no more.

use serde::{Deserialize, Serialize};

use crate::{Call, Outcome};

/// One index that has ended, and all that is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The index.
    pub index: u64,
    /// What came of it: its output.
    #[serde(with = "crate::bytes_call")]
    pub call: Call<Vec<u8>>,
    /// Targets it found.
    pub found: Vec<u64>,
    /// What the task's `verify` said of the delivered output; none where it was not called.
    pub checked: Option<Checked>,
}

/// What the task's `verify` said of the output that another node has delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checked {
    /// It attested it: the output is the delivered one, and `run` was not called.
    Attested,
    /// It did not, so `run` was called.
    Refused,
    /// It could not say, for this reason, so `run` was called.
    Failed(String),
}

impl Ended {
    /// True when its output is all there is to say: it logged nothing, found nothing, met no limit and was not checked.
    fn is_plain(&self) -> bool {
        let Call { outcome, log, limits, .. } = &self.call;
        let is_silent = log.is_empty() && limits.is_empty() && self.found.is_empty() && self.checked.is_none();
        matches!(outcome, Outcome::Success(_)) && is_silent
    }
}

/// Consecutive indexes of a run that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRun {
    /// The first of them.
    pub first: u64,
    /// How many they are.
    pub count: u64,
    /// Bytes of the outputs of those that are not `notable`, in order: how many in a row have how many bytes.
    pub lengths: Vec<(u64, u64)>,
    /// These outputs, back to back.
    #[serde(with = "serde_bytes")]
    pub outputs: Vec<u8>,
    /// Those of which there is more to say than their output, ascending.
    pub notable: Vec<Ended>,
    /// Wall time of all their calls together, in nanoseconds.
    pub wall_ns: u64,
    /// Most linear memory that any of them had, in bytes.
    pub memory_peak_bytes: u64,
}

/// A packed run contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it reported a run from index {first} that contradicts itself")]
pub struct InvalidRun {
    /// The run's first index.
    pub first: u64,
}

impl EndedRun {
    /// True when nothing has ended.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The index that would be the next.
    pub const fn next(&self) -> u64 {
        self.first + self.count
    }

    /// Adds the next index; into an empty run any.
    pub fn push(&mut self, ended: Ended) {
        debug_assert!(self.is_empty() || ended.index == self.next(), "indexes end in order");
        if self.is_empty() {
            self.first = ended.index;
        }
        self.count += 1;
        self.wall_ns = self.wall_ns.saturating_add(ended.call.wall_ns);
        self.memory_peak_bytes = self.memory_peak_bytes.max(ended.call.memory_peak_bytes);
        match &ended.call.outcome {
            Outcome::Success(output) if ended.is_plain() => {
                let bytes = output.len() as u64;
                match self.lengths.last_mut() {
                    Some((times, length)) if *length == bytes => *times += 1,
                    _ => self.lengths.push((1, bytes)),
                }
                self.outputs.extend_from_slice(output);
            }
            _ => self.notable.push(ended),
        }
    }

    /// Empties it and keeps its buffers.
    pub fn clear(&mut self) {
        let Self { lengths, outputs, notable, .. } = self;
        lengths.clear();
        outputs.clear();
        notable.clear();
        (self.first, self.count, self.wall_ns, self.memory_peak_bytes) = (0, 0, 0, 0);
    }

    /// Checks that counts, lengths and indexes fit together. What a run says comes from a process that ran a guest.
    pub fn check(&self) -> Result<(), InvalidRun> {
        let invalid = InvalidRun { first: self.first };
        let end = self.first.checked_add(self.count).ok_or(invalid)?;
        let (mut plain, mut bytes) = (0_u64, 0_u64);
        for (times, length) in &self.lengths {
            plain = plain.checked_add(*times).ok_or(invalid)?;
            bytes = times.checked_mul(*length).and_then(|more| bytes.checked_add(more)).ok_or(invalid)?;
        }
        let adds_up = plain.checked_add(self.notable.len() as u64) == Some(self.count);
        let ascends = self.notable.is_sorted_by(|a, b| a.index < b.index);
        let lies_inside = self.notable.iter().all(|one| (self.first..end).contains(&one.index));
        let is_valid = adds_up && ascends && lies_inside && bytes == self.outputs.len() as u64;
        if is_valid { Ok(()) } else { Err(invalid) }
    }

    /// Every index on its own. Of those that are not notable, wall time and memory are those of the whole run.
    pub fn unpack(self) -> Result<Vec<Ended>, InvalidRun> {
        self.check()?;
        let Self { first, count, lengths, outputs, notable, wall_ns, memory_peak_bytes } = self;
        let mut notable = notable.into_iter().peekable();
        let mut lengths = lengths.into_iter().flat_map(|(times, length)| (0..times).map(move |_| length as usize));
        let mut rest = outputs.as_slice();
        let unpacked = (first..first + count).map(|index| {
            notable.next_if(|one| one.index == index).unwrap_or_else(|| {
                let (output, after) = rest.split_at(lengths.next().unwrap_or_default());
                rest = after;
                let outcome = Outcome::Success(output.to_vec());
                let call = Call { outcome, log: String::new(), wall_ns, memory_peak_bytes, limits: Vec::new() };
                Ended { index, call, found: Vec::new(), checked: None }
            })
        });
        Ok(unpacked.collect())
    }
}

/// Packs indexes that follow one another.
impl FromIterator<Ended> for EndedRun {
    fn from_iter<I: IntoIterator<Item = Ended>>(ended: I) -> Self {
        let mut run = Self::default();
        ended.into_iter().for_each(|one| run.push(one));
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limit;

    fn ended(index: u64, outcome: Outcome<Vec<u8>>, log: &str) -> Ended {
        let limits = if log.is_empty() { vec![] } else { vec![Limit::Log] };
        let call = Call { outcome, log: log.to_owned(), wall_ns: 2, memory_peak_bytes: 1 + index, limits };
        Ended { index, call, found: vec![], checked: None }
    }

    fn sample() -> Vec<Ended> {
        vec![
            ended(5, Outcome::Success(vec![1, 2]), ""),
            ended(6, Outcome::Success(vec![3, 4]), ""),
            ended(7, Outcome::Trap("boom".into()), ""),
            ended(8, Outcome::Success(vec![]), "info: hello\n"),
            ended(9, Outcome::Success(vec![5]), ""),
        ]
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let run: EndedRun = sample().into_iter().collect();
        assert_eq!((run.first, run.count, run.next()), (5, 5, 10));
        assert_eq!((run.lengths.as_slice(), run.outputs.as_slice()), (&[(2, 2), (1, 1)][..], &[1, 2, 3, 4, 5][..]));
        assert_eq!((run.wall_ns, run.memory_peak_bytes), (10, 10));
        let outcomes = |all: &[Ended]| {
            all.iter().map(|one| (one.index, one.call.outcome.clone(), one.call.log.clone())).collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&run.unpack().expect("adds up")), outcomes(&sample()));
    }

    #[test]
    fn outputs_that_nothing_is_to_be_said_of_cost_their_bytes() {
        let run: EndedRun = (0..100_000).map(|index| ended(index, Outcome::Success(vec![]), "")).collect();
        assert!(crate::encode(&run).expect("encodes").len() < 40);
    }

    #[test]
    fn a_run_that_contradicts_itself_is_refused() {
        let run: EndedRun = sample().into_iter().collect();
        let wrong: [fn(&mut EndedRun); 7] = [
            |run| run.count += 1,
            |run| run.lengths[0].0 = u64::MAX,
            |run| run.lengths[1].1 = u64::MAX,
            |run| run.outputs.push(0),
            |run| run.notable[0].index = 10,
            |run| run.notable.swap(0, 1),
            |run| run.first = u64::MAX,
        ];
        for (case, change) in wrong.iter().enumerate() {
            let mut run = run.clone();
            change(&mut run);
            assert_eq!(run.check(), Err(InvalidRun { first: run.first }), "case {case}");
            assert!(run.unpack().is_err(), "case {case}");
        }
        assert_eq!(run.check(), Ok(()));
    }
}
