//! The shape of a YAML text with the place of every key and value, and the refusal of what is not plain data.
//!
//! One pass over the parser's events with a stack of our own, so that depth costs no recursion.

use std::{collections::HashSet, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, Span as RawSpan, Tag};

use super::error::{DUPLICATE_KEY, ManifestError};

/// Deepest nesting of a manifest; our deepest kind has eight levels, and params may add theirs.
const DEPTH_MAX: usize = 64;

/// A file's text, and how the parser's positions map to it.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    /// Byte offset of each character; empty when the text is ASCII and both are the same.
    offsets: Vec<usize>,
}

/// A value and where it stands, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) content: Content,
}

/// What a value is made of.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing, or `null`; its span may be that of what stands around it.
    Null,
    Scalar,
    List(Vec<Node>),
    Mapping(Vec<Field>),
}

/// One field of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// The key's place; its content is a scalar.
    pub(super) key: Node,
    pub(super) value: Node,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let offsets =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(offset, _)| offset).collect() };
        Self { file, text, offsets }
    }

    /// Byte offset of the character at `index`.
    fn byte(&self, index: usize) -> usize {
        if self.offsets.is_empty() {
            return index.min(self.text.len());
        }
        self.offsets.get(index).copied().unwrap_or(self.text.len())
    }

    fn node(&self, span: RawSpan, content: Content) -> Node {
        let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        Node { span: start..end.max(start), line: span.start.line(), column: span.start.col() + 1, content }
    }

    /// An error about the text between two positions of the parser.
    fn error(&self, span: RawSpan, message: impl Into<String>) -> ManifestError {
        let node = self.node(span, Content::Scalar);
        ManifestError {
            line: Some(node.line),
            column: Some(node.column),
            span: Some(node.span),
            ..ManifestError::whole_file(self.file, message.into())
        }
    }

    /// An error about one byte of the text; without one, about the whole.
    pub(super) fn error_at(&self, byte: Option<usize>, message: String) -> ManifestError {
        let error = ManifestError::whole_file(self.file, message);
        let Some(before) = byte.and_then(|byte| self.text.get(..byte.min(self.text.len()))) else { return error };
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ManifestError {
            line: Some(before.matches('\n').count() + 1),
            column: Some(before[line_start..].chars().count() + 1),
            span: Some(before.len()..(before.len() + 1).min(self.text.len())),
            ..error
        }
    }
}

impl Node {
    /// True for an empty document, or one that says `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The field `name` of a mapping.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        match &self.content {
            Content::Mapping(fields) => fields.iter().find(|field| field.name == name),
            _ => None,
        }
    }

    /// The value of the field `name`.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.field(name).map(|field| &field.value)
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.content {
            Content::List(elements) => elements,
            _ => &[],
        }
    }
}

/// The documents of a text, empty ones included.
pub(super) fn read(source: &Source<'_>) -> Result<Vec<Node>, ManifestError> {
    let mut builder = Builder { source, open: Vec::new(), documents: Vec::new() };
    for event in Parser::new_from_str(source.text) {
        let (event, span) = event.map_err(|error| {
            let at = RawSpan::empty(*error.marker());
            source.error(at, format!("malformed YAML: {}", error.info()))
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// A collection that is not complete yet.
struct Open {
    node: Node,
    names: HashSet<String>,
    /// A mapping's key whose value is to come.
    key: Option<(String, Node)>,
}

struct Builder<'a> {
    source: &'a Source<'a>,
    open: Vec<Open>,
    documents: Vec<Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: RawSpan) -> Result<(), ManifestError> {
        match event {
            Event::Alias(_) => Err(self.no_alias(span)),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_properties(anchor, tag.as_deref(), span)?;
                self.check_number(&text, style, span)?;
                let is_plain = style == ScalarStyle::Plain;
                let is_null = is_plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let node = self.source.node(span, if is_null { Content::Null } else { Content::Scalar });
                let is_merge = is_plain && text == "<<";
                self.complete(node, Some(text.as_ref()), is_merge)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_properties(anchor, tag.as_deref(), span)?;
                self.open(span, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_properties(anchor, tag.as_deref(), span)?;
                self.open(span, Content::Mapping(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(mut closed) => {
                    closed.node.span.end = self.source.byte(span.start.index()).max(closed.node.span.start);
                    self.complete(closed.node, None, false)
                }
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn open(&mut self, span: RawSpan, content: Content) -> Result<(), ManifestError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.source.error(span, format!("nested more than {DEPTH_MAX} levels deep")));
        }
        let node = self.source.node(span, content);
        self.open.push(Open { node, names: HashSet::new(), key: None });
        Ok(())
    }

    /// Puts a complete value where it belongs. `text` is that of a scalar.
    fn complete(&mut self, node: Node, text: Option<&str>, is_merge: bool) -> Result<(), ManifestError> {
        let source = self.source;
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut parent.node.content, parent.key.take()) {
            (Content::List(elements), _) => elements.push(node),
            (Content::Mapping(fields), Some((name, key))) => fields.push(Field { name, key, value: node }),
            (Content::Mapping(fields), None) => {
                let wrong = |message: &str| {
                    Err(ManifestError {
                        line: Some(node.line),
                        column: Some(node.column),
                        span: Some(node.span.clone()),
                        ..ManifestError::whole_file(source.file, message.to_owned())
                    })
                };
                let Some(name) = text else { return wrong("a key must be plain text, not a list or a mapping") };
                if is_merge {
                    return wrong("merge keys (`<<`) are not supported: write the fields out");
                }
                if !parent.names.insert(name.to_owned()) {
                    let first = fields.iter().find(|field| field.name == name).map_or(0, |field| field.key.line);
                    return wrong(&format!("{DUPLICATE_KEY} `{}`, first given in line {first}", excerpt(name)))
                        .map_err(|error| error.with_help("keep one of the two"));
                }
                parent.key = Some((name.to_owned(), node));
            }
            (Content::Scalar | Content::Null, _) => {}
        }
        Ok(())
    }

    fn no_alias(&self, span: RawSpan) -> ManifestError {
        self.source.error(span, "anchors and aliases (`&` and `*`) are not supported").with_help("write the value out")
    }

    fn check_properties(&self, anchor: usize, tag: Option<&Tag>, span: RawSpan) -> Result<(), ManifestError> {
        if anchor != 0 {
            return Err(self.no_alias(span));
        }
        match tag {
            Some(tag) => {
                // The parser has replaced `!!` by what it stands for.
                let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
                let message = format!("tags are not supported: `{}{}`", excerpt(handle), excerpt(&tag.suffix));
                Err(self.source.error(span, message).with_help("put a value in quotes to make it text"))
            }
            None => Ok(()),
        }
    }

    /// JSON has no infinity and no NaN; they would silently become null.
    fn check_number(&self, text: &str, style: ScalarStyle, span: RawSpan) -> Result<(), ManifestError> {
        let plain = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
        if style == ScalarStyle::Plain && matches!(plain.as_str(), ".inf" | ".nan") {
            return Err(self.source.error(span, format!("`{text}` is not a number that JSON can hold")));
        }
        Ok(())
    }
}

/// Enough of a text to recognise it by.
fn excerpt(text: &str) -> String {
    text.chars().take(48).collect()
}
