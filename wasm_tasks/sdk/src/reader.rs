//! Reading inputs, state and parts in large pieces.
//!
//! In: what is read and where. Out: exactly the bytes asked for, or a failure that says what was cut short. It must not
//! know what the bytes mean.

use crate::{Failure, Host};

/// Bytes of one call to the host at most: large enough that its cost vanishes, small enough for any guest's memory.
const CALL_BYTES: u64 = 8 << 20;
/// Bytes fetched at a time when lines are streamed.
const LINES_CHUNK_BYTES: u64 = 1 << 20;
/// Longest line that [`Lines`] gives; a line lives in the guest's memory as a whole.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// An input, the layout's state or a part: bytes with a size, read at any offset.
#[derive(Clone)]
pub struct Reader<'h> {
    host: &'h dyn Host,
    source: Source,
    size: u64,
}

#[derive(Clone)]
enum Source {
    Input(String),
    State,
    Part(u64),
}

impl<'h> Reader<'h> {
    pub(crate) fn input(host: &'h dyn Host, name: &str, size: u64) -> Self {
        Self { host, source: Source::Input(name.to_owned()), size }
    }

    pub(crate) fn state(host: &'h dyn Host, size: u64) -> Self {
        Self { host, source: Source::State, size }
    }

    pub(crate) fn part(host: &'h dyn Host, index: u64, size: u64) -> Self {
        Self { host, source: Source::Part(index), size }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Exactly `length` bytes from `offset`; a failure if the source ends before.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = self.call(offset, length.min(CALL_BYTES));
        while (bytes.len() as u64) < length {
            let have = bytes.len() as u64;
            let more = self.call(offset + have, (length - have).min(CALL_BYTES));
            if more.is_empty() {
                return Err(self.cut_short(offset, length, have));
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// All of it. For what is known to be small.
    pub fn read_all(&self) -> Result<Vec<u8>, Failure> {
        self.read_at(0, self.size)
    }

    /// All of it, piece by piece.
    pub fn chunks(&self) -> Chunks<'h> {
        Chunks { reader: self.clone(), offset: 0 }
    }

    /// The lines from byte `offset` on.
    pub fn lines(&self, offset: u64) -> Lines<'h> {
        Lines { reader: self.clone(), fetched: offset.min(self.size), end: self.size, buffer: Vec::new(), start: 0 }
    }

    /// The lines of `start..end`, which should begin and end where lines do.
    pub fn lines_between(&self, start: u64, end: u64) -> Lines<'h> {
        let end = end.min(self.size);
        Lines { reader: self.clone(), fetched: start.min(end), end, buffer: Vec::new(), start: 0 }
    }

    fn call(&self, offset: u64, length: u64) -> Vec<u8> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        match &self.source {
            Source::Input(name) => self.host.read_input(name, offset, length),
            Source::State => self.host.read_state(offset, length),
            Source::Part(index) => self.host.read_part(*index, offset, length),
        }
    }

    fn cut_short(&self, offset: u64, length: u64, have: u64) -> Failure {
        let what = match &self.source {
            Source::Input(name) => format!("input `{name}`"),
            Source::State => "the plan's state".to_owned(),
            Source::Part(index) => format!("the output of index {index}"),
        };
        Failure::retryable(format!(
            "{what} gave {have} of {length} bytes from offset {offset} (its size is {})",
            self.size
        ))
    }
}

/// Consecutive pieces of a [`Reader`].
pub struct Chunks<'h> {
    reader: Reader<'h>,
    offset: u64,
}

impl Iterator for Chunks<'_> {
    type Item = Result<Vec<u8>, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = (self.reader.size - self.offset).min(LINES_CHUNK_BYTES);
        if length == 0 {
            return None;
        }
        let chunk = self.reader.read_at(self.offset, length);
        self.offset += length;
        Some(chunk)
    }
}

