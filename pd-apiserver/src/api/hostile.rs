//! Everything that reads what a stranger wrote, by one name each: for the fuzzers, and for the tests below that feed it
//! noise. Nothing here may panic; what is accepted must then be usable.
//!
//! In: any bytes. Out: nothing. It is compiled for tests and for `--features hostile` only.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    apply::{self, Operation, Writer},
    call::{Subresource, Target},
    kinds::{KINDS, Kind},
    media,
    options::Options,
    patch, protobuf,
    registry::Continue,
    schema,
    selectors::Selection,
    subtasks,
};

/// A small object of a kind, with something of everything that patches touch.
fn sample(kind: &Kind) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.name,
        "metadata": {
            "name": "x", "namespace": "default", "uid": "u", "labels": {"a": "b", "e": "f"}, "finalizers": ["a/b"],
            "managedFields": [{
                "manager": "m", "operation": "Apply", "apiVersion": kind.api_version(), "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}},
            }],
        },
        "spec": {"parallelism": 2, "taints": [{"key": "k", "effect": "NoSchedule"}], "task": {"name": "t", "params": {}}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Label and field selectors, with a line break between them.
pub fn selectors(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (labels, fields) = text.split_once('\n').unwrap_or((text, ""));
    for kind in KINDS.iter() {
        if let Ok(selection) = Selection::parse(kind, labels, fields) {
            selection.matches(&sample(kind));
            selection.matches(&Value::Null);
        }
    }
}

/// A patch; its first byte says of which type.
pub fn patch(bytes: &[u8]) {
    let Some((type_, bytes)) = bytes.split_first() else { return };
    let Ok(document) = media::decode_yaml(bytes) else { return };
    for kind in KINDS.iter() {
        let live = sample(kind);
        let target =
            Target { kind, namespace: "default".to_owned(), name: "x".to_owned(), subresource: Subresource::Main };
        let patched = match type_ {
            b'J' => patch::json(&target, &live, &document.value).ok(),
            b'M' => patch::merge(&live, &document.value).ok(),
            b'S' => patch::strategic(&live, &document.value).ok(),
            _ => applied(kind, &live, &document.value),
        };
        if let Some(mut patched) = patched {
            let writer = writer(Operation::Update);
            let _ = schema::check(kind, &mut patched);
            if patched["metadata"].is_object() {
                apply::track_update(&kind.schema, &live, &mut patched, &writer);
            }
        }
    }
}

fn writer(operation: Operation) -> Writer<'static> {
    Writer { manager: "fuzz", operation, subresource: "", api_version: "v1", now: Timestamp::UNIX_EPOCH }
}

fn applied(kind: &Kind, live: &Value, document: &Value) -> Option<Value> {
    if !document.is_object() || !document.get("metadata").is_none_or(Value::is_object) {
        return None;
    }
    apply::apply(&kind.schema, live, document, &writer(Operation::Apply), true).ok()
}

/// The protobuf envelope of built-in kinds.
pub fn protobuf(bytes: &[u8]) {
    let _ = protobuf::decode(bytes);
}

/// A continue token.
pub fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = Continue::decode(text) {
        let _ = subtasks::is_position(&token.after);
        assert!(token.encode().is_some_and(|text| Continue::decode(&text).is_ok()), "a token reads its own text");
    }
}

/// A body, against the schema of every kind.
pub fn document(bytes: &[u8]) {
    for document in [media::decode_json(bytes), media::decode_yaml(bytes)].into_iter().flatten() {
        for kind in KINDS.iter() {
            let _ = schema::check(kind, &mut document.value.clone());
        }
    }
}

/// A path and a query string.
pub fn query(bytes: &[u8]) {
    let Ok(uri) = std::str::from_utf8(bytes).unwrap_or_default().parse::<http::Uri>() else { return };
    let _ = Options::parse(&uri);
    let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    if let [group, version, rest @ ..] = segments.as_slice() {
        let _ = Target::parse(group, version, rest);
        let _ = Target::parse("", group, rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts of the characters and words that mean something to a parser.
    fn words(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![4 => proptest::sample::select(words).prop_map(str::to_owned), 1 => "\\PC{0,4}"];
        proptest::collection::vec(word, 0..24).prop_map(|words| words.concat().into_bytes())
    }

    fn noise() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..256)
    }

    const SELECTOR: &[&str] = &[
        "a",
        "=",
        "==",
        "!=",
        "!",
        ",",
        "(",
        ")",
        " in ",
        " notin ",
        "\n",
        "metadata.name",
        "status.phase",
        "é",
        "/",
        "example.com/",
        " ",
    ];
    const JSON: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"metadata\"",
        "\"spec\"",
        "\"status\"",
        "\"op\":\"add\"",
        "\"path\":\"/spec/x\"",
        "\"value\"",
        "null",
        "true",
        "1e999",
        "-0",
        "\"$patch\":\"delete\"",
        "\"$deleteFromPrimitiveList/finalizers\"",
        "\"labels\"",
        "\"a\"",
        "\"\\ud800\"",
        "\n- ",
        "a: ",
        "*a",
        "&a",
        "'",
    ];
    const QUERY: &[&str] = &[
        "/",
        "apis",
        "api",
        "v1",
        "processdistro.dev",
        "namespaces",
        "default",
        "jobs",
        "status",
        "scale",
        "?",
        "&",
        "=",
        "limit=",
        "watch=",
        "true",
        "%",
        "%2",
        "%ff",
        "continue=",
        "-1",
        "18446744073709551616",
        "dryRun=All",
    ];

    proptest! {
        #[test]
        fn no_selector_panics(text in words(SELECTOR), noise in noise()) {
            selectors(&text);
            selectors(&noise);
        }

        #[test]
        fn no_patch_panics(type_ in proptest::sample::select(b"JMSA".as_slice()), text in words(JSON), noise in noise()) {
            patch(&[&[type_], text.as_slice()].concat());
            patch(&noise);
        }

        #[test]
        fn no_body_panics(text in words(JSON), noise in noise()) {
            document(&text);
            document(&noise);
            protobuf(&noise);
            protobuf(&[b"k8s\0".as_slice(), &noise].concat());
        }

        #[test]
        fn no_path_panics(text in words(QUERY), noise in noise()) {
            query(&text);
            query(&noise);
        }

        #[test]
        fn no_token_panics(after in words(QUERY), revision: u64, noise in noise()) {
            let after = String::from_utf8(after).unwrap_or_default();
            token(Continue { revision: Some(revision), after }.encode().unwrap_or_default().as_bytes());
            token(&noise);
        }
    }

    #[test]
    fn the_seeds_of_the_fuzzers_are_read_without_a_panic() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        let read_all = |target: &str, read: fn(&[u8])| {
            for file in std::fs::read_dir(seeds.join(target)).expect("a folder of seeds") {
                read(&std::fs::read(file.expect("a seed").path()).expect("a seed"));
            }
        };
        read_all("selectors", selectors);
        read_all("patch", patch);
        read_all("query", query);
        read_all("token", token);
        read_all("document", document);
    }
}
