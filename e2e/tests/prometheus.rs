//! A real Prometheus scrapes a live cluster and answers queries; promtool accepts our pages, rules and examples.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline, process::Process, reference::has_prometheus, scenario::text, scrape};
use k8s_openapi::ByteString;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

/// From Prometheus' start to its having scraped everything twice, on the reference machine.
const SCRAPE_TIME: Duration = Duration::from_secs(40);
/// For the job whose figures are asked for.
const JOB_TIME: Duration = Duration::from_mins(1);
/// For a process that was asked to end.
const END_TIME: Duration = Duration::from_secs(10);
/// Subtasks of that job.
const SUBTASKS: u64 = 1000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/monitoring")
}

fn promtool(arguments: &[&str]) -> Result<()> {
    let output = Command::new("promtool").args(arguments).current_dir(folder()).output().context("running promtool")?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "promtool {}: {}\n{out}{errors}", arguments.join(" "), output.status);
    Ok(())
}

/// `promtool check metrics` of a page.
fn check_page(of: &str, page: &str) -> Result<()> {
    let mut command = Command::new("promtool");
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut promtool = command.stderr(Stdio::piped()).spawn().context("starting promtool")?;
    promtool.stdin.take().context("promtool has no input")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaints.is_empty(), "the page of {of}: {complaints}\n{page}");
    Ok(())
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_and_the_example() -> Result<()> {
    if !has_prometheus() {
        return Ok(());
    }
    promtool(&["check", "rules", "alerts.yml"])?;
    promtool(&["test", "rules", "alerts_test.yml"])?;
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"])
}

/// The texts of all queries in the dashboard.
fn dashboard_queries() -> Result<Vec<String>> {
    let text = fs::read(folder().join("grafana-dashboard.json")).context("reading the dashboard")?;
    let dashboard: Value = serde_json::from_slice(&text).context("the dashboard is not JSON")?;
    let panels = dashboard["panels"].as_array().context("the dashboard has no panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<String> = targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect();
    ensure!(queries.len() >= panels.len(), "a panel of the dashboard shows nothing");
    Ok(queries)
}

/// Names of metrics of ours in a text.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| ["pd_apiserver_", "pd_reconciler_", "pd_kubelet_"].iter().any(|p| word.starts_with(p)))
        .collect()
}

/// Certificate and key of a kubeconfig, as files.
fn client_certificate(scenario: &Scenario, kubeconfig: &Path) -> Result<(String, String)> {
    let user = Kubeconfig::read_from(kubeconfig)?.auth_infos.pop().and_then(|named| named.auth_info);
    let user = serde_json::to_value(user.context("a kubeconfig without a user")?)?;
    let file = |field: &str, name: &str| -> Result<String> {
        let bytes: ByteString = serde_json::from_value(user[field].clone()).with_context(|| format!("no {field}"))?;
        scenario.write(name, bytes.0)
    };
    Ok((file("client-certificate-data", "client.crt")?, file("client-key-data", "client.key")?))
}

/// Prometheus over one cluster; it ends with this.
struct Prometheus {
    process: Process,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Err(error) = self.process.end(END_TIME) {
            eprintln!("Prometheus does not end: {error:#}");
        }
    }
}

