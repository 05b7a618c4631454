//! A set of indexes as a user writes it: `"3,7-9"` or `[3, 7, 8, 9]`.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of indexes; written as text or as a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<RangeInclusive<u64>>);

impl Indexes {
    /// True if the set has `index`.
    pub fn contains(&self, index: u64) -> bool {
        self.0.iter().any(|range| range.contains(&index))
    }
}

fn parse_index(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not an index; expected text such as \"3,7-9\""))
}

fn parse_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (parse_index(start)?, parse_index(end)?);
    if end < start {
        return Err(format!("`{text}` is not a range: its end is before its start"));
    }
    Ok(start..=end)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected text such as \"3,7-9\" or a list of indexes")]
enum Written {
    Text(String),
    List(Vec<u64>),
}

impl<'de> Deserialize<'de> for Indexes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::List(indexes) => Ok(Self(indexes.into_iter().map(|index| index..=index).collect())),
            Written::Text(text) if text.trim().is_empty() => Ok(Self::default()),
            Written::Text(text) => {
                text.split(',').map(parse_range).collect::<Result<_, _>>().map(Self).map_err(serde::de::Error::custom)
            }
        }
    }
}

impl Serialize for Indexes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ranges = self.0.iter().map(|range| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        });
        serializer.serialize_str(&ranges.collect::<Vec<_>>().join(","))
    }
}

impl JsonSchema for Indexes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Indexes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "pattern": "^\\s*([0-9]+(-[0-9]+)?(\\s*,\\s*[0-9]+(-[0-9]+)?)*)?\\s*$",
            "items": {"type": "integer", "minimum": 0},
        })
    }
}
