use std::time::{Duration, Instant};

use super::*;
use crate::Digest;

const JOB: &str = "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata:\n  name: a\nspec:\n  task: {name: noop}\n";

fn errors(text: &str) -> Vec<ManifestError> {
    parse("f.yaml", text).expect_err(text)
}

/// What the only error says, as `line:column field message (help)`.
fn error(text: &str) -> String {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].to_string()
}

#[test]
fn several_documents_know_where_they_start() {
    let text = format!("# a comment\n---\n{JOB}---\n---\n# nothing\n---\n{}", JOB.replace("name: a", "name: b"));
    let documents = parse("f.yaml", &text).expect("parses");
    let found: Vec<_> = documents.iter().map(|d| (d.line, d.kind.as_str(), d.name.as_deref())).collect();
    assert_eq!(found, [(3, "Job", Some("a")), (13, "Job", Some("b"))]);
    assert!(parse("f.yaml", "").expect("nothing").is_empty());
    assert!(parse("f.yaml", "---\n").expect("nothing").is_empty());
}

#[test]
fn other_groups_are_left_to_the_server() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, whatever: 1}\n";
    assert_eq!(parse("f.yaml", text).expect("parses")[0].kind, "Namespace");
}

#[test]
fn identity_is_required() {
    let found: Vec<String> = errors("spec: {}\n").iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("apiVersion: Required value (write `apiVersion: processdistro.dev/v1`)"), "{found:?}");
    assert!(found[2].contains("metadata.name: Required value"), "{found:?}");
    assert!(error("- a\n").contains("a manifest is a mapping"));
    assert!(
        error(&JOB.replace("kind: Job", "kind: job")).contains("2:7: kind: unknown kind `job` (did you mean `Job`?)")
    );
    assert!(error(&JOB.replace("kind: Job", "kind: Pod")).contains("the kinds of processdistro.dev/v1 are"));
    let batch = error(&JOB.replace("processdistro.dev/v1", "batch/v1"));
    assert!(batch.contains("1:13: apiVersion: unknown apiVersion `batch/v1` for kind `Job`"), "{batch}");
    assert!(error(&JOB.replace("processdistro.dev/v1", "processdistro.dev/v2")).contains("write `apiVersion"));
}

#[test]
fn every_error_of_a_document_has_its_place() {
    let text = "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata:\n  name: Ä\n  labels: {a: 1}\nspec:\n  task:\n    \
                nmae: noop\n  paralelism: 3\n  timeout: 300\n";
    let cut = |error: &ManifestError| error.to_string().split(" must consist").next().unwrap_or_default().to_owned();
    assert_eq!(
        errors(text).iter().map(cut).collect::<Vec<_>>(),
        [
            "f.yaml:4:9: metadata.name: Invalid value: \"Ä\": a lowercase RFC 1123 subdomain",
            "f.yaml:5:15: metadata.labels[a]: Invalid value: \"1\": must be a string: put it in quotes",
            "f.yaml:8:5: spec.task.nmae: unknown field (did you mean `name`?)",
            "f.yaml:9:3: spec.paralelism: unknown field (did you mean `parallelism`?)",
            "f.yaml:10:12: spec.timeout: Invalid value: \"300\": must be a duration like `300s`, `1m 30s` or `24h`",
        ]
    );
    for error in errors(text) {
        let span = error.span.expect("a place");
        let underlined = &text[span];
        assert!(["Ä", "1", "nmae", "paralelism", "300"].contains(&underlined), "{underlined}");
    }
}

#[test]
fn rules_are_checked_once_types_are_right() {
    let text = JOB.replace("  task: {name: noop}\n", "  task: {}\n  parallelism: 0\n  resources: {memory: 9Gi}\n");
    let found: Vec<_> = errors(&text).into_iter().map(|error| (error.line, error.field)).collect();
    assert_eq!(
        found,
        [
            (Some(6), Some("spec.task.name".into())),
            (Some(7), Some("spec.parallelism".into())),
            (Some(8), Some("spec.resources.memory".into()))
        ]
    );
}

#[test]
fn what_is_not_plain_data_is_refused() {
    for (text, part) in [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: duplicate key `a`, first given in line 1 (keep one of the two)"),
        ("a: {b: 1, b: 2}\n", "f.yaml:1:11: duplicate key `b`"),
        ("a: &x 1\nb: *x\n", "anchors and aliases"),
        ("a: *x\n", "f.yaml:1:4"),
        ("a: !!python/object x\n", "tags are not supported"),
        ("a: !Ref x\n", "tags are not supported: `!Ref`"),
        ("<<: {a: 1}\n", "merge keys"),
        ("? [a]\n: 1\n", "a key must be plain text"),
        ("a: .inf\n", "not a number that JSON can hold"),
        ("a: [1, 2\n", "malformed YAML"),
        ("a:\n\t- b\n", "malformed YAML"),
        ("a: b: c\n", "malformed YAML"),
        ("{\"a\": 1, \"a\": 2}", "duplicate key `a`"),
    ] {
        let found = error(text);
        assert!(found.contains(part), "{text:?}: {found}");
    }
}

