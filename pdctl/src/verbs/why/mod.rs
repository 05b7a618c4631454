//! `pdctl why`: why a job stands where it stands, or why a node does what it does, in sentences.
//!
//! The shell here fetches; `job` and `node` decide what to say and know no server.

mod job;
mod node;

use k8s_openapi::api::core::v1::{Event, Node};
use kube::{Api, api::ListParams};
use schemas::Assignment;
use serde_json::{Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::Result,
    events::{self, About},
    follow,
    kinds::{self, Kind},
    output::{self, Format},
    text,
    verbs::get,
};

const EXAMPLES: &str = "\
Examples:
  pdctl why job/mandelbrot           # why is it not done?
  pdctl why node/node-2              # why does it do nothing?
  pdctl why job/mandelbrot -o json";

/// Newest events that are told.
const EVENTS_SHOWN: usize = 3;

/// What to explain.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME (or NAME), or node/NAME
    #[arg(value_name = "JOB | node/NAME", add = crate::complete::jobs_and_nodes())]
    subject: String,
    /// json, yaml, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// An answer: one sentence first, then what it rests on, then what to do.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    subject: String,
    verdict: String,
    because: Vec<String>,
    next: Vec<String>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let answer = match args.subject.split_once('/') {
        Some(("node" | "nodes" | "no", name)) => of_node(&cluster, name).await?,
        _ => of_job(&cluster, kinds::job_name(&args.subject)?).await?,
    };
    match &args.output {
        None => output::print(&answer.render()),
        Some(format) => output::objects(format, vec![answer.as_object()], false),
    }
}

async fn of_job(cluster: &Cluster, name: &str) -> Result<Answer> {
    let job = get::one(cluster, &Kind::job(), name).await?;
    let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
    let listed = follow::assignments(cluster, &cluster.namespace).await;
    let mut assignments = listed.map_err(cluster.failed("cannot list the job's assignments"))?;
    assignments.retain(|assignment| assignment.spec.job.uid == uid);
    let about = About { kind: "Job", name, uid: Some(uid) };
    let events = events::fetch_if_allowed(cluster, Some(&cluster.namespace), &about).await?.unwrap_or_default();
    let nodes = nodes(cluster).await?;
    let mut answer = job::explain(&job, &nodes, &assignments, jiff::Timestamp::now());
    answer.because.extend(told(&events));
    Ok(answer)
}

async fn of_node(cluster: &Cluster, name: &str) -> Result<Answer> {
    let node = get::one(cluster, &Kind::of::<Node>(false), name).await?;
    let uid = node["metadata"]["uid"].as_str();
    let api: Api<Assignment> = Api::all(cluster.client.clone());
    let listed = api.list(&ListParams::default().fields(&format!("spec.nodeName={name}"))).await;
    let assignments = listed.map_err(cluster.failed("cannot list the node's assignments"))?.items;
    let about = About { kind: "Node", name, uid };
    let events = events::fetch_if_allowed(cluster, None, &about).await?.unwrap_or_default();
    let mut answer = node::explain(&node, &assignments, jiff::Timestamp::now());
    answer.because.extend(told(&events));
    Ok(answer)
}

async fn nodes(cluster: &Cluster) -> Result<Vec<Value>> {
    let api = Kind::of::<Node>(false).api(cluster, None);
    match follow::list_all(&api, ListParams::default()).await {
        Ok(nodes) => Ok(nodes.into_iter().map(|node| serde_json::to_value(node).unwrap_or_default()).collect()),
        // Somebody who sees one namespace only may not see the nodes.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Vec::new()),
        Err(error) => Err(cluster.failed("cannot list nodes")(error)),
    }
}

/// The newest events as sentences, the oldest first.
fn told(listed: &[Event]) -> Vec<String> {
    let now = jiff::Timestamp::now();
    let newest = &listed[listed.len().saturating_sub(EVENTS_SHOWN)..];
    let sentence = |event: &Event| {
        let age = events::last_seen(event).map_or_else(String::new, |then| crate::age::since(then, now));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let message = text(&event.message);
        format!("event {age} ago: {}: {}", text(&event.reason), text::one_line(&message))
    };
    newest.iter().map(sentence).collect()
}

