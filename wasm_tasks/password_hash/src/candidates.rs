//! Where the candidates of a batch are.
//!
//! In: the input, scanned once by `plan`. Out: a table of byte offsets in the layout's state, and from it a batch's lines
//! without reading what is before them. It must not know what the lines are for.
//!
//! A batch may be as small as one line, so the table has an entry for every few batches only, at least 1,024 lines apart:
//! 8 bytes per 1,024 candidates, 800 KB for 10⁸. `run` skips the lines in between.

use task_sdk::kernels::Messages;
use task_sdk::{Failure, MAX_LINE_BYTES, Reader};

/// Lines that one entry of the table stands for, at least.
const ENTRY_LINES: u64 = 1024;
/// Bytes in which newlines are counted at a time. Counting goes by vectors; only where an entry begins each one is looked for.
const SCANNED_BYTES: usize = 4096;
/// Bytes before the table: lines, lines of a batch, batches of an entry, entries.
const HEAD_BYTES: u64 = 32;

/// The batches of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    lines: u64,
    batch_lines: u64,
    entry_batches: u64,
    /// Offsets of every `entry_batches`-th batch, and the end.
    offsets: Vec<u64>,
}

impl Plan {
    pub(crate) fn scan(candidates: &Reader<'_>, batch_lines: u64) -> Result<Self, Failure> {
        let entry_batches = ENTRY_LINES.div_ceil(batch_lines);
        let mut scan = Scan::new(entry_batches * batch_lines);
        for chunk in candidates.chunks() {
            chunk?.chunks(SCANNED_BYTES).try_for_each(|bytes| scan.pass(bytes))?;
        }
        let (lines, offsets) = scan.finish();
        if lines == 0 {
            return Err(Failure::permanent("input `candidates` is empty; it needs a candidate a line"));
        }
        Ok(Self { lines, batch_lines, entry_batches, offsets })
    }

    pub(crate) fn batches(&self) -> u64 {
        self.lines.div_ceil(self.batch_lines)
    }

    pub(crate) fn to_state(&self) -> Vec<u8> {
        let head = [self.lines, self.batch_lines, self.entry_batches, self.offsets.len() as u64];
        head.iter().chain(&self.offsets).flat_map(|number| number.to_le_bytes()).collect()
    }
}

/// What is known of a text as far as it has been read: lines are counted, and only those that begin an entry are looked for.
struct Scan {
    entry_lines: u64,
    newlines: u64,
    bytes: u64,
    /// Bytes of the line that has begun.
    begun: usize,
    /// Where the entries begin.
    offsets: Vec<u64>,
}