/// Lines of a [`Reader`]: any bytes but newline; the last one may lack its newline.
pub struct Lines<'h> {
    reader: Reader<'h>,
    /// Everything before this offset was fetched.
    fetched: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Where in `buffer` the next line starts.
    start: usize,
}

impl Lines<'_> {
    /// Offset in the source of the line that [`Lines::next_line`] gives next.
    pub fn offset(&self) -> u64 {
        self.fetched - (self.buffer.len() - self.start) as u64
    }

    /// The next line without its newline; none at the end.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start + searched..]) {
                let (from, to) = (self.start, self.start + searched + at);
                self.start = to + 1;
                return Ok(Some(&self.buffer[from..to]));
            }
            searched = self.buffer.len() - self.start;
            if self.fetched == self.end {
                let from = self.start;
                self.start = self.buffer.len();
                return Ok((searched > 0).then(|| &self.buffer[from..]));
            }
            if searched > MAX_LINE_BYTES {
                return Err(Failure::permanent(format!(
                    "the line at byte {} is longer than {MAX_LINE_BYTES} bytes",
                    self.offset()
                )));
            }
            self.fetch()?;
        }
    }

    fn fetch(&mut self) -> Result<(), Failure> {
        let length = (self.end - self.fetched).min(LINES_CHUNK_BYTES);
        let more = self.reader.read_at(self.fetched, length)?;
        self.fetched += length;
        if self.start == self.buffer.len() {
            self.buffer = more;
        } else {
            self.buffer.drain(..self.start);
            self.buffer.extend_from_slice(&more);
        }
        self.start = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::MemoryHost;
    use crate::{Failure, Host, MAX_LINE_BYTES};

    fn lines_of(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let host = MemoryHost::new([("text", bytes)]);
        let host: &dyn Host = &host;
        let mut lines = host.required_input("text").unwrap().lines(0);
        let mut all = Vec::new();
        loop {
            let offset = lines.offset();
            let Some(line) = lines.next_line().unwrap() else { return all };
            all.push((offset, line.to_vec()));
        }
    }

    #[test]
    fn the_last_newline_is_optional_and_empty_lines_are_lines() {
        assert_eq!(lines_of(b"a\n\nbc"), [(0, b"a".to_vec()), (2, b"".to_vec()), (3, b"bc".to_vec())]);
        assert_eq!(lines_of(b"a\n\nbc\n"), lines_of(b"a\n\nbc"));
        assert_eq!(lines_of(b"\n"), [(0, b"".to_vec())]);
        assert!(lines_of(b"").is_empty());
    }

    #[test]
    fn lines_may_cross_the_pieces_in_which_they_are_fetched() {
        let long = vec![b'x'; 700_000];
        let text = [&long[..], b"\n", &long, b"\n", &long, b"\nend"].concat();
        let lines = lines_of(&text);
        assert_eq!(lines.iter().map(|(_, line)| line.len()).collect::<Vec<_>>(), [700_000, 700_000, 700_000, 3]);
        assert_eq!(lines[3].0, 2_100_003);
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused() {
        let text = vec![b'x'; 3 * MAX_LINE_BYTES];
        let host = MemoryHost::new([("text", &text[..])]);
        let host: &dyn Host = &host;
        let failure = host.required_input("text").unwrap().lines(0).next_line().unwrap_err();
        assert_eq!(failure, Failure::permanent("the line at byte 0 is longer than 1048576 bytes"));
    }

    #[test]
    fn reading_beyond_the_end_says_what_was_cut_short() {
        let host = MemoryHost::new([("text", &b"abc"[..])]);
        let host: &dyn Host = &host;
        let failure = host.required_input("text").unwrap().read_at(1, 5).unwrap_err();
        assert!(failure.text().contains("input `text` gave 2 of 5 bytes from offset 1"), "{failure}");
        assert_eq!(
            host.required_input("nix").err().map(|failure| matches!(failure, Failure::Permanent(_))),
            Some(true)
        );
    }
}
