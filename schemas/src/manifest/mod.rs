//! Manifests: from the text of a file to the objects it describes, for pdctl and whatever else reads files.
//!
//! In: a file's name and its text, YAML or JSON, one document or several. Out: the objects, each with the
//! places of its fields in the text, or everything that is wrong, with file, line, column, field path and
//! what would be right. Nothing is read from disk and no server is asked: input files are only named.
//!
//! A manifest is plain data: aliases, anchors, tags and merge keys are refused, so that a small file cannot
//! grow into a large object, and so are duplicate keys, which one reader takes one way and another the other.

#![allow(clippy::result_large_err, reason = "an error ends the reading of a file; it is not made in a loop")]

mod check;
mod error;
mod inputs;
mod json;
mod place;
mod tree;

use serde::Deserialize;
use serde_json::Value;

pub use error::ManifestError;
pub use inputs::LocalInput;
pub use place::{Span, locate};

use crate::{limits::MANIFEST_BYTES_MAX, validation::structural::UnknownField};
use tree::{Node, Source};

/// One object of a manifest file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file it came from, as the caller named it.
    pub file: String,
    /// The line it starts at, from 1.
    pub line: usize,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its `kind`.
    pub kind: String,
    /// Its `metadata.name`; none when the server shall generate one.
    pub name: Option<String>,
    /// Its `metadata.namespace`.
    pub namespace: Option<String>,
    /// The object. Inputs of a Job may be paths of local files: see `local_inputs`.
    pub object: Value,
    /// Where its fields stand; none for JSON that is no YAML.
    node: Option<Node>,
}

/// The text of a file's bytes: UTF-8, at most 1 MiB, without a byte order mark.
pub fn decode(file: &str, bytes: Vec<u8>) -> Result<String, ManifestError> {
    check_size(file, bytes.len())?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + String::from_utf8_lossy(&error.as_bytes()[..at]).matches('\n').count();
        ManifestError::whole_file(file, format!("line {line}, byte {at}: not UTF-8 text"))
            .with_help("save the manifest as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The objects of a file, empty documents left out, or everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Vec<Document>, Vec<ManifestError>> {
    check_size(file, text.len()).map_err(|error| vec![error])?;
    let source = Source::new(file, text);
    let roots = read(&source).map_err(|error| vec![error])?;
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for (object, node) in roots.into_iter().flat_map(items_of_list) {
        match check::check(&source, object, node) {
            Ok(document) => documents.push(document),
            Err(wrong) => errors.extend(wrong),
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

/// The one document of a text, whatever it describes, for files that hold no object of the API; none when
/// the text holds nothing.
pub(crate) fn read_single(file: &str, text: &str) -> Result<Option<Document>, ManifestError> {
    check_size(file, text.len())?;
    let source = Source::new(file, text);
    let mut roots = read(&source)?;
    if roots.len() > 1 {
        let message = format!("the file holds {} documents; this one is read as one document", roots.len());
        return Err(ManifestError::whole_file(file, message).with_help("leave one of them"));
    }
    Ok(roots.pop().map(|(object, node)| Document::new(&source, object, node)))
}

impl Document {
    /// What the object says of itself, unchecked.
    fn new(source: &Source<'_>, object: Value, node: Option<Node>) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Self {
            file: source.file.to_owned(),
            line: node.as_ref().map_or(1, |node| node.line),
            api_version: text("/apiVersion").unwrap_or_default(),
            kind: text("/kind").unwrap_or_default(),
            name: text("/metadata/name"),
            namespace: text("/metadata/namespace"),
            object,
            node,
        }
    }

    /// Says of a field that nobody knows it, with its place and what was probably meant.
    pub(crate) fn unknown_field(&self, unknown: &UnknownField) -> ManifestError {
        let mut error = self.error(&unknown.path, "unknown field");
        if let Some(span) = self.node.as_ref().and_then(|node| place::locate_key(node, &unknown.path)) {
            (error.line, error.column, error.span) = (Some(span.line), Some(span.column), Some(span.range));
        }
        error.help = unknown.suggestion.as_ref().map(|known| format!("did you mean `{known}`?"));
        error
    }

    /// Says `message` of the field at `field_path`, with its place in the file: for errors that a server
    /// answers.
    pub fn error(&self, field_path: &str, message: impl Into<String>) -> ManifestError {
        let span = locate(self, field_path);
        ManifestError {
            file: self.file.clone(),
            line: span.as_ref().map(|span| span.line),
            column: span.as_ref().map(|span| span.column),
            span: span.map(|span| span.range),
            field: (!field_path.is_empty()).then(|| field_path.to_owned()),
            message: message.into(),
            help: None,
        }
    }
}

/// A value and where it stands.
type Root = (Value, Option<Node>);

fn check_size(file: &str, bytes: usize) -> Result<(), ManifestError> {
    if bytes <= MANIFEST_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the manifest has {bytes} bytes; at most {MANIFEST_BYTES_MAX} are read");
    Err(ManifestError::whole_file(file, message)
        .with_help("split it into several files; large data belongs into inputs"))
}

/// The documents that hold anything.
fn read(source: &Source<'_>) -> Result<Vec<Root>, ManifestError> {
    let tree = tree::read(source);
    let json = json::looks_like_json(source.text).then(|| json::read(source));
    let roots: Vec<Root> = match (tree, json) {
        (Ok(nodes), Some(Ok(values))) if nodes.len() == values.len() => {
            values.into_iter().zip(nodes.into_iter().map(Some)).collect()
        }
        (Err(error), Some(_)) if error.is_duplicate() => return Err(error),
        (_, Some(Ok(values))) => values.into_iter().map(|value| (value, None)).collect(),
        (_, Some(Err(error))) if json::is_named_json(source.file) => return Err(error),
        (Ok(nodes), _) => read_yaml(source, nodes)?,
        (Err(error), _) => return Err(error),
    };
    Ok(roots.into_iter().filter(|(value, _)| !value.is_null()).collect())
}

/// The documents whose places are known already, without the empty ones: at a file's end the two parsers do
/// not agree on how many of those there are.
fn read_yaml(source: &Source<'_>, mut nodes: Vec<Node>) -> Result<Vec<Root>, ManifestError> {
    let mut values = Vec::with_capacity(nodes.len());
    for document in serde_yaml::Deserializer::from_str(source.text) {
        let value = Value::deserialize(document).map_err(|error| {
            let offset = error.location().map(|location| location.index());
            source.error_at(offset, error::without_place(&error.to_string()))
        })?;
        values.push(value);
    }
    values.retain(|value| !value.is_null());
    nodes.retain(|node| !node.is_null());
    if values.len() == nodes.len() {
        return Ok(values.into_iter().zip(nodes.into_iter().map(Some)).collect());
    }
    Err(ManifestError::whole_file(source.file, "the file does not split into documents unambiguously".into())
        .with_help("separate documents by a line of three dashes, `---`, and nothing else"))
}

/// The items of a `kind: List`, as `kubectl get -o yaml` writes it; anything else is itself.
fn items_of_list((value, node): Root) -> Vec<Root> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    let Some(Value::Array(items)) = value.get("items").filter(|_| is_list) else { return vec![(value, node)] };
    let nodes = node.as_ref().and_then(|node| node.child("items")).map(Node::elements).unwrap_or_default();
    items.iter().enumerate().map(|(index, item)| (item.clone(), nodes.get(index).cloned())).collect()
}

#[cfg(test)]
mod tests;