impl Prometheus {
    fn start(scenario: &Scenario, scrapes: &[Value]) -> Result<Self> {
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [text(&folder().canonicalize()?.join("alerts.yml"))?],
            "scrape_configs": scrapes,
        });
        // YAML is a superset of JSON.
        let config = scenario.write("prometheus.yml", config.to_string())?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new("prometheus");
        command
            .args(["--config.file", &config, "--log.level=warn"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--storage.tsdb.path")
            .arg(scenario.path("prometheus-data"));
        Ok(Self { process: Process::start(&mut command, &scenario.path("prometheus.log"))?, port })
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = scrape::get(self.port, path).await?;
        let value: Value = serde_json::from_str(&answer.text)
            .with_context(|| format!("Prometheus answered {}: {}", answer.code, answer.text))?;
        ensure!(value["status"] == "success", "Prometheus answered {value} to {path}");
        Ok(value["data"].clone())
    }

    /// The samples that a query has now.
    async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.get(&format!("/api/v1/query?query={encoded}")).await?;
        data["result"].as_array().cloned().context("a result that is no list")
    }

    /// The one number that a query has now; none without samples.
    async fn number(&self, query: &str) -> Result<Option<f64>> {
        let samples = self.query(query).await?;
        Ok(samples.first().and_then(|sample| sample["value"][1].as_str()?.parse().ok()))
    }

    /// Waits until a query has a number that `is_right`.
    async fn until(&self, query: &str, is_right: impl Fn(f64) -> bool) -> Result<f64> {
        deadline::until(&format!("`{query}` to be right"), SCRAPE_TIME, async || {
            Ok(self.number(query).await?.filter(|number| is_right(*number)))
        })
        .await
    }
}

/// One scrape job, with what it needs beside its name and its targets.
fn scrape_job(name: &str, ports: &[u16], more: Value) -> Value {
    let targets: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut job = json!({"job_name": name, "static_configs": [{"targets": targets}]});
    if let (Some(job), Value::Object(more)) = (job.as_object_mut(), more) {
        job.extend(more);
    }
    job
}

/// Scrapes of every component: the API server by token, by client certificate, and by a token that it does not know.
async fn scrapes(scenario: &mut Scenario) -> Result<Vec<Value>> {
    let token = scenario.pdctl(&["token", "create", "--role", "Metrics"])?;
    let token = scenario.write("metrics.token", token.trim())?;
    let unknown = scenario.write("unknown.token", "metrics-x.0000000000000000000000000000000000000000")?;
    let ca = scenario.client().request_text(http::Request::get("/ca").body(Vec::new())?).await?;
    let ca = scenario.write("ca.crt", ca)?;
    let kubeconfig = scenario.cluster().kubeconfig().with_file_name("reconciler.kubeconfig");
    let (certificate, key) = client_certificate(scenario, &kubeconfig)?;
    let state = scenario.cluster().state();
    let by_token = |file: &str| json!({"scheme": "https", "tls_config": {"ca_file": ca}, "authorization": {"credentials_file": file}});
    let by_certificate =
        json!({"scheme": "https", "tls_config": {"ca_file": ca, "cert_file": certificate, "key_file": key}});
    let kubelets: Vec<u16> = state.nodes.iter().map(|node| node.metrics_port).collect();
    let reconcilers: Vec<u16> = state.reconcilers.iter().map(|reconciler| reconciler.metrics_port).collect();
    Ok(vec![
        scrape_job("pd-apiserver", &[state.port], by_token(&token)),
        scrape_job("by-certificate", &[state.port], by_certificate),
        scrape_job("by-unknown-token", &[state.port], by_token(&unknown)),
        scrape_job("pd-reconciler", &reconcilers, Value::Null),
        scrape_job("pd-kubelet", &kubelets, Value::Null),
    ])
}

