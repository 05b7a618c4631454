//! Text that somebody else wrote (a task's log, an object's field), made safe for a terminal.

use std::borrow::Cow;

/// Without control characters but newline and tab: no escape sequence reaches the terminal.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| (c.is_control() && c != '\n' && c != '\t') || is_bidi_override(c);
    if text.contains(is_unsafe) { Cow::Owned(text.replace(is_unsafe, "")) } else { Cow::Borrowed(text) }
}

/// As `plain`, on one line: what a table cell or a message may hold.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    let plain = plain(text);
    if plain.contains(['\n', '\t']) {
        Cow::Owned(
            plain.split(['\n', '\t']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
        )
    } else {
        plain
    }
}

/// Characters that reorder what is displayed after them.
fn is_bidi_override(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1 subtask`, `2 subtasks`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\r\nnext\tcolumn\u{7}"), "[31mred[0m\nnext\tcolumn");
        assert_eq!(plain("a\u{202e}b\u{9b}c"), "abc");
        assert!(matches!(plain("untouched"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_cell_stays_on_one_line() {
        assert_eq!(one_line("panicked at\n  src/lib.rs:3\t"), "panicked at src/lib.rs:3");
    }
}
