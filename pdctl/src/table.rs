//! Tables for people: columns by display width, never wrapped, never cut.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::text;

/// Blanks between two columns.
const GAP: usize = 3;

/// Rows under a header. Each row has as many cells as the header.
#[derive(Default)]
pub(crate) struct Table {
    header: Vec<String>,
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a header, printed in capitals.
    pub(crate) fn new<S: AsRef<str>>(header: impl IntoIterator<Item = S>) -> Self {
        let header: Vec<String> = header.into_iter().map(|name| text::one_line(name.as_ref()).to_uppercase()).collect();
        let widths = header.iter().map(|name| name.width()).collect();
        Self { header, widths, rows: Vec::new() }
    }

    /// Adds a row; control characters in its cells are dropped.
    pub(crate) fn push<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let row: Vec<String> = cells.into_iter().map(|cell| text::one_line(cell.as_ref()).into_owned()).collect();
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.width());
        }
        self.rows.push(row);
    }

    /// The header's line.
    pub(crate) fn header_line(&self) -> String {
        self.line(&self.header)
    }

    /// Takes the rows out as lines, keeping the widths: later rows line up with those before.
    pub(crate) fn drain_lines(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        rows.iter().map(|row| self.line(row)).collect()
    }

    /// Header and rows.
    pub(crate) fn render(mut self) -> String {
        self.header_line() + &self.drain_lines()
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            let blanks = width + GAP - cell.width();
            let _ = write!(line, "{cell}{:blanks$}", "");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_display_width() {
        let mut table = Table::new(["name", "state"]);
        table.push(["短い", "Running"]);
        table.push(["mandelbrot", "Complete"]);
        assert_eq!(table.render(), "NAME         STATE\n短い         Running\nmandelbrot   Complete\n");
    }

    #[test]
    fn a_cell_cannot_forge_a_row() {
        let mut table = Table::new(["message"]);
        table.push(["one\ntwo\u{1b}[2J"]);
        assert_eq!(table.render(), "MESSAGE\none two[2J\n");
    }

    #[test]
    fn later_rows_keep_the_widths_of_earlier_ones() {
        let mut table = Table::new(["a", "b"]);
        table.push(["wide cell", "1"]);
        assert_eq!(table.drain_lines(), "wide cell   1\n");
        table.push(["x", "2"]);
        assert_eq!(table.drain_lines(), "x           2\n");
    }
}