/// The pages of all components as promtool sees them, put together.
async fn pages(scenario: &mut Scenario) -> Result<String> {
    let mut pages = scenario.client().request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    check_page("the API server", &pages)?;
    let (state, mut ports) = (scenario.cluster().state(), Vec::new());
    ports.extend(state.reconcilers.iter().map(|reconciler| (reconciler.name.clone(), reconciler.metrics_port)));
    ports.extend(state.nodes.iter().map(|node| (node.name.clone(), node.metrics_port)));
    for (name, port) in ports {
        let page = scrape::get(port, "/metrics").await?;
        check_page(&name, &page.text)?;
        pages.push_str(&page.text);
    }
    Ok(pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_a_live_cluster_and_answers() -> Result<()> {
    if !has_prometheus() {
        return Ok(());
    }
    let mut scenario = Scenario::start(2, 1).await?;
    let scrapes = scrapes(&mut scenario).await?;
    let prometheus = Prometheus::start(&scenario, &scrapes)?;
    prometheus.until(r#"sum(up{job!="by-unknown-token"})"#, |up| (up - 5.0).abs() < 0.5).await?;
    prometheus.until(r#"sum(up{job="by-unknown-token"})"#, |up| up < 0.5).await?;

    let params = json!({"count": SUBTASKS, "spinMicros": 1000}).to_string();
    scenario.pdctl(&["run", "noop", "--name", "counted", "--params", &params, "--detach"])?;
    scenario.until_complete("counted", JOB_TIME).await?;
    let subtasks = SUBTASKS as f64;
    let finished = r#"sum(pd_reconciler_finished_subtasks_total{outcome="Succeeded"})"#;
    prometheus.until(finished, |count| (count - subtasks).abs() < 0.5).await?;
    // The nodes may have run some of them twice: as copies of what another one was slow with.
    let executed = r#"sum(pd_kubelet_subtasks_total{outcome="Success"})"#;
    prometheus.until(executed, |count| (subtasks..subtasks * 1.1).contains(&count)).await?;
    for (query, least) in [
        ("sum(pd_reconciler_leading)", 1.0),
        ("sum(pd_kubelet_busy_seconds_total)", 0.1),
        ("sum(pd_kubelet_executor_starts_total)", 2.0),
        ("sum(pd_reconciler_plan_seconds_count)", 1.0),
        ("sum(pd_reconciler_assignment_seconds_count)", 1.0),
        ("sum(rate(pd_reconciler_finished_subtasks_total{outcome=\"Succeeded\"}[1m]))", 0.1),
        ("min(pd_kubelet_memory_used_bytes{by=\"machine\"})", 1e6),
        ("min(pd_kubelet_cpu_used_cores{by=\"machine\"})", 0.001),
        ("sum(pd_kubelet_cache_requests_total{cache=\"modules\"})", 1.0),
        ("sum(pd_apiserver_request_duration_seconds_count{verb=\"create\", resource=\"jobs\"})", 1.0),
        ("sum(pd_kubelet_report_seconds_count)", 1.0),
        ("sum(pd_apiserver_store_commits_total{job=\"pd-apiserver\"})", 10.0),
        ("sum(pd_apiserver_store_watchers{job=\"pd-apiserver\"})", 3.0),
        ("sum(pd_apiserver_requests_total{job=\"pd-apiserver\", verb=\"update\", resource=\"assignments\"})", 1.0),
        ("sum(pd_reconciler_jobs{state=\"Complete\"})", 1.0),
        ("min(process_cpu_seconds_total{job=~\"pd-.*\"})", 0.001),
        ("min(process_resident_memory_bytes{job=~\"pd-.*\"})", 1e6),
    ] {
        prometheus.until(query, |number| number >= least).await?;
    }

    // What has not happened yet is a series all the same, so that an alert can wait for it.
    let pages = pages(&mut scenario).await?;
    for name in [
        "pd_reconciler_retries_total",
        "pd_reconciler_steals_total",
        "pd_reconciler_copied_indexes_total",
        "pd_reconciler_nodes_lost_total",
        "pd_reconciler_subtasks",
        "pd_kubelet_queued_subtasks",
        "pd_kubelet_executor_kills_total",
        "pd_apiserver_store_commit_duration_seconds",
    ] {
        ensure!(pages.contains(&format!("# TYPE {name} ")), "no component shows {name}");
    }
    // Whatever dashboard and rules name is there, and every query of theirs can be answered.
    let there = metric_names(&pages);
    let rules = fs::read_to_string(folder().join("alerts.yml"))?;
    for query in dashboard_queries()?.iter().chain([&rules]) {
        let missing: Vec<&str> = metric_names(query).difference(&there).copied().collect();
        ensure!(missing.is_empty(), "nobody shows {missing:?}, which `{query}` asks for");
    }
    for query in dashboard_queries()? {
        prometheus.query(&query).await?;
    }
    let rules = prometheus.get("/api/v1/rules").await?;
    let rules: Vec<&Value> = rules["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    ensure!(rules.len() > 10 && rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
    Ok(())
}
