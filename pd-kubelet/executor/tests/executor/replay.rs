//! The verbs for people: one call again, and whether a file is a task.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use crate::driver::{component, guest, verifying_text};

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("guest.wasm"), guest()).expect("writes");
        fs::write(folder.path().join("data"), b"0123456789").expect("writes");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, Output) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pd-executor"));
        let output = command.current_dir(self.folder.path()).args(arguments).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), output)
    }

    fn replay(&self, arguments: &[&str]) -> (Option<i32>, String, Output) {
        self.run(&[&["replay", "--module", "guest.wasm"], arguments].concat())
    }
}

// Params are JSON here, so the guest sees a quotation mark or a brace first: `{` answers the index.

#[test]
fn an_index_answers_as_it_does_on_a_node() {
    let desk = Desk::new();
    let (code, said, output) = desk.replay(&["--index", "2", "-o", "out", "--input", "data=data", "--json"]);
    assert_eq!(code, Some(0), "{output:?}");
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&report["outcome"], &report["index"]), (&"Success".into(), &2.into()));
    assert_eq!((&report["outputBytes"], &report["memoryPeakBytes"]), (&8.into(), &(2 << 16).into()));
    assert_eq!(fs::read(desk.path("out")).expect("is there"), 2_u64.to_le_bytes());
    let (code, said, _) = desk.replay(&["--index", "2"]);
    assert!(code == Some(0) && said.starts_with("run of index 2: Success\noutput: 8 bytes, sha256:"), "{said}");
}

#[test]
fn a_trap_is_shown_with_its_frames_and_the_log() {
    let desk = Desk::new();
    fs::write(desk.path("state"), b"").expect("writes");
    // Not one of the guest's letters: it runs into `unreachable`.
    let (code, said, output) = desk.replay(&["--params", "[1]", "--state", "state", "--index", "0"]);
    assert_eq!(code, Some(1), "{output:?}");
    assert!(said.starts_with("run of index 0: Trap\n") && said.contains("\n  at "), "{said}");
}

