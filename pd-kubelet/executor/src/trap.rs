//! Why a guest was stopped, in words for its author.
//!
//! In: wasmtime's error and the last error the guest logged. Out: a text with the panic's message and the
//! guest's own frames, or the outcome that a typed error stands for; and the limit that was met.

use std::fmt::Write;

use executor_protocol::{Limit, Outcome};
use wasmtime::{Error, FrameInfo, Trap, WasmBacktrace};

use crate::host::Breach;
use crate::limits::{OutOfMemory, OutOfTables};
use crate::log::cut;

/// Frames shown of a trap; deeper ones repeat or are the caller's.
const FRAMES_MAX: usize = 16;
/// A text for a person, not a core dump.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Where a frame is not the author's: the language's runtime, the allocator, generated glue.
const FOREIGN: [&str; 18] = [
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "dlmalloc",
    "<dlmalloc",
    "compiler_builtins",
    "hashbrown",
    "wit_bindgen",
    "task_sdk",
    "processdistro:",
    "rust_",
    "__rust",
    "__wasm",
    "_rust",
    "cabi_",
];

/// When the guest failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// While it was made ready to be called.
    Instantiate,
    /// In the call or when its answer was taken over.
    Call,
}

/// Bytes that a guest may hand over, for the texts about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// As its answer.
    pub(crate) output_max: u64,
    /// In one call of a host function.
    pub(crate) call_max: u64,
}

/// The outcome that an error stands for, and the limit that was met.
pub(crate) fn outcome<T>(
    error: &Error,
    stage: Stage,
    last_error: Option<&str>,
    bytes: Bytes,
) -> (Outcome<T>, Option<Limit>) {
    if let Some(error) = error.downcast_ref::<OutOfMemory>() {
        return (Outcome::OutOfMemory(error.to_string()), Some(Limit::Memory));
    }
    if let Some(error) = error.downcast_ref::<OutOfTables>() {
        return (Outcome::OutOfMemory(error.to_string()), Some(Limit::Tables));
    }
    match error.downcast_ref::<Breach>() {
        Some(Breach::Contract(text)) => return (Outcome::InvalidOutput(text.clone()), None),
        Some(breach @ Breach::Found) => return (Outcome::InvalidOutput(breach.to_string()), Some(Limit::Found)),
        Some(breach @ Breach::Read(source)) => return (Outcome::Retryable(format!("{breach}: {source}")), None),
        None => {}
    }
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let trap = error.downcast_ref::<Trap>();
    let cause = error.root_cause().to_string();
    let is_too_much = cause.contains("too much data is being copied");
    if trap.is_none() && frames.is_empty() && stage == Stage::Call {
        return if is_too_much {
            let text = format!("the output is larger than the limit of {} bytes", bytes.output_max);
            (Outcome::InvalidOutput(text), Some(Limit::Output))
        } else {
            (Outcome::InvalidOutput(format!("the task's answer does not follow the contract: {cause}")), None)
        };
    }
    let (mut text, limit) = match (trap, stage) {
        (Some(Trap::StackOverflow), _) => (trap_text(Trap::StackOverflow, last_error), Some(Limit::Stack)),
        (Some(trap), _) => (trap_text(*trap, last_error), None),
        (None, Stage::Call) if is_too_much => {
            let text = format!("the task handed the host more than {} bytes in one call", bytes.call_max);
            (text, Some(Limit::HostCall))
        }
        (None, Stage::Call) => (format!("the task called the host wrongly: {cause}"), None),
        (None, Stage::Instantiate) => {
            let limit = cause.contains("resource limit exceeded").then_some(Limit::Instances);
            (format!("the task could not be started: {error:#}"), limit)
        }
    };
    own_frames(frames, &mut text);
    (Outcome::Trap(cut(&text, TEXT_BYTES_MAX).to_owned()), limit)
}