impl Answer {
    fn render(&self) -> String {
        let because = self.because.iter().map(|line| format!("  {}\n", text::one_line(line)));
        let next = self.next.iter().map(|line| format!("next: {}\n", text::one_line(line)));
        let verdict = format!("{} {}\n", self.subject, text::one_line(&self.verdict));
        std::iter::once(verdict).chain(because).chain(next).collect()
    }

    fn as_object(&self) -> Value {
        json!({"kind": "Explanation", "metadata": {"name": self.subject}, "verdict": self.verdict,
            "because": self.because, "next": self.next})
    }
}

/// The value of a condition: status, reason and message.
fn condition<'v>(object: &'v Value, type_: &str) -> Option<&'v Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|condition| condition["type"] == type_)
}

fn is_true(condition: &Value) -> bool {
    condition["status"] == "True"
}

/// `Reason: message` of a condition.
fn because(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    match (text("reason"), text("message")) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// Why a node takes no work at all; absent when it would.
fn closed(node: &Value) -> Option<String> {
    match condition(node, "Ready") {
        Some(ready) if is_true(ready) => {}
        Some(ready) => return Some(format!("is not ready ({})", because(ready))),
        None => return Some("has not reported yet".to_owned()),
    }
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    if taints.into_iter().flatten().any(|taint| taint["key"] == crate::verbs::cordon::DRAIN_TAINT) {
        return Some("is being drained".to_owned());
    }
    (node.pointer("/spec/unschedulable") == Some(&Value::Bool(true))).then(|| "is cordoned".to_owned())
}

/// Subtasks that a node runs at once.
pub(crate) fn slots(node: &Value) -> u64 {
    let slots = |part: &str| node["status"][part][schemas::well_known::RESOURCE_SLOTS].as_str()?.parse().ok();
    slots("allocatable").or_else(|| slots("capacity")).unwrap_or(0)
}

/// Whether a node can take anything of a job.
pub(crate) fn can_take(job: &Value, node: &Value) -> bool {
    job::obstacle(job, node).is_none()
}

/// Why no node can take a job, node by node; empty when one can.
pub(crate) fn obstacles(job: &Value, nodes: &[Value]) -> Vec<String> {
    job::obstacles(job, nodes).map_or_else(Vec::new, |(_, reasons)| reasons)
}

/// `metadata.name`.
pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_sentences() {
        let answer = Answer {
            subject: "job/x".to_owned(),
            verdict: "is waiting: no node is ready".to_owned(),
            because: vec!["node-0 is\ncordoned".to_owned()],
            next: vec!["pdctl uncordon node-0".to_owned()],
        };
        let expected = "job/x is waiting: no node is ready\n  node-0 is cordoned\nnext: pdctl uncordon node-0\n";
        assert_eq!(answer.render(), expected);
        assert_eq!(answer.as_object()["next"][0], "pdctl uncordon node-0");
    }

    #[test]
    fn a_node_is_closed_for_a_reason() {
        let node = |spec: Value, ready: &str| {
            json!({"metadata": {"name": "n"}, "spec": spec, "status": {"capacity": {"processdistro.dev/slots": "4"},
                "conditions": [{"type": "Ready", "status": ready, "reason": "LeaseExpired", "message": "silent for 9s"}]}})
        };
        assert_eq!(closed(&node(json!({}), "True")), None);
        assert_eq!(closed(&node(json!({}), "Unknown")).as_deref(), Some("is not ready (LeaseExpired: silent for 9s)"));
        assert_eq!(closed(&node(json!({"unschedulable": true}), "True")).as_deref(), Some("is cordoned"));
        let drained =
            json!({"unschedulable": true, "taints": [{"key": "processdistro.dev/drain", "effect": "NoExecute"}]});
        assert_eq!(closed(&node(drained, "True")).as_deref(), Some("is being drained"));
        assert_eq!(closed(&json!({})).as_deref(), Some("has not reported yet"));
        assert_eq!(slots(&node(json!({}), "True")), 4);
    }
}
