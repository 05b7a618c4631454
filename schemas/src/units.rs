//! Quantities with units as a manifest writes them: durations (`300s`) and sizes (`64Mi`).

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time in humantime's text form: `300s`, `24h`, `1m 30s`, `250ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub time::Duration);

impl Duration {
    /// That many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Duration {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            de::Error::custom(format!("`{text}` is not a duration ({error}); write it like `300s`, `1m 30s` or `24h`"))
        })
    }
}

/// As a JSON Schema states it; the validation walk knows the type by it.
pub(crate) const DURATION_PATTERN: &str =
    "^([0-9]+ ?(ns|us|ms|s|sec|secs|seconds?|m|min|mins|minutes?|h|hr|hrs|hours?|d|days?|w|weeks?) ?)+$|^0$";

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": DURATION_PATTERN,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A number of bytes, written as an integer or as a Kubernetes quantity (`64Mi`, `1.5Gi`, `200M`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write it like `64Mi`, `1.5Gi` or a number of bytes")]
pub struct InvalidByteSize(String);

/// Suffixes of a quantity and their factors, the longer ones first.
const FACTORS: [(&str, u64); 9] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("", 1),
];

impl FromStr for ByteSize {
    type Err = InvalidByteSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidByteSize(text.chars().take(64).collect());
        let (number, factor) = FACTORS
            .iter()
            .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|n| (n, *factor)))
            .ok_or_else(invalid)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(invalid);
        }
        let is_decimal = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let fraction: f64 = number.parse().map_err(|_| invalid())?;
        let bytes = fraction * factor as f64;
        if is_decimal && bytes <= u64::MAX as f64 { Ok(Self(bytes.ceil() as u64)) } else { Err(invalid()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = FACTORS[..4].iter().rev().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match binary {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like `64Mi` or a number of bytes")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size cannot be negative"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// As a JSON Schema states it; the validation walk knows the type by it.
pub(crate) const BYTE_SIZE_PATTERN: &str = "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$";

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": BYTE_SIZE_PATTERN,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_kubernetes_reads_them() {
        for (text, bytes) in [("64Mi", 64 << 20), ("1.5Gi", 3 << 29), ("200M", 200_000_000), ("17", 17), ("0", 0)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "Mi", "-1", "1e3", "inf", "64MB", "99999999999Ti", "NaN"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_whole_unit() {
        assert_eq!(ByteSize(64 << 20).to_string(), "64Mi");
        assert_eq!(ByteSize(1500).to_string(), "1500");
    }

    proptest! {
        #[test]
        fn a_size_reads_back(bytes: u64, shift in 0_u32..44) {
            for size in [ByteSize(bytes), ByteSize((bytes >> 44) << shift)] {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
                let json = serde_json::to_string(&size).expect("encodes");
                prop_assert_eq!(serde_json::from_str::<ByteSize>(&json).expect("decodes"), size);
            }
            prop_assert_eq!(serde_json::from_str::<ByteSize>(&bytes.to_string()).expect("decodes"), ByteSize(bytes));
        }

        #[test]
        fn a_duration_reads_back(seconds in 0_u64..1 << 40, nanos in 0_u32..1_000_000_000) {
            for duration in [Duration(time::Duration::new(seconds, nanos)), Duration::from_millis(seconds)] {
                prop_assert_eq!(duration.to_string().parse::<Duration>().expect("parses"), duration);
            }
        }

        #[test]
        fn no_size_panics(text in "[0-9.KMGTik+-]{0,12}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