impl Scan {
    fn new(entry_lines: u64) -> Self {
        Self { entry_lines, newlines: 0, bytes: 0, begun: 0, offsets: vec![0] }
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let first = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
        if self.begun + first > MAX_LINE_BYTES {
            let at = self.bytes - self.begun as u64;
            return Err(Failure::permanent(format!("the line at byte {at} is longer than {MAX_LINE_BYTES} bytes")));
        }
        let count = memchr::memchr_iter(b'\n', bytes).count() as u64;
        let missing = self.entry_lines - self.newlines % self.entry_lines;
        if missing <= count {
            let ends = memchr::memchr_iter(b'\n', bytes).skip(missing as usize - 1).step_by(self.entry_lines as usize);
            self.offsets.extend(ends.map(|end| self.bytes + end as u64 + 1));
        }
        self.begun = memchr::memrchr(b'\n', bytes).map_or(self.begun + bytes.len(), |last| bytes.len() - 1 - last);
        self.newlines += count;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// How many lines there are, where every entry begins, and the end.
    fn finish(mut self) -> (u64, Vec<u64>) {
        self.offsets.retain(|offset| *offset < self.bytes);
        self.offsets.push(self.bytes);
        (self.newlines + u64::from(self.begun > 0), self.offsets)
    }
}

/// Offset in the layout's state of what follows the table.
pub(crate) fn state_end(state: &Reader<'_>) -> Result<u64, Failure> {
    let [.., entries] = numbers::<4>(state, 0)?;
    Ok(HEAD_BYTES + 8 * entries)
}

/// The candidates of one subtask.
pub(crate) struct Batch {
    /// Number of its first candidate in the input.
    pub(crate) first: u64,
    /// Its lines as they stand in the input.
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`, its newline not included.
    ends: Vec<u32>,
}

impl Batch {
    pub(crate) fn read(index: u64, state: &Reader<'_>, candidates: &Reader<'_>) -> Result<Self, Failure> {
        let [lines, batch_lines, entry_batches, _] = numbers::<4>(state, 0)?;
        let first = index.saturating_mul(batch_lines);
        if first >= lines {
            return Err(Failure::permanent(format!("index {index} is beyond the {lines} candidates of this job")));
        }
        let [start, end] = numbers::<2>(state, HEAD_BYTES + 8 * (index / entry_batches))?;
        let wanted = batch_lines.min(lines - first);
        let mut batch = Self { first, bytes: Vec::new(), ends: Vec::new() };
        if entry_batches == 1 {
            batch.bytes = candidates.read_at(start, end.saturating_sub(start))?;
            batch.ends = memchr::memchr_iter(b'\n', &batch.bytes).map(|at| at as u32).collect();
            if batch.bytes.last().is_some_and(|last| *last != b'\n') {
                batch.ends.push(batch.bytes.len() as u32);
            }
        } else {
            let mut source = candidates.lines_between(start, end);
            let mut skipped = 0;
            while skipped < index % entry_batches * batch_lines && source.next_line()?.is_some() {
                skipped += 1;
            }
            while (batch.ends.len() as u64) < wanted
                && let Some(line) = source.next_line()?
            {
                batch.bytes.extend_from_slice(line);
                batch.ends.push(batch.bytes.len() as u32);
                batch.bytes.push(b'\n');
            }
        }
        if batch.ends.len() as u64 != wanted {
            return Err(Failure::permanent("input `candidates` has other lines than when the job was planned"));
        }
        Ok(batch)
    }

    /// The candidates where they stand.
    pub(crate) fn messages(&self) -> Messages<'_> {
        Messages { bytes: &self.bytes, ends: &self.ends, gap: 1 }
    }

    pub(crate) fn candidates(&self) -> Vec<&[u8]> {
        self.messages().iter().collect()
    }
}

fn numbers<const N: usize>(state: &Reader<'_>, offset: u64) -> Result<[u64; N], Failure> {
    let bytes = state.read_at(offset, 8 * N as u64)?;
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use task_sdk::testing::MemoryHost;
    use task_sdk::{Host, MAX_LINE_BYTES};

    use super::{Batch, Plan};

    #[test]
    fn a_line_may_be_as_long_as_a_line_can_be() {
        let line = |bytes| [b"a\n", &vec![b'x'; bytes][..], b"\nb\n"].concat();
        let scan = |text: &[u8]| {
            let host = MemoryHost::new([("candidates", text)]);
            Plan::scan(&(&host as &dyn Host).required_input("candidates").unwrap(), 2000)
        };
        assert_eq!(scan(&line(MAX_LINE_BYTES)).map(|plan| plan.lines), Ok(3));
        let refused = scan(&line(MAX_LINE_BYTES + 1)).unwrap_err();
        assert_eq!(refused.text(), "the line at byte 2 is longer than 1048576 bytes");
        assert_eq!(scan(b"").unwrap_err().text(), "input `candidates` is empty; it needs a candidate a line");
    }

    #[test]
    fn batches_of_any_size_are_the_lines_in_order() {
        let lines: Vec<Vec<u8>> =
            (0..5000_usize).map(|number| vec![b'a' + (number % 26) as u8; number * 7 % 19]).collect();
        for ending in ["", "\n"] {
            let text = [lines.join(&b"\n"[..]), ending.as_bytes().to_vec()].concat();
            for batch_lines in [1, 3, 4, 1023, 1024, 1025, 5000, 9999] {
                let host = MemoryHost::new([("candidates", &text[..])]);
                let plan =
                    Plan::scan(&(&host as &dyn Host).required_input("candidates").unwrap(), batch_lines).unwrap();
                host.set_state(plan.to_state());
                let host: &dyn Host = &host;
                let mut seen = Vec::new();
                for index in 0..plan.batches() {
                    let batch = Batch::read(index, &host.state(), &host.input("candidates").unwrap()).unwrap();
                    assert_eq!(batch.first, seen.len() as u64);
                    seen.extend(batch.candidates().into_iter().map(<[u8]>::to_vec));
                }
                // The last line is empty: it is a line only if a newline ends it.
                let expected = if lines.last().is_some_and(Vec::is_empty) && ending.is_empty() { 4999 } else { 5000 };
                assert!(seen == lines[..expected], "batches of {batch_lines}");
                assert!(Batch::read(plan.batches(), &host.state(), &host.input("candidates").unwrap()).is_err());
            }
        }
    }
}
