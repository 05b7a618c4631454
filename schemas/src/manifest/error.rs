//! What is wrong with a manifest, in the form in which a person can be shown it.

use std::{fmt, ops::Range};

/// One thing that is wrong with a manifest. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, when the error has a place.
    pub line: Option<usize>,
    /// The column.
    pub column: Option<usize>,
    /// Byte offsets into the text: what to underline.
    pub span: Option<Range<usize>>,
    /// The field it is about: `spec.task.name`.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for ManifestError {}

impl ManifestError {
    /// About the file as a whole.
    pub(super) fn whole_file(file: &str, message: String) -> Self {
        Self { file: file.to_owned(), line: None, column: None, span: None, field: None, message, help: None }
    }

    /// With what would be right.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// True for the one error that a more lenient parser would not notice.
    pub(super) fn is_duplicate(&self) -> bool {
        self.message.starts_with(DUPLICATE_KEY)
    }
}

/// How the message about a duplicate key begins.
pub(super) const DUPLICATE_KEY: &str = "duplicate key";

/// A parser's message without the place at its end: we show the place ourselves.
pub(super) fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}
