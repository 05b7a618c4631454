//! From a field path, such as a server's error names, to its place in the file.

use std::ops::Range;

use super::{
    Document,
    tree::{Content, Field, Node},
};

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Byte offsets.
    pub range: Range<usize>,
    /// Line of its start, from 1.
    pub line: usize,
    /// Column of its start, from 1, in characters.
    pub column: usize,
}

/// Where the field at `path` stands: its value when that is one scalar, its key otherwise. For a field
/// that is not there the nearest thing around it. None when the text's places are not known.
pub fn locate(document: &Document, path: &str) -> Option<Span> {
    let mut here = document.node.as_ref()?;
    let mut key: Option<&Node> = None;
    for step in steps(path) {
        let field = field(here, step);
        let element = || step.parse::<usize>().ok().and_then(|index| here.elements().get(index));
        match (field, element()) {
            (Some(field), _) => (here, key) = (&field.value, Some(&field.key)),
            (None, Some(element)) => (here, key) = (element, None),
            (None, None) => return Some(span(key.unwrap_or(here))),
        }
    }
    let is_scalar = matches!(here.content, Content::Scalar);
    Some(span(key.filter(|_| !is_scalar).unwrap_or(here)))
}

/// Where the key of the field at `path` stands: what to underline when the field should not be there.
pub(super) fn locate_key(root: &Node, path: &str) -> Option<Span> {
    let mut here = root;
    let mut key = None;
    for step in steps(path) {
        match field(here, step) {
            Some(field) => (here, key) = (&field.value, Some(&field.key)),
            None => here = here.elements().get(step.parse::<usize>().ok()?)?,
        }
    }
    key.map(span)
}

fn field<'a>(node: &'a Node, name: &str) -> Option<&'a Field> {
    node.field(name)
}

/// What to underline of a node: a collection's first line only.
fn span(node: &Node) -> Span {
    let is_scalar = matches!(node.content, Content::Scalar);
    let end = if is_scalar { node.span.end } else { (node.span.start + 1).min(node.span.end) };
    Span { range: node.span.start..end, line: node.line, column: node.column }
}

/// The steps of a path: `a.b[c.d][0].e` goes by a, b, c.d, 0, e.
fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(step);
            rest = after.strip_prefix('.').unwrap_or(after);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(&rest[..end]);
            rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
        }
    }
    steps.retain(|step| !step.is_empty());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_into_steps() {
        assert_eq!(steps("spec.task.name"), ["spec", "task", "name"]);
        assert_eq!(steps("metadata.labels[a.b/c]"), ["metadata", "labels", "a.b/c"]);
        assert_eq!(steps("spec.grants[2].indexes"), ["spec", "grants", "2", "indexes"]);
        assert_eq!(steps(""), [""; 0]);
        assert_eq!(steps("a[unclosed"), ["a", "unclosed"]);
    }
}
