//! What a task says of itself: the JSON in its custom section `processdistro:task`.
//!
//! In: the section's bytes. Out: checked metadata, or one sentence on what is wrong with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Largest metadata section: it is copied into the Task's status, so it must stay well below one object (1 MiB).
pub const METADATA_BYTES_MAX: usize = 256 << 10;
/// Longest DNS label (RFC 1123).
const NAME_BYTES_MAX: usize = 63;

/// What a task says of itself, in a custom section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Name under which it is registered unless the user says otherwise: a DNS label.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line on what it computes.
    pub description: String,
    /// JSON Schema of its params.
    pub params_schema: Value,
    /// Inputs it reads.
    #[serde(default)]
    pub inputs: Vec<Input>,
}

/// One input that a task reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// True when no job can do without it.
    #[serde(default)]
    pub required: bool,
}

impl Metadata {
    /// Reads and checks the section's bytes.
    pub(crate) fn parse(section: &[u8]) -> Result<Self, String> {
        if section.len() > METADATA_BYTES_MAX {
            return Err(format!("it has {} bytes, at most {METADATA_BYTES_MAX} are read", section.len()));
        }
        let metadata: Self = serde_json::from_slice(section).map_err(|error| error.to_string())?;
        metadata.problem().map_or(Ok(metadata), Err)
    }

    /// The first thing wrong with it.
    fn problem(&self) -> Option<String> {
        if !is_label(&self.name) {
            let name: String = self.name.chars().take(NAME_BYTES_MAX).collect();
            return Some(format!("name `{name}` is not a DNS label (lower-case letters, digits and `-`, at most 63)"));
        }
        if self.version.trim().is_empty() {
            return Some("version is empty".into());
        }
        if !self.params_schema.is_object() {
            return Some("paramsSchema is not a JSON Schema object".into());
        }
        let mut names = BTreeSet::new();
        self.inputs.iter().find_map(|input| {
            if !is_label(&input.name) {
                return Some(format!("input name `{}` is not a DNS label", input.name));
            }
            (!names.insert(&input.name)).then(|| format!("input `{}` is named twice", input.name))
        })
    }
}

/// True for a DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("{", "EOF"),
            (r#"{"name":"a"}"#, "missing field `version`"),
            (r#"{"name":"A_b","version":"1","description":"","paramsSchema":{}}"#, "`A_b` is not a DNS label"),
            (r#"{"name":"a","version":"","description":"","paramsSchema":{}}"#, "version is empty"),
            (r#"{"name":"a","version":"1","description":"","paramsSchema":3}"#, "not a JSON Schema object"),
            (
                r#"{"name":"a","version":"1","description":"","paramsSchema":{},"inputs":[{"name":"x","description":""},{"name":"x","description":""}]}"#,
                "`x` is named twice",
            ),
        ];
        for (json, part) in cases {
            let error = Metadata::parse(json.as_bytes()).expect_err(json);
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn an_enormous_section_is_not_parsed() {
        let error = Metadata::parse(&vec![b' '; METADATA_BYTES_MAX + 1]).expect_err("too large");
        assert!(error.contains("at most"), "{error}");
    }
}