#[test]
fn a_core_dump_is_written_when_it_is_wanted_and_the_call_fails() {
    let desk = Desk::new();
    fs::write(desk.path("state"), b"").expect("writes");
    let failing = ["--params", "[1]", "--state", "state", "--index", "0", "--coredump", "core"];
    let (code, said, output) = desk.replay(&failing);
    assert!(code == Some(1) && said.starts_with("run of index 0: Trap\n"), "{said} {output:?}");
    let core = fs::read(desk.path("core")).expect("is there");
    assert!(core.starts_with(b"\0asm\x01\0\0\0"), "a module, as the tools have it");
    let has = |name: &[u8]| core.windows(name.len()).any(|bytes| bytes == name);
    for name in ["core", "corestack", "coremodules", "coreinstances", "panicked at guest.rs:1: boom"] {
        assert!(has(name.as_bytes()), "{name}");
    }
    let (code, _, output) = desk.replay(&["--index", "2", "--coredump", "none"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(code == Some(0) && errors.contains("no core dump: the call did not fail"), "{errors}");
    assert_eq!(fs::read(desk.path("none")).expect("is there"), b"");
}

#[test]
fn plan_and_merge_are_called_with_what_was_given() {
    let desk = Desk::new();
    let (code, said, _) = desk.replay(&["--call", "plan", "-o", "state"]);
    assert!(code == Some(0) && said.contains("3 subtasks, text/plain, goal 2"), "{said}");
    assert_eq!(fs::read(desk.path("state")).expect("is there"), b"seed");
    let (code, said, output) = desk.replay(&["--call", "merge", "-o", "all"]);
    assert_eq!(code, Some(0), "{said} {output:?}");
    let expected: Vec<u8> = (0..3_u64).flat_map(u64::to_le_bytes).collect();
    assert_eq!(fs::read(desk.path("all")).expect("is there"), expected);
    fs::create_dir(desk.path("parts")).expect("makes");
    for (index, part) in [("0", "ab"), ("2", "c")] {
        fs::write(desk.path("parts").join(index), part).expect("writes");
    }
    let (code, said, output) = desk.replay(&["--call", "merge", "--parts", "parts", "-o", "some"]);
    assert_eq!(code, Some(0), "{said} {output:?}");
    assert_eq!(fs::read(desk.path("some")).expect("is there"), b"abc");
}

#[test]
fn what_cannot_be_replayed_is_told_by_name() {
    let desk = Desk::new();
    let cases: [(&[&str], &str); 5] = [
        (&["--index", "3"], "3 subtasks"),
        (&["--params", "{"], "--params is not JSON"),
        (&["--input", "words"], "--input words=words.txt"),
        (&["--input", "words=nowhere"], "cannot open nowhere"),
        (&["--state", "nowhere"], "cannot open nowhere"),
    ];
    for (arguments, said) in cases {
        let (code, _, output) = desk.replay(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(code == Some(2) && errors.contains(said), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_check_stops_at_the_first_wrong_thing_and_says_what_it_is() {
    let desk = Desk::new();
    // The guest of these tests has no metadata.
    let (code, said, _) = desk.run(&["check", "guest.wasm"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(lines[..3], ["ok   wasm", "ok   imports", "ok   contract"]);
    assert!(lines.len() == 4 && lines[3].starts_with("FAIL metadata: it has no metadata"), "{said}");
    fs::write(desk.path("text.wasm"), "text").expect("writes");
    let (code, said, _) = desk.run(&["check", "text.wasm", "--json"]);
    assert!(code == Some(1) && said.contains(r#""name":"wasm""#) && said.contains(r#""result":"fail""#), "{said}");
    let (code, _, output) = desk.run(&["check", "nowhere.wasm"]);
    assert!(code == Some(2) && String::from_utf8_lossy(&output.stderr).contains("nowhere.wasm"), "{output:?}");
}

/// A component with metadata.
fn described(mut component: Vec<u8>) -> Vec<u8> {
    let metadata = r#"{"name":"guest","version":"1.0.0","description":"Of the tests.",
        "paramsSchema":{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false},
        "inputs":[{"name":"data","description":"Ten digits.","required":true}]}"#;
    let name = "processdistro:task";
    let length = 1 + name.len() + metadata.len();
    assert!(length < 1 << 14, "two bytes of length");
    component.extend([0, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8, name.len() as u8]);
    component.extend(name.bytes().chain(metadata.bytes()));
    component
}

#[test]
fn a_task_that_can_check_outputs_is_shown_right_and_wrong_ones() {
    let desk = Desk::new();
    let compares = "(i64.eq (i64.load (local.get $out)) (local.get $index))";
    assert!(verifying_text().contains(compares));
    for (says, line) in [
        (compares, "ok   verify: attests what `run` answers for index 0 and no other, in "),
        ("(i32.const 0)", "skip verify: it does not attest the output of index 0"),
        ("(i32.const 1)", "FAIL verify: it attests the output of index 0 with every bit inverted"),
        ("(unreachable)", "FAIL verify: with the output of index 0: Trap: "),
    ] {
        let text = verifying_text().replace(compares, says);
        fs::write(desk.path("task.wasm"), described(component(&text))).expect("writes");
        let (code, said, output) = desk.run(&["check", "task.wasm", "--input", "data=data"]);
        assert_eq!(code, Some(i32::from(line.starts_with("FAIL"))), "{said} {output:?}");
        assert!(said.contains("ok   contract: 1.0.0, with `verify`\n"), "{said}");
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn a_task_with_metadata_passes_every_check() {
    let desk = Desk::new();
    fs::write(desk.path("task.wasm"), described(guest())).expect("writes");
    let (code, said, output) = desk.run(&["check", "task.wasm"]);
    assert_eq!(code, Some(0), "{said} {output:?}");
    assert!(said.contains("skip plan: give its input: --input data=FILE"), "{said}");
    let (code, said, _) = desk.run(&["check", "task.wasm", "--input", "data=data"]);
    assert!(code == Some(0) && said.contains("ok   plan: 3 subtasks, text/plain"), "{said}");
    let (code, said, _) = desk.run(&["check", "task.wasm", "--params", r#"{"n":"x","m":1}"#]);
    assert!(code == Some(1) && said.contains("FAIL params: ") && said.contains("/n"), "{said}");
}

#[test]
fn the_walls_are_listed() {
    let desk = Desk::new();
    let (code, said, _) = desk.run(&["walls"]);
    let layers: Vec<serde_json::Value> = serde_json::from_str(&said).expect("a list");
    assert_eq!(code, Some(0));
    if cfg!(target_os = "linux") {
        let seccomp = layers.iter().find(|layer| layer["layer"] == "seccomp").expect("is listed");
        assert!(seccomp["missing"].is_null(), "{said}");
        assert!(layers.iter().any(|layer| layer["layer"] == "Landlock"), "{said}");
    }
}
