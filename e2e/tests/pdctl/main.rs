//! pdctl against a live cluster: transcripts of the verbs with their exit codes, on one cluster each.

mod transcripts;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::Scenario;

/// Long enough for a small job on a slow machine.
const JOB_TIME: Duration = Duration::from_mins(1);
/// Of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a command line said.
struct Said {
    stdout: String,
    stderr: String,
}

/// Runs pdctl and checks its exit code.
fn pdctl(scenario: &Scenario, code: i32, arguments: &[&str]) -> Result<Said> {
    let output = scenario.pdctl_output(arguments)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { stdout: text(&output.stdout), stderr: text(&output.stderr) };
    let shown = || format!("pdctl {}: {}\n{}{}", arguments.join(" "), output.status, said.stdout, said.stderr);
    ensure!(output.status.code() == Some(code), "exit code {code} expected; {}", shown());
    Ok(said)
}

fn holds(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "`{part}` is not in\n{text}");
    }
    Ok(())
}

/// A job of `count` subtasks that take `micros` each.
fn noop(name: &str, count: u32, micros: u32) -> String {
    format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  task:\n    name: noop\n    \
         params: {{count: {count}, spinMicros: {micros}}}\n"
    )
}

/// The commands of the first block under a heading of the README, without their comments.
fn commands_of_readme(heading: &str) -> Result<Vec<String>> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).context("reading the README")?;
    let section = readme.split(heading).nth(1).with_context(|| format!("the README has no `{heading}`"))?;
    let block = section.split("```").nth(1).context("no block of commands")?;
    let commands = block.lines().filter(|line| line.starts_with("pdctl "));
    Ok(commands.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_five_minutes_of_the_readme_do_what_they_say() -> Result<()> {
    let scenario = Scenario::start(3, 1).await?;
    let manifests = scenario.path("manifests");
    fs::create_dir(&manifests)?;
    fs::copy(Path::new(ROOT).join("manifests/mandelbrot.yaml"), manifests.join("mandelbrot.yaml"))?;
    let commands = commands_of_readme("## The first five minutes")?;
    ensure!(commands.len() >= 4, "{commands:?}");
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let said = pdctl(&scenario, 0, &words)?;
        match words.as_slice() {
            ["get", "nodes", ..] => ensure!(said.stdout.matches(" Ready").count() == 3, "{}", said.stdout),
            ["apply", ..] => ensure!(said.stdout == "job.processdistro.dev/mandelbrot created\n", "{}", said.stdout),
            ["wait", ..] => ensure!(said.stdout == "job.processdistro.dev/mandelbrot complete\n", "{}", said.stdout),
            _ => {}
        }
    }
    let picture = fs::read(scenario.path("mandelbrot.png")).context("the picture")?;
    ensure!(picture.starts_with(b"\x89PNG"), "it is no picture");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_looked_at_and_its_outputs_are_fetched() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    let params = r#"{"count":20,"outputBytes":8,"failIndexes":"3","failKind":"panic"}"#;
    pdctl(&scenario, 0, &["run", "noop", "--name", "x", "--params", params, "--retries", "1", "--detach"])?;
    let followed = pdctl(&scenario, 0, &["logs", "job/x", "-f"])?;
    holds(&followed.stdout, &["[3 node-", "panicked"])?;
    holds(&followed.stderr, &["job/x is failed"])?;
    let waited = pdctl(&scenario, 8, &["wait", "job/x"])?;
    ensure!(waited.stdout == "job.processdistro.dev/x failed\n", "{}", waited.stdout);

    holds(
        &pdctl(&scenario, 0, &["why", "job/x"])?.stdout,
        &["job/x failed:", "indexes 3", "next: pdctl logs job/x --failed"],
    )?;
    holds(&pdctl(&scenario, 0, &["why", "node/node-0"])?.stdout, &["node/node-0 is "])?;
    holds(&pdctl(&scenario, 0, &["top", "nodes"])?.stdout, &["NAME", "SLOTS", "node-0", "node-1", "Ready"])?;
    holds(&pdctl(&scenario, 0, &["top", "jobs"])?.stdout, &["x ", "Failed"])?;
    let described = pdctl(&scenario, 0, &["describe", "job/x"])?;
    holds(&described.stdout, &["Name:         x", "Events:"])?;
    let json = pdctl(&scenario, 0, &["events", "job/x", "-o", "json"])?;
    serde_json::from_str::<serde_json::Value>(&json.stdout).context("events as JSON")?;

    pdctl(&scenario, 0, &["results", "job/x", "--index", "7", "-o", "seven"])?;
    ensure!(fs::read(scenario.path("seven"))?.len() == 8, "an output of 8 bytes");
    pdctl(&scenario, 0, &["results", "job/x", "--all", "-o", "outputs"])?;
    ensure!(fs::read_dir(scenario.path("outputs"))?.count() == 19, "all outputs but the failed one");
    holds(&pdctl(&scenario, 3, &["results", "job/x", "--index", "3"])?.stderr, &["no output of 3: 3 failed"])?;
    holds(&pdctl(&scenario, 3, &["results", "job/x", "--index", "99"])?.stderr, &["has indexes 0 to 19, not 99"])?;
    holds(&pdctl(&scenario, 8, &["results", "job/x"])?.stderr, &["it has no result"])?;

    pdctl(&scenario, 0, &["trace", "job/x", "-o", "x.trace.json"])?;
    let trace: serde_json::Value = serde_json::from_str(&fs::read_to_string(scenario.path("x.trace.json"))?)?;
    ensure!(trace["traceEvents"].as_array().is_some_and(|events| events.iter().any(|e| e["ph"] == "X")), "{trace}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_suspended_resumed_cancelled_and_run_again() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    scenario.write("long.yaml", noop("long", 2000, 20_000))?;
    pdctl(&scenario, 0, &["apply", "-f", "long.yaml"])?;
    let started = |job: &schemas::Job| job.status.as_ref().is_some_and(|status| status.subtasks.succeeded > 0);
    scenario.until_job("long", "to have begun", JOB_TIME, started).await?;
    let said = pdctl(&scenario, 0, &["suspend", "job/long"])?;
    ensure!(said.stdout == "job.processdistro.dev/long suspended\n", "{}", said.stdout);
    ensure!(pdctl(&scenario, 0, &["suspend", "long"])?.stdout.contains("already suspended"));
    pdctl(&scenario, 0, &["wait", "job/long", "--for=condition=Suspended", "--timeout", "60s"])?;
    holds(
        &pdctl(&scenario, 0, &["why", "job/long"])?.stdout,
        &["is suspended by its user", "next: pdctl resume job/long"],
    )?;
    holds(&pdctl(&scenario, 7, &["wait", "job/long", "--timeout", "1s"])?.stderr, &["gave up after 1s"])?;
    pdctl(&scenario, 0, &["resume", "job/long"])?;
    let before = scenario.job("long").await?.status.map_or(0, |status| status.subtasks.succeeded);
    let goes_on = |job: &schemas::Job| job.status.as_ref().is_some_and(|status| status.subtasks.succeeded > before);
    scenario.until_job("long", "to go on", JOB_TIME, goes_on).await?;

    pdctl(&scenario, 0, &["cancel", "job/long"])?;
    holds(&pdctl(&scenario, 8, &["wait", "job/long", "--timeout", "60s"])?.stderr, &["Cancelled"])?;
    holds(&pdctl(&scenario, 1, &["resume", "job/long"])?.stderr, &["job/long has ended", "pdctl rerun job/long"])?;

    scenario.write("short.yaml", noop("short", 5, 0))?;
    pdctl(&scenario, 0, &["apply", "-f", "short.yaml", "--wait", "--timeout", "60s"])?;
    let again = pdctl(&scenario, 0, &["rerun", "job/short", "--wait", "--timeout", "60s"])?;
    ensure!(again.stdout.lines().count() == 2 && again.stdout.contains("/short-"), "{}", again.stdout);
    pdctl(&scenario, 6, &["rerun", "job/short", "--name", "short"])?;
    holds(&pdctl(&scenario, 3, &["rerun", "job/shrot"])?.stderr, &["did you mean `short`?"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_subtasks_are_retried_once_what_made_them_fail_is_mended() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    let job = "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  subtaskTimeout: 100ms\n  \
               backoffLimitPerIndex: 0\n  task: {name: noop, params: {count: 6, spinMicros: 400000}}\n";
    scenario.write("x.yaml", job)?;
    pdctl(&scenario, 0, &["apply", "-f", "x.yaml"])?;
    pdctl(&scenario, 8, &["wait", "job/x", "--timeout", "60s"])?;
    holds(&pdctl(&scenario, 1, &["retry", "job/x", "--indexes", "5-7"])?.stderr, &["6-7", "has not failed", "0-5"])?;

    pdctl(&scenario, 0, &["patch", "job/x", "-p", "{spec: {subtaskTimeout: 30s}}"])?;
    let said = pdctl(&scenario, 8, &["retry", "job/x", "--indexes", "1-2", "--wait", "--timeout", "60s"])?;
    ensure!(said.stdout.starts_with("job.processdistro.dev/x retries 2 subtasks\n"), "{}", said.stdout);
    let status = scenario.job("x").await?.status.context("a status")?;
    let (done, failed) = (status.completed_indexes.to_string(), status.failed_indexes.to_string());
    ensure!((done.as_str(), failed.as_str()) == ("1-2", "0,3-5"), "done {done}, failed {failed}");

    let said = pdctl(&scenario, 0, &["retry", "job/x", "--failed", "--wait", "--timeout", "60s"])?;
    ensure!(said.stdout.ends_with("job.processdistro.dev/x complete\n"), "{}", said.stdout);
    let status = scenario.job("x").await?.status.context("a status")?;
    ensure!(status.subtasks.succeeded == 6 && status.retried.is_some_and(|retried| retried.round == 2));
    holds(&pdctl(&scenario, 1, &["retry", "job/x"])?.stderr, &["job/x is complete", "pdctl rerun job/x"])?;
    holds(
        &pdctl(&scenario, 0, &["events", "job/x"])?.stdout,
        &["Retried", "4 failed subtasks are tried again, as round 2 asks"],
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_says_how_it_ended() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    scenario.write("long.yaml", noop("long", 100_000, 20_000))?;
    pdctl(&scenario, 0, &["apply", "-f", "long.yaml"])?;
    let (waited, deleted) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pdctl(&scenario, 3, &["wait", "job/long", "--timeout", "60s"]));
        let deleted = pdctl(&scenario, 0, &["delete", "job/long"]);
        (waiting.join(), deleted)
    });
    deleted?;
    let waited = waited.map_err(|_| anyhow::anyhow!("the waiting thread panicked"))??;
    ensure!(waited.stdout.is_empty() || waited.stdout.contains("long deleted"), "{}", waited.stdout);

    pdctl(&scenario, 0, &["cordon", "node-0"])?;
    scenario.write("stuck.yaml", noop("stuck", 5, 0))?;
    pdctl(&scenario, 0, &["apply", "-f", "stuck.yaml"])?;
    let stuck = pdctl(&scenario, 9, &["wait", "job/stuck", "--timeout", "2s"])?;
    holds(&stuck.stderr, &["cannot be scheduled"])?;
    holds(&pdctl(&scenario, 0, &["why", "job/stuck"])?.stdout, &["node-0 is cordoned"])?;
    holds(
        &pdctl(&scenario, 0, &["why", "node/node-0"])?.stdout,
        &["gets no more work", "next: pdctl uncordon node-0"],
    )?;
    pdctl(&scenario, 0, &["uncordon", "node-0"])?;
    pdctl(&scenario, 0, &["wait", "job/stuck", "--timeout", "60s"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_apply_would_do_is_said_before_and_changes_are_made_in_place() -> Result<()> {
    let scenario = Scenario::start(1, 2).await?;
    scenario.write("job.yaml", noop("x", 5, 0))?;
    let planned = pdctl(&scenario, 0, &["plan", "-f", "job.yaml"])?;
    holds(&planned.stdout, &["would be created", "2 slots on 1 node: node-0", "no node has run this component yet"])?;
    let diff = pdctl(&scenario, 1, &["diff", "-f", "job.yaml"])?;
    holds(&diff.stdout, &["+++ applied/job.processdistro.dev/x", "+kind: Job"])?;
    pdctl(&scenario, 0, &["create", "-f", "job.yaml"])?;
    holds(&pdctl(&scenario, 6, &["create", "-f", "job.yaml"])?.stderr, &["already exists"])?;
    pdctl(&scenario, 0, &["wait", "job/x", "--timeout", "60s"])?;
    pdctl(&scenario, 0, &["apply", "-f", "job.yaml"])?;
    ensure!(pdctl(&scenario, 0, &["diff", "-f", "job.yaml"])?.stdout.is_empty(), "applied is no difference");

    scenario.write("again.yaml", noop("y", 5, 0))?;
    let planned = pdctl(&scenario, 0, &["plan", "-f", "again.yaml"])?;
    holds(&planned.stdout, &["5 subtasks, as a job with the same work had"])?;

    pdctl(&scenario, 0, &["patch", "job/x", "-p", "{metadata: {labels: {team: a}}}"])?;
    let label = pdctl(&scenario, 0, &["get", "job/x", "-o", "jsonpath={.metadata.labels.team}"])?;
    ensure!(label.stdout == "a", "{}", label.stdout);
    let editor = scenario.write("editor.sh", "sed -i 's/team: a/team: b/' \"$1\"\n")?;
    let kubeconfig = scenario.pdctl_output(&["config", "view", "--raw"])?.stdout;
    scenario.write("kc", kubeconfig)?;
    let edited = edit(&scenario, &format!("sh {editor}"))?;
    ensure!(edited == "job.processdistro.dev/x edited\n", "{edited}");
    let label = pdctl(&scenario, 0, &["get", "job/x", "-o", "jsonpath={.metadata.labels.team}"])?;
    ensure!(label.stdout == "b", "{}", label.stdout);
    Ok(())
}

/// `pdctl edit job/x` with an editor of our own.
fn edit(scenario: &Scenario, editor: &str) -> Result<String> {
    let program = e2e::binaries::Binaries::locate()?.program("pdctl");
    let mut command = std::process::Command::new(program);
    command.args(["edit", "job/x", "--kubeconfig", "kc"]).current_dir(scenario.folder()).env("PDCTL_EDITOR", editor);
    let output = command.output().context("running pdctl edit")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_looked_at() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    holds(&pdctl(&scenario, 0, &["auth", "whoami"])?.stdout, &["Username", "processdistro:admins"])?;
    ensure!(pdctl(&scenario, 0, &["auth", "can-i", "create", "jobs"])?.stdout == "yes\n");
    holds(&pdctl(&scenario, 0, &["certs"])?.stdout, &["ca ", "client ", "server ", "127.0.0.1"])?;
    let doctor = pdctl(&scenario, 0, &["doctor"])?;
    holds(&doctor.stdout, &["clock", "agree", "1 node, all ready", "credential"])?;
    holds(&pdctl(&scenario, 0, &["metrics"])?.stdout, &["METRIC", "counter"])?;
    holds(&pdctl(&scenario, 0, &["explain", "task/mandelbrot"])?.stdout, &["PARAMS", "maxIterations <integer>"])?;

    pdctl(&scenario, 0, &["init", "noop", "--name", "made", "-o", "made.yaml"])?;
    pdctl(&scenario, 0, &["validate", "made.yaml"])?;
    pdctl(&scenario, 0, &["apply", "-f", "made.yaml", "--wait", "--timeout", "60s"])?;
    let schema = fs::read_to_string(scenario.path("made.schema.json"))?;
    holds(&schema, &["spinMicros"])?;
    holds(&pdctl(&scenario, 1, &["init", "noop", "-o", "made.yaml"])?.stderr, &["exists", "--force"])?;

    let view = pdctl(&scenario, 0, &["token", "create", "--role", "View"])?;
    let raw = scenario.pdctl(&["config", "view", "--raw", "-o", "json"])?;
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&raw)?;
    kubeconfig["users"][0]["user"] = serde_json::json!({"token": view.stdout.trim()});
    scenario.write("viewer", kubeconfig.to_string())?;
    let refused = pdctl(&scenario, 4, &["--kubeconfig", "viewer", "auth", "can-i", "create", "jobs"])?;
    ensure!(refused.stdout == "no\n", "{}", refused.stdout);
    let patch = ["--kubeconfig", "viewer", "patch", "job/made", "-p", "{metadata: {labels: {a: b}}}"];
    pdctl(&scenario, 4, &patch)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_only_the_server_can_refuse_are_refused_with_what_they_promise() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    scenario.write("noop.yaml", noop("noop", 1, 0))?;
    pdctl(&scenario, 0, &["apply", "-f", "noop.yaml"])?;
    let mut checked = 0;
    for entry in fs::read_dir(Path::new(ROOT).join("manifests/invalid"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        if !text.contains("\n# decided-by: ") {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?.to_owned();
        scenario.write(&name, &text)?;
        let output = scenario.pdctl_output(&["apply", "-f", &name])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{name} was taken");
        for promise in text.lines().filter_map(|line| line.strip_prefix("# expect: ")) {
            ensure!(said.contains(promise), "{name}: `{promise}` is not in\n{said}");
        }
        checked += 1;
    }
    ensure!(checked >= 4, "only {checked} manifests are decided by the server");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_subtask_is_replayed_on_this_machine() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    let params = r#"{"count":5,"outputBytes":16,"failIndexes":"3","failKind":"panic"}"#;
    pdctl(&scenario, 0, &["run", "noop", "--name", "x", "--params", params, "--retries", "0", "--detach"])?;
    pdctl(&scenario, 8, &["wait", "job/x", "--timeout", "60s"])?;
    let failed = pdctl(&scenario, 8, &["replay", "job/x", "--index", "3", "--json"])?;
    let outcome: serde_json::Value = serde_json::from_str(&failed.stdout).context("the replay's JSON")?;
    ensure!(outcome["outcome"] == "Trap", "{outcome}");
    pdctl(&scenario, 0, &["replay", "job/x", "--index", "2", "-o", "replayed"])?;
    pdctl(&scenario, 0, &["results", "job/x", "--index", "2", "-o", "stored"])?;
    ensure!(fs::read(scenario.path("replayed"))? == fs::read(scenario.path("stored"))?, "the bytes differ");
    holds(&pdctl(&scenario, 3, &["replay", "job/x", "--index", "9"])?.stderr, &["has indexes 0 to 4, not 9"])?;
    Ok(())
}
