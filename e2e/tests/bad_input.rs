//! Bad input gets a clear error, a non-zero exit, and changes nothing.

use anyhow::{Context, Result, ensure};
use e2e::Scenario;
use kube::{Api, api::ListParams};
use schemas::Job;

/// A manifest, and what the message must say.
const MANIFESTS: [(&str, &str, &[&str]); 8] = [
    ("malformed.yaml", "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x\n", &["malformed.yaml:"]),
    (
        "duplicate.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task: {name: noop}\n  task: {name: noop}\n",
        &["duplicate.yaml:6", "task"],
    ),
    (
        "unknown-field.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task: {name: noop}\n  paralelism: 3\n",
        &["unknown-field.yaml:6", "paralelism", "parallelism"],
    ),
    (
        "wrong-type.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task: {name: noop}\n  parallelism: many\n",
        &["wrong-type.yaml:6", "spec.parallelism"],
    ),
    (
        "params.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task:\n    name: mandelbrot\n    params: {width: wide}\n",
        &["params.yaml:7", "width"],
    ),
    (
        "unknown-task.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task: {name: mandelbort}\n",
        &["unknown-task.yaml:5", "mandelbort", "mandelbrot"],
    ),
    (
        "missing-input.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task:\n    name: password-hash\n    params: {algorithm: sha256}\n    inputs: {candidates: nowhere.txt}\n",
        &["missing-input.yaml:8", "nowhere.txt"],
    ),
    (
        "no-input.yaml",
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task:\n    name: password-hash\n    params: {algorithm: sha256}\n",
        &["candidates"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused_with_their_place_and_store_nothing() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    for (name, manifest, expected) in MANIFESTS {
        scenario.write(name, manifest)?;
        let output = scenario.pdctl_output(&["apply", "-f", name])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{name} was taken");
        for text in expected {
            ensure!(said.contains(text), "{name}: `{text}` is not in\n{said}");
        }
    }
    let jobs: Api<Job> = Api::all(scenario.client());
    ensure!(jobs.list(&ListParams::default()).await?.items.is_empty(), "something was stored");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_task_is_refused() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let text = scenario.write("text.wasm", "this is a text")?;
    let empty_component = scenario.write("empty.wasm", b"\0asm\x0d\0\x01\0")?;
    for (file, expected) in [(text, "WebAssembly"), (empty_component, "processdistro:task")] {
        let output = scenario.pdctl_output(&["push", &file, "--name", "bad"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(expected), "{file}: {said}");
    }
    let missing = scenario.pdctl_output(&["get", "task", "bad"])?;
    ensure!(missing.status.code() == Some(3), "a Task was stored");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_and_a_stale_version_are_refused() -> Result<()> {
    let mut scenario = Scenario::start(1, 1).await?;
    let kubeconfig = std::fs::read_to_string(scenario.cluster().kubeconfig())?;
    let with_token: String = kubeconfig
        .lines()
        .filter(|line| !line.contains("client-key-data"))
        .map(|line| match line.split_once("client-certificate-data:") {
            Some((indent, _)) => format!("{indent}token: nobody.knowsthissecret\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let path = scenario.write("bad-token.kubeconfig", with_token)?;
    let output = scenario.pdctl_output(&["--kubeconfig", &path, "get", "jobs"])?;
    ensure!(output.status.code() == Some(4), "{}", String::from_utf8_lossy(&output.stderr));

    scenario.pdctl(&["run", "noop", "--name", "stale", "--params", r#"{"count":1}"#, "--detach"])?;
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    let mut job = jobs.get("stale").await?;
    job.metadata.resource_version = Some("1".to_owned());
    job.spec.parallelism = Some(1);
    let error = jobs.replace("stale", &kube::api::PostParams::default(), &job).await.expect_err("it is stale");
    ensure!(matches!(&error, kube::Error::Api(status) if status.code == 409), "{error}");
    let kept = jobs.get("stale").await.context("getting it again")?;
    ensure!(kept.spec.parallelism.is_none(), "it was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_guest_are_told_with_their_index_and_text() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let params = r#"{"count":10,"failIndexes":"3","failKind":"panic"}"#;
    let manifest = format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: failing}}\nspec:\n  backoffLimitPerIndex: 1\n  task:\n    name: noop\n    params: {params}\n"
    );
    scenario.write("failing.yaml", manifest)?;
    scenario.pdctl(&["apply", "-f", "failing.yaml"])?;
    let waited = scenario.pdctl_output(&["wait", "job/failing", "--timeout", "60s"])?;
    ensure!(waited.status.code() == Some(8), "{}", String::from_utf8_lossy(&waited.stderr));
    let status = scenario.job("failing").await?.status.context("a status")?;
    ensure!(status.failed_indexes.to_string() == "3" && status.subtasks.succeeded == 9, "{status:?}");
    ensure!(status.retries == 1, "{} retries", status.retries);
    let logs = scenario.pdctl(&["logs", "job/failing", "--index", "3"])?;
    ensure!(logs.contains("panicked"), "{logs}");
    Ok(())
}
