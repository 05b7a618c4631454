//! What pdctl says, word for word, with its exit codes.
//!
//! The transcripts here ask no server or one that is not there; those of `e2e/tests/pdctl/transcript` are played there,
//! against a cluster. `TRYCMD=overwrite cargo test --release -p pdctl --test transcripts` writes anew what is said here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use clap::{Command, CommandFactory as _};

/// Where transcripts are, from this crate.
const FOLDERS: [&str; 2] = ["tests/transcripts", "../e2e/tests/pdctl/transcript"];
/// Flags before a verb, which take a value.
const GLOBAL: [&str; 4] = ["--kubeconfig", "--context", "--namespace", "-n"];
/// Verbs that end only when they are interrupted: no transcript shows a success.
const ENDLESS: [&str; 1] = ["watch"];
/// The exit code of an interruption, which no transcript can make.
const INTERRUPTED: i32 = 130;

#[test]
fn pdctl_says_what_the_transcripts_say() {
    let cases = trycmd::TestCases::new();
    cases.env("KUBECONFIG", "kubeconfig").env("HOME", "/nonexistent").env("NO_COLOR", "1");
    cases.case("tests/transcripts/*.trycmd").run();
}

/// Every verb that does something, as one writes it: `get`, `config view`.
fn verbs() -> BTreeSet<String> {
    fn collect(command: &Command, path: &str, into: &mut BTreeSet<String>) {
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
            let path = format!("{path} {}", inner.get_name()).trim_start().to_owned();
            if inner.has_subcommands() {
                collect(inner, &path, into);
            } else {
                into.insert(path);
            }
        }
    }
    let mut verbs = BTreeSet::new();
    collect(&pdctl::Cli::command(), "", &mut verbs);
    verbs
}

/// The command lines of all transcripts, each from its verb on, with their exit codes.
fn lines() -> Vec<(String, i32)> {
    let mut lines = Vec::new();
    for folder in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(&folder).expect("a folder of transcripts") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "trycmd") {
                lines.extend(of_transcript(&fs::read_to_string(path).expect("a transcript")));
            }
        }
    }
    lines
}

fn of_transcript(text: &str) -> Vec<(String, i32)> {
    let mut lines = Vec::new();
    let mut rest = text.lines().peekable();
    while let Some(line) = rest.next() {
        let Some((_, command)) = line.strip_prefix("$ ").and_then(|line| line.split_once("pdctl")) else { continue };
        let mut words = command.split_whitespace().peekable();
        while words.next_if(|word| GLOBAL.contains(word)).is_some() {
            words.next();
        }
        let code = rest.peek().and_then(|next| next.strip_prefix("? ")).map_or(0, |code| code.parse().expect("a code"));
        lines.push((words.collect::<Vec<_>>().join(" "), code));
    }
    lines
}

#[test]
fn every_verb_is_shown_doing_what_it_should_and_failing() {
    let mut shown: BTreeMap<String, BTreeSet<i32>> = verbs().into_iter().map(|verb| (verb, BTreeSet::new())).collect();
    for (line, code) in lines() {
        for (verb, codes) in &mut shown {
            if line.strip_prefix(verb.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) {
                codes.insert(code);
            }
        }
    }
    // That no server answers is said by one place for all of them.
    let told = |codes: &BTreeSet<i32>| codes.iter().any(|code| ![0, 5].contains(code));
    for (verb, codes) in &shown {
        assert!(codes.contains(&0) || ENDLESS.contains(&verb.as_str()), "no transcript shows `pdctl {verb}` succeed");
        assert!(told(codes), "no transcript shows an error of `pdctl {verb}` but that of no server: {codes:?}");
    }
}

#[test]
fn every_exit_code_is_shown() {
    let output = assert_cmd::Command::cargo_bin("pdctl").expect("the binary").args(["help", "exit-codes"]).output();
    let documented = String::from_utf8(output.expect("it runs").stdout).expect("text");
    let code = |line: &str| line.split_whitespace().next()?.parse::<i32>().ok();
    let documented: BTreeSet<i32> = documented.lines().filter_map(code).filter(|code| *code != INTERRUPTED).collect();
    let shown: BTreeSet<i32> = lines().into_iter().map(|(_, code)| code).collect();
    assert!(documented.len() >= 10, "{documented:?}");
    assert_eq!(shown, documented);
}