fn trap_text(trap: Trap, last_error: Option<&str>) -> String {
    let what = match (trap, last_error) {
        (Trap::UnreachableCodeReached, Some(message)) => return format!("the task panicked: {message}"),
        (Trap::UnreachableCodeReached, None) => "it reached code that must not be reached, as a panic does",
        (Trap::StackOverflow, _) => "its stack overflowed: a recursion without end, or one that goes too deep",
        (Trap::MemoryOutOfBounds, _) => {
            "it went outside its memory; a recursion that goes too deep can look like this, too"
        }
        (other, _) => &other.to_string(),
    };
    let mut text = format!("the task trapped: {what}");
    if let Some(message) = last_error {
        let _ = write!(text, "; the last error it logged: {message}");
    }
    text
}

/// Appends the frames that are the author's own; where there is none, the innermost ones as they are.
fn own_frames(frames: &[FrameInfo], text: &mut String) {
    let lines: Vec<(String, Option<String>)> = frames.iter().flat_map(lines_of).collect();
    let own: Vec<_> = lines.iter().filter(|(name, _)| !is_foreign(name)).collect();
    let shown: Vec<_> = if own.is_empty() { lines.iter().take(3).collect() } else { own };
    for (name, place) in shown.iter().take(FRAMES_MAX) {
        let _ = write!(text, "\n  at {name}");
        if let Some(place) = place {
            let _ = write!(text, " ({place})");
        }
    }
    if shown.len() > FRAMES_MAX {
        let _ = write!(text, "\n  and {} more frames", shown.len() - FRAMES_MAX);
    }
}

/// A frame's functions, inlined ones first: name and, with line tables, file and line.
fn lines_of(frame: &FrameInfo) -> Vec<(String, Option<String>)> {
    let whole = || frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangled);
    if frame.symbols().is_empty() {
        return vec![(whole(), None)];
    }
    let symbols = frame.symbols().iter();
    symbols
        .map(|symbol| {
            let place = symbol.file().map(|file| match symbol.line() {
                Some(line) => format!("{file}:{line}"),
                None => file.to_owned(),
            });
            (symbol.name().map_or_else(whole, demangled), place)
        })
        .collect()
}

fn demangled(name: &str) -> String {
    // The alternate form leaves out the hash at the end.
    format!("{:#}", rustc_demangle::demangle(name))
}

fn is_foreign(name: &str) -> bool {
    // The SDK's macro puts its glue into the author's crate.
    FOREIGN.iter().any(|start| name.starts_with(start)) || name.contains("::task_export::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_by_its_message() {
        let text = trap_text(Trap::UnreachableCodeReached, Some("panicked at a.rs:1:\nboom"));
        assert_eq!(text, "the task panicked: panicked at a.rs:1:\nboom");
        let text = trap_text(Trap::IntegerDivisionByZero, Some("odd"));
        assert!(text.contains("divide by zero") && text.ends_with("the last error it logged: odd"), "{text}");
    }

    #[test]
    fn names_are_demangled_and_runtimes_known() {
        assert_eq!(demangled("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert!(is_foreign("<noop::task_export::Export as task_sdk::bindings::Guest>::run"));
        assert!(!is_foreign("<noop::Noop as task_sdk::Task>::run"));
        assert!(is_foreign("core::panicking::panic") && !is_foreign("mandelbrot::tile"));
    }

    #[test]
    fn an_error_without_frames_is_the_answers_fault_only_after_a_call() {
        let error = Error::msg("string is not UTF-8");
        let bytes = Bytes { output_max: 1, call_max: 1 };
        assert!(matches!(outcome::<()>(&error, Stage::Call, None, bytes), (Outcome::InvalidOutput(_), None)));
        assert!(matches!(outcome::<()>(&error, Stage::Instantiate, None, bytes), (Outcome::Trap(_), None)));
        let error = Error::msg("resource limit exceeded: instance count too high at 65");
        let (_, limit) = outcome::<()>(&error, Stage::Instantiate, None, bytes);
        assert_eq!(limit, Some(Limit::Instances));
    }
}