#[test]
fn hostile_texts_are_refused_in_time() {
    let laughs: String = (1..12).fold("a0: &a0 [lol]\n".to_owned(), |text, n| {
        let line = format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
        text + &line
    });
    let long_key = format!("{}: 1\n", "x".repeat(400_000));
    let cases = [
        laughs,
        "[".repeat(400_000),
        "{".repeat(400_000),
        "- ".repeat(200_000),
        "? ".repeat(200_000),
        "{\"a\":".repeat(80_000),
        "[{".repeat(200_000),
        "a: ".repeat(130_000),
        "&a ".repeat(130_000),
        "!".repeat(400_000),
        "%".repeat(400_000),
        "\"".repeat(400_001),
        format!("a: |\n{}", " ".repeat(400_000)),
        long_key,
        " ".repeat(MANIFEST_BYTES_MAX + 1),
    ];
    for text in cases {
        let started = Instant::now();
        let result = parse("f.yaml", &text);
        let elapsed = started.elapsed();
        let start: String = text.chars().take(20).collect();
        assert!(result.is_err(), "{start}");
        assert!(elapsed < Duration::from_millis(500), "{start}: {elapsed:?}");
    }
}

#[test]
fn json_is_read_as_json() {
    let job = r#"{"apiVersion":"processdistro.dev/v1","kind":"Job","metadata":{"name":"a","annotations":{"note":"\ud83d\ude00 \/"}},
	"spec":{"task":{"name":"noop"}}}"#;
    let documents = parse("f.json", job).expect("parses");
    assert_eq!(documents[0].object["metadata"]["annotations"]["note"], "😀 /");
    assert_eq!(parse("f.json", &format!("{job}\n{job}")).expect("parses").len(), 2);
    let found = parse("f.json", "{\n  \"a\": 1,\n}").expect_err("a comma")[0].to_string();
    assert!(found.contains("f.json:3:1: malformed JSON: trailing comma"), "{found}");
    let wrong = job.replace("\\ud83d\\ude00 ", "").replace("\"spec\":{", "\"spec\":{\"tsk\":1,");
    assert!(parse("f.json", &wrong).expect_err("tsk")[0].to_string().contains("f.json:2:10: spec.tsk: unknown field"));
}

#[test]
fn a_list_is_its_items() {
    let item = "apiVersion: processdistro.dev/v1\n  kind: Job\n  metadata: {name: a}\n  spec: {task: {name: noop}}\n";
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- {item}- {}", item.replace("spec:", "spc:"));
    let found = errors(&text);
    assert!(found.iter().any(|error| error.line == Some(11) && error.message == "unknown field"), "{found:#?}");
    assert_eq!(parse("f.yaml", &text.replace("spc:", "spec:")).expect("parses").len(), 2);
}

#[test]
fn local_inputs_are_named_and_replaced() {
    let digest = Digest::of(b"x");
    let text = JOB
        .replace("{name: noop}", &format!("{{name: noop, inputs: {{a: ./words.txt, b: \"{digest}\", c: ../c.npy}}}}"));
    let mut document = parse("f.yaml", &text).expect("parses").remove(0);
    let found: Vec<_> = document.local_inputs().into_iter().map(|input| (input.name, input.path)).collect();
    assert_eq!(found, [("a".into(), "./words.txt".into()), ("c".into(), "../c.npy".to_owned())]);
    assert_eq!(
        locate(&document, "spec.task.inputs[a]").map(|span| text[span.range].to_owned()),
        Some("./words.txt".into())
    );
    for input in document.local_inputs() {
        document.set_input(&input.name, digest);
    }
    assert!(document.local_inputs().is_empty());
    for wrong in ["''", "7", "sha256:abc", "[x]"] {
        let found = error(&JOB.replace("{name: noop}", &format!("{{name: noop, inputs: {{a: {wrong}}}}}")));
        assert!(found.contains("spec.task.inputs[a]") && found.contains("the path of a local file"), "{found}");
    }
}

#[test]
fn a_servers_error_finds_its_line() {
    let document = parse("f.yaml", JOB).expect("parses").remove(0);
    let place = |path: &str| locate(&document, path).map(|span| (span.line, JOB[span.range].to_owned()));
    assert_eq!(place("spec.task.name"), Some((6, "noop".into())));
    assert_eq!(place("spec.task.params.width"), Some((6, "task".into())));
    assert_eq!(place("metadata.name"), Some((4, "a".into())));
    assert_eq!(place("spec"), Some((5, "spec".into())));
    assert_eq!(place("status.x").map(|(line, _)| line), Some(1));
    let error = document.error("spec.task.name", "Not found: \"noop\"");
    assert_eq!(error.to_string(), "f.yaml:6:16: spec.task.name: Not found: \"noop\"");
}

#[test]
fn bytes_become_text() {
    assert_eq!(decode("f", b"\xef\xbb\xbfa: 1".to_vec()).expect("text"), "a: 1");
    let error = decode("f", b"a: 1\nb: \xff".to_vec()).expect_err("not UTF-8").to_string();
    assert!(error.contains("line 2, byte 8: not UTF-8"), "{error}");
    assert!(decode("f", vec![b' '; MANIFEST_BYTES_MAX + 1]).is_err());
}
