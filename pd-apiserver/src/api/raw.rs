//! Stored objects that are sent on without being parsed.
//!
//! In: the text of a record, which is JSON that the registry wrote. Out: the same text with the record's revision as
//! `metadata.resourceVersion`, or its metadata alone. What is looked at of it is where things begin and end: that a
//! record is what was written is the store's business.

use std::borrow::Cow;

use memchr::memchr2;

/// The text of one stored object and the revision of its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    text: &'a [u8],
    revision: u64,
    /// Where `metadata` begins, with its brace.
    metadata: usize,
}

impl<'a> Raw<'a> {
    /// `None`: this is not the text of an object with metadata.
    pub(crate) fn new(text: &'a [u8], revision: u64) -> Option<Self> {
        let mut scanner = Scanner { text, at: 0 };
        scanner.expect(b'{')?;
        loop {
            let key = scanner.string()?;
            scanner.expect(b':')?;
            if key == b"metadata" {
                return (scanner.next()? == b'{').then_some(Self { text, revision, metadata: scanner.at });
            }
            scanner.skip_value()?;
            scanner.expect(b',')?;
        }
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// The text as it is stored, without a resourceVersion.
    pub(crate) const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Appends the object, with its resourceVersion.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text[..self.metadata]);
        self.write_metadata_up_to(self.text.len(), out);
    }

    /// Appends the object's metadata, with its resourceVersion. False: the text ends within it.
    pub(crate) fn write_metadata(&self, out: &mut Vec<u8>) -> bool {
        let mut scanner = Scanner { text: self.text, at: self.metadata };
        let is_whole = scanner.skip_value().is_some();
        self.write_metadata_up_to(scanner.at, out);
        is_whole
    }

    fn write_metadata_up_to(&self, end: usize, out: &mut Vec<u8>) {
        let members = &self.text[self.metadata + 1..end];
        out.extend_from_slice(b"{\"resourceVersion\":\"");
        out.extend_from_slice(self.revision.to_string().as_bytes());
        out.push(b'"');
        if members.trim_ascii_start().first() != Some(&b'}') {
            out.push(b',');
        }
        out.extend_from_slice(members);
    }
}

/// The string at `path` of a stored object. What comes after it is not looked at.
pub(super) fn string_at<'a>(text: &'a [u8], path: &[&str]) -> Option<Cow<'a, str>> {
    let mut scanner = Scanner::at(text, path)?;
    let start = scanner.at;
    let inner = scanner.string()?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice(&text[start..scanner.at]).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// The text of the value at `path` of a stored object. What comes after it is not looked at.
pub(super) fn value_at<'a>(text: &'a [u8], path: &[&str]) -> Option<&'a [u8]> {
    let mut scanner = Scanner::at(text, path)?;
    let start = scanner.at;
    scanner.skip_value()?;
    Some(&text[start..scanner.at])
}

/// Walks over JSON that is known to be well-formed.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// One that stands where the value at `path` begins.
    fn at(text: &'a [u8], path: &[&str]) -> Option<Self> {
        let mut scanner = Self { text, at: 0 };
        for wanted in path {
            scanner.expect(b'{')?;
            while scanner.string()? != wanted.as_bytes() {
                scanner.expect(b':')?;
                scanner.skip_value()?;
                scanner.expect(b',')?;
            }
            scanner.expect(b':')?;
        }
        scanner.next()?;
        Some(scanner)
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        while self.text.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        let found = self.next()?;
        self.at += 1;
        (found == wanted).then_some(())
    }

    /// The string that begins here, its escapes as they stand.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += memchr2(b'"', b'\\', self.text.get(self.at..)?)?;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Some(&self.text[start..self.at - 1]);
            }
            self.at += 2;
        }
    }

    /// Goes behind the value that begins here.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => {
                    self.at += 1;
                    continue;
                }
                _ => self.skip_scalar(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Goes behind a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
        // A byte that begins nothing is passed as well: every step leads on.
        self.at += self.text[self.at..].iter().take_while(|byte| is_part(byte)).count().max(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(text: &str) -> Option<(Value, Value)> {
        let raw = Raw::new(text.as_bytes(), 7)?;
        let (mut object, mut metadata) = (Vec::new(), Vec::new());
        raw.write(&mut object);
        assert!(raw.write_metadata(&mut metadata));
        Some((serde_json::from_slice(&object).expect("JSON"), serde_json::from_slice(&metadata).expect("JSON")))
    }

    #[test]
    fn a_string_is_found_by_its_path() {
        let text = br#"{"a":{"b":"no"}, "spec": {"x":[{"b":"no"},"}"],"b":"yes\u0021","c":"\"plain"}, "broken"#;
        assert_eq!(string_at(text, &["spec", "b"]).as_deref(), Some("yes!"));
        assert_eq!(string_at(text, &["a", "b"]).as_deref(), Some("no"));
        assert_eq!(string_at(text, &["spec", "c"]).as_deref(), Some("\"plain"));
        for path in [&["spec", "x"][..], &["spec", "d"], &["spec"], &["a", "b", "c"], &["d"]] {
            assert_eq!(string_at(text, path), None, "{path:?}");
        }
        assert_eq!(value_at(text, &["spec", "x"]), Some(&br#"[{"b":"no"},"}"]"#[..]));
        assert_eq!(value_at(text, &["spec", "d"]), None);
    }

    #[test]
    fn the_revision_goes_into_the_metadata_wherever_they_stand() {
        for text in [
            r#"{"metadata":{"name":"a"},"kind":"K"}"#,
            r#"{"kind":"K","metadata":{"name":"a"}}"#,
            r#"{"kind" : "K\\\"metadata\":{", "x": [{"metadata": 1}, -1.5e3, null], "metadata" : { "name":"a" } }"#,
            r#"{"kind":"K","metadata":{},"spec":{}}"#,
            r#"{"metadata": { } }"#,
        ] {
            let mut expected: Value = serde_json::from_str(text).expect("JSON");
            expected["metadata"]["resourceVersion"] = "7".into();
            let (object, metadata) = written(text).expect("metadata");
            assert_eq!((&metadata, &object), (&expected["metadata"], &expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_metadata_is_refused() {
        for text in ["", "{", "{}", "[]", "1", r#"{"kind":"K"}"#, r#"{"metadata":1}"#, r#"{"metadata"#, r#"{"a":"\"#] {
            assert!(Raw::new(text.as_bytes(), 7).is_none(), "{text}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_parsing_would_have_made_of_it(before in values(), metadata in values(), after in values()) {
            prop_assume!(metadata.is_object());
            let mut expected = json!({"\"\\": before, "metadata": metadata, "z": after});
            let text = expected.to_string();
            expected["metadata"]["resourceVersion"] = "7".into();
            let (object, metadata) = written(&text).expect("metadata");
            prop_assert_eq!(&metadata, &expected["metadata"]);
            prop_assert_eq!(object, expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<Vec<u8>>(), cut in 0_usize..64) {
            let _ = Raw::new(&text, 1);
            let object = br#"{"kind":"K","spec":{"a":["\"",1]},"metadata":{"b":{"c":"d"}}}"#;
            if let Some(raw) = Raw::new(&object[..cut.min(object.len())], 1) {
                let mut out = Vec::new();
                raw.write(&mut out);
                raw.write_metadata(&mut out);
            }
        }
    }
}
