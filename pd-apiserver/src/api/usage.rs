//! `metrics.k8s.io`: what nodes and Pods use, for `kubectl top`.
//!
//! In: the usage that kubelets write into their Leases. Out: NodeMetrics and PodMetrics. Executors are measured
//! together: a Pod shows an equal share of what those of its node use.

use jiff::Timestamp;
use schemas::{
    usage::{NodeUsage, Usage},
    well_known::{ANNOTATION_USAGE, NODE_LEASE_NAMESPACE},
};
use serde_json::{Value, json};

use super::{
    call::{Call, text},
    error::ApiError,
    kinds::{self, Rules},
    options::Options,
    pods,
    registry::{self, ListResult},
    selectors::Selection,
};

/// Usage that is older is not shown: the node has stopped telling.
const AGE_SECONDS_MAX: i64 = 60;

/// What a node said last.
struct Report {
    time: Value,
    usage: NodeUsage,
}

impl Report {
    /// From the node's Lease; `None`: it has said nothing lately.
    fn of(call: &Call, node: &str) -> Result<Option<Self>, ApiError> {
        let kind = kinds::by_rules(Rules::Lease);
        let Some(lease) = registry::find(&*call.state.store, kind, NODE_LEASE_NAMESPACE, node)? else {
            return Ok(None);
        };
        let time = &lease.object["spec"]["renewTime"];
        let is_fresh = text(time)
            .parse::<Timestamp>()
            .is_ok_and(|time| call.now.as_second() - time.as_second() <= AGE_SECONDS_MAX);
        let usage = serde_json::from_str(text(&lease.object["metadata"]["annotations"][ANNOTATION_USAGE])).ok();
        Ok(usage.filter(|_| is_fresh).map(|usage| Self { time: time.clone(), usage }))
    }

    fn metrics(&self, kind: &str, metadata: Value) -> Value {
        json!({
            "kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata,
            "timestamp": self.time, "window": format!("{}s", self.usage.window_seconds),
        })
    }
}

fn quantities(usage: Usage) -> Value {
    json!({"cpu": format!("{}m", usage.cpu_millis), "memory": format!("{}Ki", usage.memory_kib)})
}

fn node_metrics(call: &Call, node: &Value) -> Result<Option<Value>, ApiError> {
    let name = text(&node["metadata"]["name"]);
    Ok(Report::of(call, name)?.map(|report| {
        let metadata = json!({"name": name, "creationTimestamp": report.time, "labels": node["metadata"]["labels"]});
        let mut metrics = report.metrics("NodeMetrics", metadata);
        metrics["usage"] = quantities(report.usage.machine);
        metrics
    }))
}

/// The usage of one node.
pub(crate) fn node(call: &Call) -> Result<Value, ApiError> {
    let kind = kinds::by_rules(Rules::Node);
    let node = registry::find(&*call.state.store, kind, "", &call.target.name)?;
    let metrics = node.map(|node| node_metrics(call, &node.object)).transpose()?.flatten();
    metrics.ok_or_else(|| call.target.not_found())
}

/// The usage of all nodes.
pub(crate) fn nodes(call: &Call) -> Result<ListResult, ApiError> {
    let mut of_nodes = call.clone();
    of_nodes.target.kind = kinds::by_rules(Rules::Node);
    let selection = Selection::parse(call.target.kind, &call.options.label_selector, &call.options.field_selector)?;
    let mut result = registry::list_all(&of_nodes)?;
    let metrics = result.objects.iter().map(|node| node_metrics(call, node)).collect::<Result<Vec<_>, _>>()?;
    result.objects = metrics.into_iter().flatten().filter(|metrics| selection.matches(metrics)).collect();
    Ok(result)
}

/// All running Pods of a call's namespace.
fn running(call: &Call) -> Result<ListResult, ApiError> {
    let mut of_pods = call.clone();
    of_pods.target.kind = kinds::by_rules(Rules::Pod);
    of_pods.options = Options::default();
    of_pods.options.label_selector.clone_from(&call.options.label_selector);
    "status.phase=Running".clone_into(&mut of_pods.options.field_selector);
    pods::list(&of_pods)
}

/// The usage of all running Pods.
pub(crate) fn pods(call: &Call) -> Result<ListResult, ApiError> {
    let selection = Selection::parse(call.target.kind, "", &call.options.field_selector)?;
    let mut everywhere = call.clone();
    everywhere.target.namespace.clear();
    everywhere.options.label_selector.clear();
    let neighbours = running(&everywhere)?.objects;
    let mut result = running(call)?;
    let mut metrics = Vec::with_capacity(result.objects.len());
    for pod in result.objects {
        let node = text(&pod["spec"]["nodeName"]);
        let Some(report) = Report::of(call, node)? else { continue };
        let sharing = neighbours.iter().filter(|other| other["spec"]["nodeName"] == node).count().max(1) as u64;
        let (cpu, memory) = (report.usage.executors.cpu_millis, report.usage.executors.memory_kib);
        let share = Usage { cpu_millis: cpu / sharing, memory_kib: memory / sharing };
        let mut metadata = pod["metadata"].clone();
        if let Some(map) = metadata.as_object_mut() {
            map.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels" | "creationTimestamp"));
        }
        let mut one = report.metrics("PodMetrics", metadata);
        one["containers"] = json!([{"name": pod["spec"]["containers"][0]["name"], "usage": quantities(share)}]);
        metrics.extend(Some(one).filter(|metrics| selection.matches(metrics)));
    }
    result.objects = metrics;
    Ok(result)
}

/// The usage of one Pod.
pub(crate) fn pod(call: &Call) -> Result<Value, ApiError> {
    let mut of_one = call.clone();
    of_one.options.field_selector = format!("metadata.name={}", call.target.name);
    pods(&of_one)?.objects.into_iter().next().ok_or_else(|| call.target.not_found())
}
