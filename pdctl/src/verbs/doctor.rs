//! `pdctl doctor`: what most often is wrong, looked at in the order in which one thing needs the other.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    age,
    cli::Global,
    client::Cluster,
    errors::{self, Error, Result},
    output::{self, Format},
    platform,
    table::Table,
    text,
    verbs::{auth, certs},
};

const EXAMPLES: &str = "\
Looks at this machine, at the way to the server, at the server and at its nodes. Exit code 1 when anything fails; a \
warning is no failure.

Examples:
  pdctl doctor
  pdctl doctor -o json";

/// A clock that is off by more breaks certificates and confuses ages.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// A certificate that lives shorter should be looked after.
const CERTIFICATE_DAYS_MIN: i64 = 7;
/// Less free space than this and artifacts will not fit: 1 GiB.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Watching folders takes one each; systems that allow fewer run out with a few editors open.
const INOTIFY_INSTANCES_MIN: u64 = 128;
/// Watched files and folders.
const INOTIFY_WATCHES_MIN: u64 = 8192;
/// A port that has not answered by then is behind a firewall, or nobody's.
const PORT_MAX: Duration = Duration::from_secs(3);
/// A loopback or LAN answers in a fraction of this.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How to print it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// json, yaml, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How one look went.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One look.
#[derive(Debug, PartialEq)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { check, verdict, detail: detail.into() }
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        }
    }
}

/// Runs the verb. Everything that can be looked at is looked at; what fails first decides the exit code.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let mut findings = vec![inotify(), disk()];
    let mut unreachable = None;
    match Cluster::connect(global).await {
        Ok(cluster) => {
            let place = format!("context `{}` of {}", cluster.origin.context, cluster.origin.kubeconfig);
            findings.push(Finding::new("kubeconfig", Verdict::Ok, place));
            match port(&cluster).await {
                Ok(open) => findings.extend(open),
                Err(reason) => {
                    findings.push(Finding::new("port", Verdict::Fail, &reason));
                    unreachable = Some(Error::Unreachable { origin: cluster.origin.clone(), reason });
                }
            }
            findings.extend(certificates(&cluster, unreachable.is_none()).await);
            if unreachable.is_none() {
                match server(&cluster).await {
                    Ok(found) => findings.extend(found),
                    Err(error) => {
                        findings.push(Finding::new("server", Verdict::Fail, error.to_string()));
                        unreachable = Some(error);
                    }
                }
            }
        }
        Err(error) => findings.push(Finding::new("kubeconfig", Verdict::Fail, error.to_string())),
    }
    print(&args, &findings)?;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    match (failed, unreachable) {
        (0, _) => Ok(()),
        (1, Some(error)) => Err(error),
        (failed, _) => Err(Error::Several { failed, all: findings.len(), exit: 1 }),
    }
}

fn print(args: &Args, findings: &[Finding]) -> Result<()> {
    if let Some(format) = &args.output {
        let object = |finding: &Finding| {
            json!({"apiVersion": "v1", "kind": "Finding", "metadata": {"name": finding.check},
                "result": finding.word().to_lowercase(), "detail": finding.detail})
        };
        return output::objects(format, findings.iter().map(object).collect(), true);
    }
    let mut table = Table::new(["check", "result", "detail"]);
    for finding in findings {
        table.push([finding.check, finding.word(), &finding.detail]);
    }
    output::print(&table.render())
}

/// Whether anybody listens where the server should; behind a proxy that cannot be told. The error is the reason.
async fn port(cluster: &Cluster) -> Result<Option<Finding>, String> {
    if cluster.config.proxy_url.is_some() {
        return Ok(None);
    }
    let url = &cluster.config.cluster_url;
    let default = if url.scheme_str() == Some("http") { 80 } else { 443 };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let (number, place) = (url.port_u16().unwrap_or(default), url.authority().map(ToString::to_string));
    let place = place.unwrap_or_default();
    match tokio::time::timeout(PORT_MAX, TcpStream::connect((host, number))).await {
        Ok(Ok(_)) => Ok(Some(Finding::new("port", Verdict::Ok, format!("{place} is open")))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(format!("{place} refuses connections: nothing listens there"))
        }
        Ok(Err(error)) => Err(format!("{place}: {}", errors::io_reason(&error))),
        Err(_) => Err(format!("{place} does not answer: the machine is off, or a firewall is between")),
    }
}

async fn certificates(cluster: &Cluster, is_reachable: bool) -> Vec<Finding> {
    let mut found = match certs::of_kubeconfig(cluster) {
        Ok(found) => found,
        Err(error) => return vec![Finding::new("certificates", Verdict::Fail, error.to_string())],
    };
    if is_reachable {
        match certs::of_server(cluster).await.and_then(|der| certs::read("server", &der)) {
            Ok(server) => found.push(server),
            // That nobody answers is told once, below.
            Err(Error::Unreachable { .. }) => {}
            Err(error) => return vec![Finding::new("certificates", Verdict::Fail, error.to_string())],
        }
    }
    let now = Timestamp::now();
    found.iter().map(|certificate| life(certificate, now)).collect()
}

