//! Tasks in other languages: each example is built by its documented command and run as a Job.
//!
//! What a build needs is installed into the scenario's folder by the language's own installer.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    Scenario,
    reference::{has, missing, works},
};

const JOB_TIME: Duration = Duration::from_mins(5);
/// Primes below 20,000, which all three count.
const PRIMES: &str = "2262\n";

fn example(language: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../wasm_tasks/examples")).join(language)
}

/// Builds an example; what cannot be built although its tools are there is a failure.
fn build(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Pushes the component `primes.wasm` of the scenario's folder, runs it, and compares the result.
async fn run(scenario: &Scenario, language: &str, memory: &str, isolation: &str) -> Result<()> {
    scenario.pdctl(&["push", "primes.wasm"])?;
    let manifest = format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: {language}}}\nspec:\n  \
         resources: {{memory: {memory}}}\n  sandbox: {{isolation: {isolation}}}\n  \
         task: {{name: primes-{language}, params: {{limit: 20000, chunk: 2500}}}}\n"
    );
    scenario.write("job.yaml", manifest)?;
    scenario.pdctl(&["apply", "-f", "job.yaml"])?;
    scenario.until_complete(language, JOB_TIME).await?;
    scenario.pdctl(&["results", &format!("job/{language}"), "-o", "primes.txt"])?;
    let counted = std::fs::read_to_string(scenario.path("primes.txt"))?;
    ensure!(counted == PRIMES, "{language} counted {counted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_c_runs() -> Result<()> {
    let compilers = ["clang", "clang-19", "clang-16", "clang-14"];
    let is_there = |name: &&&str| Command::new(**name).arg("--version").output().is_ok_and(|o| o.status.success());
    let Some(compiler) = compilers.iter().find(is_there) else {
        missing("clang", "none of its names answers");
        return Ok(());
    };
    if !has("wasm-ld") {
        return Ok(());
    }
    let scenario = Scenario::start(1, 1).await?;
    let flags = ["--target=wasm32", "-O3", "-msimd128", "-nostdlib", "-Wl,--no-entry", "-Wall", "-Werror"];
    let source = example("c").join("primes.c");
    build(Command::new(compiler).args(flags).arg(source).arg("-o").arg(scenario.path("primes.wasm")))?;
    run(&scenario, "c", "16Mi", "Subtask").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_python_runs() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let venv = scenario.path("venv");
    let made = works(Command::new("python3").arg("-m").arg("venv").arg(&venv), "Python with venv")
        && works(
            Command::new(venv.join("bin/pip")).args(["install", "--quiet", "componentize-py==0.25.1"]),
            "componentize-py from PyPI",
        );
    if !made {
        return Ok(());
    }
    let script = example("python").join("build.py");
    build(Command::new(venv.join("bin/python")).arg(script).arg(scenario.path("primes.wasm")))?;
    // Its start costs a millisecond, so that an instance is worth keeping.
    run(&scenario, "python", "256Mi", "Batch").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_javascript_runs() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    scenario.write("package.json", "{}")?;
    let install = ["install", "--no-audit", "--no-fund", "componentize-qjs@0.4.5"];
    if !has("node")
        || !works(Command::new("npm").args(install).current_dir(scenario.folder()), "componentize-qjs from npm")
    {
        return Ok(());
    }
    let script = example("javascript").join("build.mjs");
    build(Command::new("node").arg(script).arg("primes.wasm").current_dir(scenario.folder()))?;
    run(&scenario, "javascript", "64Mi", "Subtask").await
}
