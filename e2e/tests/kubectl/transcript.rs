//! The format of a transcript.
//!
//! ```text
//! # a comment
//! $ get nodes -o name          a command, its words as a shell would cut them; NAME=value before it is environment
//! $~ get jobs                  the same, repeated until it answers as it should
//! | kind: Job                  lines of its standard input
//! ? 1                          its exit code; 0 when nothing is said
//! > node/node-1                a text that its output or errors hold
//! ! node-9                     a text that they do not hold
//! ```

use std::{fmt, io::Write as _, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use e2e::Scenario;

/// One command and what it must answer.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Part and line where it stands.
    place: String,
    environment: Vec<(String, String)>,
    words: Vec<String>,
    input: String,
    code: i32,
    present: Vec<String>,
    absent: Vec<String>,
    /// Whether to try until it holds.
    pub(crate) is_eventual: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: kubectl {}", self.place, self.words.join(" "))
    }
}

/// Reads one part.
pub(crate) fn parse(part: &str, text: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let place = format!("{part}.txt:{}", at + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let "$" | "$~" = mark {
            steps.push(command(&place, rest, mark == "$~")?);
            continue;
        }
        let step = steps.last_mut().with_context(|| format!("{place}: there is no command yet"))?;
        match mark {
            "|" => step.input.extend([rest, "\n"]),
            "?" => step.code = rest.trim().parse().with_context(|| format!("{place}: not an exit code"))?,
            ">" => step.present.push(rest.to_owned()),
            "!" => step.absent.push(rest.to_owned()),
            _ => bail!("{place}: `{mark}` begins no line of a transcript"),
        }
    }
    Ok(steps)
}

fn command(place: &str, text: &str, is_eventual: bool) -> Result<Step> {
    let mut words = split(text).with_context(|| format!("{place}: a quote is open"))?;
    let is_variable = |word: &String| word.starts_with("KUBE") && word.contains('=');
    let count = words.iter().take_while(|word| is_variable(word)).count();
    let variables = words.drain(..count).filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let environment = variables.collect();
    Ok(Step { place: place.to_owned(), environment, words, is_eventual, ..Step::default() })
}

/// Words as a shell cuts them: single and double quotes keep blanks, nothing else is special.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    for character in text.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

impl Step {
    /// Runs it once and compares.
    pub(crate) fn run(&self, scenario: &Scenario) -> Result<()> {
        let mut command = scenario.kubectl_command();
        command.args(&self.words).envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting kubectl")?;
        // A command that fails early has closed its input: what it says counts, not the broken pipe.
        let _ = child.stdin.take().context("a pipe")?.write_all(self.input.as_bytes());
        let output = child.wait_with_output().context("waiting for kubectl")?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.code() == Some(self.code), "it ended with {} and said\n{said}", output.status);
        for text in &self.present {
            ensure!(said.contains(text.as_str()), "`{text}` is not in\n{said}");
        }
        for text in &self.absent {
            ensure!(!said.contains(text.as_str()), "`{text}` is in\n{said}");
        }
        Ok(())
    }
}

#[test]
fn words_are_cut_as_a_shell_cuts_them() {
    let words = split("auth can-i '*' \"a b\" --x='{.y}' ''").expect("closed quotes");
    assert_eq!(words, ["auth", "can-i", "*", "a b", "--x={.y}", ""]);
    assert_eq!(split("'open"), None);
}