fn life(certificate: &certs::Certificate, now: Timestamp) -> Finding {
    let seconds = certificate.expires.as_second() - now.as_second();
    let check = match certificate.what {
        "ca" => "ca certificate",
        "client" => "client certificate",
        _ => "server certificate",
    };
    let left = age::human(seconds);
    match seconds {
        ..=0 => {
            Finding::new(check, Verdict::Fail, format!("{} expired at {}", certificate.subject, certificate.expires))
        }
        _ if seconds < CERTIFICATE_DAYS_MIN * 24 * 3600 => {
            Finding::new(check, Verdict::Warn, format!("{} expires in {left}", certificate.subject))
        }
        _ => Finding::new(check, Verdict::Ok, format!("{}, for another {left}", certificate.subject)),
    }
}

/// What the server and its nodes say. An error ends it: what comes later needs it.
async fn server(cluster: &Cluster) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let asked = Instant::now();
    let info =
        cluster.client.apiserver_version().await.map_err(cluster.failed("cannot ask for the server's version"))?;
    let first = asked.elapsed();
    let again = Instant::now();
    let clock = server_clock(cluster).await?;
    let took = again.elapsed();
    let verdict = if took > ANSWER_MAX { Verdict::Warn } else { Verdict::Ok };
    let answer = format!(
        "{} answers in {} ms ({} ms with the handshake)",
        cluster.origin.server,
        took.as_millis(),
        first.as_millis()
    );
    findings.push(Finding::new("server", verdict, answer));
    findings.push(versions(&info.git_version));
    findings.push(skew(clock, Timestamp::now(), took));
    match auth::review(cluster).await {
        Ok(review) => {
            let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
            let groups = user.groups.unwrap_or_default().join(", ");
            let detail = format!("{} ({groups})", user.username.unwrap_or_default());
            findings.push(Finding::new("credential", Verdict::Ok, detail));
        }
        Err(error) => {
            findings.push(Finding::new("credential", Verdict::Fail, error.to_string()));
            return Ok(findings);
        }
    }
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    match nodes.list(&ListParams::default()).await {
        Ok(nodes) => findings.extend(of_nodes(&nodes.items, &info.git_version)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            findings.push(Finding::new("nodes", Verdict::Warn, "this credential may not see them"));
        }
        Err(error) => return Err(cluster.failed("cannot list nodes")(error)),
    }
    Ok(findings)
}

/// What the server's clock shows: HTTP says it with each answer, in seconds.
async fn server_clock(cluster: &Cluster) -> Result<Option<Timestamp>> {
    let doing = "cannot ask for the server's time";
    let request = Request::get("/version").body(kube::client::Body::empty());
    let request = request.map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
    let response = cluster.client.send(request).await.map_err(cluster.failed(doing))?;
    let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|zoned| zoned.timestamp()))
}

fn skew(server: Option<Timestamp>, now: Timestamp, took: Duration) -> Finding {
    let Some(server) = server else {
        return Finding::new("clock", Verdict::Warn, "the server does not say its time");
    };
    // The header counts whole seconds, and the answer was under way.
    let tolerance = 1.0 + took.as_secs_f64();
    let off = (now.duration_since(server).as_secs_f64().abs() - tolerance).max(0.0);
    if off > SKEW_MAX.as_secs_f64() {
        let detail = format!("this machine and the server differ by about {off:.0} s; set both by NTP");
        return Finding::new("clock", Verdict::Fail, detail);
    }
    Finding::new("clock", Verdict::Ok, "this machine and the server agree")
}

/// Ours is the part behind the version of Kubernetes that the server speaks.
fn ours(git_version: &str) -> &str {
    git_version.rsplit_once("processdistro.").map_or(git_version, |(_, ours)| ours)
}

fn versions(server: &str) -> Finding {
    let (client, server) = (env!("CARGO_PKG_VERSION"), ours(server));
    let minor =
        |version: &str| version.trim_start_matches('v').split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    let detail = format!("pdctl {client}, server {}", text::one_line(server));
    let verdict = if minor(client) == minor(server) { Verdict::Ok } else { Verdict::Warn };
    Finding::new("version", verdict, detail)
}

