//! Fuzzing: the targets of `fuzz/`, built with coverage of our own crates and run, one on each core at a time.
//!
//! The ordinary compiler does it: coverage is a pass of LLVM's, libFuzzer comes with clang, and only a sanitizer would
//! need a nightly compiler. Only what is instrumented is compiled; all that we depend on is taken from the ordinary build.

use std::{
    env,
    ffi::OsString,
    fs,
    path::PathBuf,
    process::{self, Command},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command::{cargo, programs, root, run as run_command, target},
    setup,
};

/// The targets: examples of the package `fuzz`, each as `fuzz-NAME`.
const TARGETS: [&str; 9] =
    ["manifest", "document", "patch", "protobuf", "selectors", "query", "token", "index-set", "module"];
/// What is instrumented beside the targets: our crates that read what a stranger wrote.
const CRATES: [&str; 3] = ["schemas", "task_abi", "pd_apiserver"];
/// Coverage as libFuzzer reads it, and the checks of a debug build.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];
/// clang knows where its libFuzzer is, and what else that needs.
const LINKING: [&str; 2] = ["-Clinker=clang", "-Clink-arg=-fsanitize=fuzzer"];
/// Set for the compilations in which this program is cargo's compiler.
const WRAPPING: &str = "PD_FUZZ_COMPILING";
/// One input may take as long before it counts as a hang.
const INPUT_SECONDS_MAX: u32 = 10;
/// Memory of one target, in MiB.
const MEMORY_MIB_MAX: u32 = 2_048;

/// How long to fuzz, and what.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only these targets.
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
}

/// Builds the targets and runs them. What they find is a failure, and stays in `target/fuzz/found`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let is_chosen = |name: &&str| options.targets.is_empty() || options.targets.iter().any(|chosen| chosen == name);
    let names: Vec<&str> = TARGETS.into_iter().filter(is_chosen).collect();
    ensure!(
        setup::answers("clang", &["--version"]),
        "clang, whose libFuzzer is linked, is missing: `cargo xtask setup` installs it on Debian"
    );
    build(&names)?;
    println!("{:<12} {:>10} {:>12} {:>8}", "target", "inputs", "a second", "covered");
    let failures = fuzz_all(&names, options.seconds);
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// True when cargo calls this program as its compiler.
pub(crate) fn is_compiling() -> bool {
    env::var_os(WRAPPING).is_some()
}

/// Calls the compiler that cargo wanted to call, with coverage for the crates that get it.
pub(crate) fn compile() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next().context("a wrapper of the compiler is given the compiler")?;
    let arguments: Vec<OsString> = arguments.collect();
    let name = arguments.iter().skip_while(|argument| *argument != "--crate-name").nth(1);
    let name = name.map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_target = name.starts_with("fuzz_");
    let mut command = Command::new(&rustc);
    command.args(&arguments);
    if is_target || CRATES.contains(&&*name) {
        command.args(COVERAGE);
    }
    if is_target {
        command.args(LINKING);
    }
    let status = command.status().context("starting the compiler")?;
    // The compiler has said what is wrong.
    process::exit(status.code().unwrap_or(1));
}

/// The whole workspace is chosen so that every dependency has the features, and is the build, that it has anyway.
fn build(names: &[&str]) -> Result<()> {
    let own = env::current_exe().context("finding the running program's own path")?;
    let mut command = cargo()?;
    command.args(["build", "--release", "--workspace", "--features", "fuzz/libfuzzer"]);
    command.args(names.iter().flat_map(|name| ["--example".to_owned(), program(name)]));
    run_command(command.env("RUSTC_WORKSPACE_WRAPPER", own).env(WRAPPING, "1"))
}

fn program(name: &str) -> String {
    format!("fuzz-{name}")
}

/// Runs all of them, as many at a time as there are cores; what failed.
fn fuzz_all(names: &[&str], seconds: u32) -> Vec<String> {
    let (waiting, failures) = (Mutex::new(names.iter()), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        while let Some(name) = waiting.lock().ok().and_then(|mut names| names.next()) {
            match fuzz(name, seconds) {
                Ok(line) => println!("{line}"),
                Err(error) => failures.lock().expect("invariant: nobody panics holding it").push(format!("{error:#}")),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    failures.into_inner().expect("invariant: nobody panics holding it")
}

/// Runs one target; the line of its table.
fn fuzz(name: &str, seconds: u32) -> Result<String> {
    let folder = |part: &str| -> Result<PathBuf> {
        let folder = target()?.join("fuzz").join(part).join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    };
    let (corpus, found) = (folder("corpus")?, folder("found")?);
    let mut command = Command::new(programs()?.join("examples").join(program(name)));
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        format!("-artifact_prefix={}/", found.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    command.arg(&corpus).args(seeds(name)?);
    let output = command.output().with_context(|| format!("starting {}", program(name)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name}: an input fails; it is kept in {}: make a test of it\n{said}", found.display());
    }
    let inputs = figure(&said, "stat::number_of_executed_units:")?;
    let rate = figure(&said, "stat::average_exec_per_sec:")?;
    let covered = said.rsplit_once(" cov: ").and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("0");
    ensure!(covered != "0", "{name}: nothing is covered: it was built without coverage\n{said}");
    Ok(format!("{name:<12} {inputs:>10} {rate:>12} {covered:>8}"))
}

fn figure(said: &str, label: &str) -> Result<u64> {
    let value = said.split_once(label).and_then(|(_, rest)| rest.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no `{label}` in\n{said}"))
}

/// The folder of inputs to begin with, if there is one.
fn seeds(name: &str) -> Result<Option<PathBuf>> {
    let folder = match name {
        "manifest" => root().join("manifests"),
        "module" => target()?.join("tasks"),
        _ => root().join("fuzz/seeds").join(name),
    };
    Ok(Some(folder).filter(|folder| folder.is_dir()))
}
