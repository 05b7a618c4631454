//! A block of lines that is painted over in place: live tables on a terminal. Never taller or wider than the
//! terminal, since a line that wraps could not be painted over.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use crate::{errors::Result, output};

/// Where nothing says how large the terminal is.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// What is on the terminal now.
#[derive(Default)]
pub(crate) struct Screen {
    lines: usize,
}

impl Screen {
    /// Paints a block over the one before.
    pub(crate) fn paint(&mut self, block: &str) -> Result<()> {
        let (width, height) = size();
        let (text, lines) = frame(block, self.lines, width, height);
        self.lines = lines;
        output::print(&text)
    }
}

fn size() -> (usize, usize) {
    terminal_size::terminal_size()
        .map_or(DEFAULT_SIZE, |(width, height)| (usize::from(width.0).max(1), usize::from(height.0).max(2)))
}

/// The text that replaces `before` lines by a block, and how many lines it has.
fn frame(block: &str, before: usize, width: usize, height: usize) -> (String, usize) {
    let all: Vec<&str> = block.lines().collect();
    // The cursor stands on the line below the block: that one is not ours.
    let room = height - 1;
    let hidden = if all.len() > room { all.len() - (room - 1) } else { 0 };
    let mut text = String::new();
    if before > 0 {
        // Up to the block's first line, then everything below is cleared.
        let _ = write!(text, "\u{1b}[{before}F\u{1b}[J");
    }
    let shown = all.len() - hidden;
    for line in &all[..shown] {
        text.push_str(cut(line, width));
        text.push('\n');
    }
    if hidden > 0 {
        let _ = writeln!(text, "{}", cut(&format!("… {hidden} more"), width));
    }
    (text, shown + usize::from(hidden > 0))
}

/// As much of a line as fits.
fn cut(line: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in line.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            return &line[..at];
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_replaces_the_one_before() {
        assert_eq!(frame("a\nb\n", 0, 80, 24), ("a\nb\n".to_owned(), 2));
        assert_eq!(frame("c\n", 2, 80, 24), ("\u{1b}[2F\u{1b}[Jc\n".to_owned(), 1));
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(frame("abcdef\n", 0, 4, 24).0, "abcd\n");
        assert_eq!(cut("短い名前", 5), "短い");
        let (text, lines) = frame("1\n2\n3\n4\n5\n", 0, 80, 4);
        assert_eq!((text.as_str(), lines), ("1\n2\n… 3 more\n", 3));
    }
}