fn of_nodes(nodes: &[Node], server: &str) -> Vec<Finding> {
    let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    let is_ready = |node: &&Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let away: Vec<String> = nodes.iter().filter(|node| !is_ready(node)).map(name).collect();
    let count = text::counted(nodes.len() as u64, "node");
    let ready = match (nodes.len(), away.as_slice()) {
        (0, _) => Finding::new("nodes", Verdict::Warn, "no machine has joined; `pdctl token create --role Join`"),
        (_, []) => Finding::new("nodes", Verdict::Ok, format!("{count}, all ready")),
        (all, away) if away.len() == all => {
            Finding::new("nodes", Verdict::Fail, format!("{count}, none ready: {}", away.join(", ")))
        }
        (_, away) => Finding::new("nodes", Verdict::Warn, format!("{count}, not ready: {}", away.join(", "))),
    };
    let of = |node: &Node| {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        info.map(|info| info.kubelet_version.trim_start_matches('v').to_owned()).unwrap_or_default()
    };
    let other = |node: &&Node| {
        !of(node).is_empty() && ours(&of(node)).trim_start_matches('v') != ours(server).trim_start_matches('v')
    };
    let others: Vec<String> = nodes.iter().filter(other).map(|node| format!("{} {}", name(node), of(node))).collect();
    let skew = (!others.is_empty()).then(|| {
        Finding::new("node versions", Verdict::Warn, format!("other than the server's: {}", others.join(", ")))
    });
    std::iter::once(ready).chain(skew).collect()
}

/// Limits of `watch`; other systems have none that can be read.
fn inotify() -> Finding {
    let read = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok()
    };
    let (Some(instances), Some(watches)) = (read("max_user_instances"), read("max_user_watches")) else {
        return Finding::new("inotify", Verdict::Ok, "this system has no such limits");
    };
    let detail = format!("{instances} instances, {watches} watches");
    if instances >= INOTIFY_INSTANCES_MIN && watches >= INOTIFY_WATCHES_MIN {
        return Finding::new("inotify", Verdict::Ok, detail);
    }
    let advice = format!(
        "{detail}; watched folders need more: sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES_MIN} \
         fs.inotify.max_user_watches={INOTIFY_WATCHES_MIN}"
    );
    Finding::new("inotify", Verdict::Warn, advice)
}

/// Room where results are written: the current folder.
fn disk() -> Finding {
    match platform::free_bytes(Path::new(".")) {
        Ok(None) => Finding::new("disk", Verdict::Ok, "this system does not tell how much is free"),
        Ok(Some(free)) => {
            let verdict = if free < FREE_BYTES_MIN { Verdict::Warn } else { Verdict::Ok };
            Finding::new("disk", verdict, format!("{} MiB free in the current folder", free >> 20))
        }
        Err(error) => Finding::new("disk", Verdict::Warn, format!("cannot tell how much is free: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn clocks_may_differ_by_what_the_header_cannot_say() {
        let server = Some(time("2026-01-01T00:00:00Z"));
        let verdict = |now: &str| skew(server, time(now), Duration::from_millis(10)).verdict;
        assert_eq!(verdict("2026-01-01T00:00:05Z"), Verdict::Ok);
        assert_eq!(verdict("2026-01-01T00:00:30Z"), Verdict::Fail);
        assert_eq!(verdict("2025-12-31T23:59:30Z"), Verdict::Fail);
    }

    #[test]
    fn versions_are_ours_and_not_those_of_kubernetes() {
        assert_eq!(ours("v1.33.0+processdistro.0.1.0"), "0.1.0");
        assert_eq!(versions(concat!("v1.33.0+processdistro.", env!("CARGO_PKG_VERSION"))).verdict, Verdict::Ok);
        assert_eq!(versions("v1.33.0+processdistro.99.0.0").verdict, Verdict::Warn);
    }

    #[test]
    fn a_certificate_fails_when_it_has_expired_and_warns_before() {
        let certificate = certs::Certificate {
            what: "client",
            subject: "CN=a".to_owned(),
            names: Vec::new(),
            expires: time("2026-01-10T00:00:00Z"),
        };
        let verdict = |now: &str| life(&certificate, time(now)).verdict;
        assert_eq!(verdict("2026-01-01T00:00:00Z"), Verdict::Ok);
        assert_eq!(verdict("2026-01-05T00:00:00Z"), Verdict::Warn);
        assert_eq!(verdict("2026-01-11T00:00:00Z"), Verdict::Fail);
    }

    #[test]
    fn nodes_that_are_away_are_named() {
        let node = |name: &str, ready: &str, version: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "nodeInfo": {"kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "",
                    "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "",
                    "systemUUID": ""}}}))
            .expect("a node")
        };
        let server = "v1.33.0+processdistro.0.1.0";
        let found = of_nodes(&[node("a", "True", "v0.1.0"), node("b", "Unknown", "v0.2.0")], server);
        assert_eq!(found[0].detail, "2 nodes, not ready: b");
        assert_eq!(found[1].detail, "other than the server's: b 0.2.0");
        assert_eq!(of_nodes(&[node("a", "True", "v0.1.0")], server).len(), 1);
        assert_eq!(of_nodes(&[node("b", "False", "")], server)[0].verdict, Verdict::Fail);
    }
}
