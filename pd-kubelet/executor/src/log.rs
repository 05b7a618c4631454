//! The log of one call: lines up to a limit, and the last error among them.
//!
//! In: lines from the guest. Out: one text. What does not fit is dropped and counted, never an error.

/// Kept of the last error: a panic's message with its place.
const LAST_ERROR_BYTES_MAX: usize = 4 << 10;
/// Room left for the line that says how many were dropped.
const NOTE_BYTES: usize = 96;

/// Lines that a guest has logged.
#[derive(Debug, Default)]
pub(crate) struct Log {
    text: String,
    limit: usize,
    dropped: u64,
    last_error: Option<String>,
}

impl Log {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), ..Self::default() }
    }

    /// Adds a line. Lines after its first are indented, so that a line that is not begins an entry.
    pub(crate) fn add(&mut self, level: &str, text: &str) {
        let text = text.trim_end();
        if level == "error" {
            self.last_error = Some(cut(text, LAST_ERROR_BYTES_MAX).to_owned());
        }
        let breaks = text.bytes().filter(|byte| *byte == b'\n').count();
        let length = level.len() + ": ".len() + text.len() + "  ".len() * breaks + "\n".len();
        if self.dropped > 0 || self.text.len() + length > self.limit.saturating_sub(NOTE_BYTES) {
            self.dropped += 1;
            return;
        }
        self.text.push_str(level);
        self.text.push_str(": ");
        if breaks == 0 {
            self.text.push_str(text);
        } else {
            self.text.push_str(&text.replace('\n', "\n  "));
        }
        self.text.push('\n');
    }

    /// True once a line was dropped.
    pub(crate) fn is_cut(&self) -> bool {
        self.dropped > 0
    }

    /// The last line logged as an error, kept even where the log is full.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The whole log, at most its limit.
    pub(crate) fn into_text(mut self) -> String {
        if self.dropped > 0 {
            let note = format!("({} lines dropped: the log is limited to {} bytes)\n", self.dropped, self.limit);
            if self.text.len() + note.len() <= self.limit {
                self.text.push_str(&note);
            }
        }
        self.text
    }
}

/// The start of a text, at most so many bytes, cut between two characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted() {
        let mut log = Log::new(200);
        for line in 0..100 {
            log.add("info", &format!("line {line}"));
        }
        log.add("error", "the last one");
        assert_eq!(log.last_error(), Some("the last one"));
        let text = log.into_text();
        assert!(text.len() <= 200, "{text}");
        assert!(text.starts_with("info: line 0\n") && text.contains(" lines dropped"), "{text}");
    }

    #[test]
    fn a_line_break_does_not_begin_an_entry() {
        let mut log = Log::new(1000);
        log.add("error", "panicked at a.rs:1\nboom\n");
        assert_eq!(log.into_text(), "error: panicked at a.rs:1\n  boom\n");
    }

    #[test]
    fn a_limit_of_nothing_keeps_nothing() {
        let mut log = Log::new(0);
        log.add("warn", "x");
        assert_eq!(log.into_text(), "");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("ab", 9), "ab");
    }
}
