//! Nodes: their slots, what they run, how fast.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use schemas::{Assignment, well_known::RESOURCE_SLOTS};
use serde_json::json;

use super::{Look, rate};
use crate::{client::Cluster, errors::Result, table::Table};

/// What a node does, all jobs together.
#[derive(Default, Debug, PartialEq)]
struct Load {
    running: u64,
    done: u64,
    /// Jobs that it runs something of.
    jobs: u64,
    /// Subtasks a second of what runs.
    rate: f64,
    busy_seconds: f64,
}

pub(super) async fn look(cluster: &Cluster) -> Result<Look> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let assignments: Api<Assignment> = Api::all(cluster.client.clone());
    let (all, page) = (ListParams::default(), ListParams::default());
    let (nodes, assignments) = futures::try_join!(nodes.list(&all), assignments.list(&page))
        .map_err(cluster.failed("cannot list nodes and assignments"))?;
    Ok(rows(&nodes.items, &loads(&assignments.items)))
}

/// By node name.
fn loads(assignments: &[Assignment]) -> BTreeMap<&str, Load> {
    let mut loads: BTreeMap<&str, Load> = BTreeMap::new();
    for assignment in assignments {
        let Some(status) = &assignment.status else { continue };
        let load = loads.entry(&assignment.spec.node_name).or_default();
        let running = status.running.len() as u64;
        load.running += running;
        load.done += status.succeeded;
        load.busy_seconds += status.busy_seconds;
        load.jobs += u64::from(running > 0);
        // The reported rate is that of one slot.
        load.rate += status.rate * running as f64;
    }
    loads
}

fn rows(nodes: &[Node], loads: &BTreeMap<&str, Load>) -> Look {
    let mut table = Table::new(["name", "status", "slots", "running", "jobs", "rate", "done", "busy"]);
    let mut objects = Vec::new();
    let nothing = Load::default();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let load = loads.get(name).unwrap_or(&nothing);
        let status = state(node);
        let slots = slots(node);
        table.push([
            name.to_owned(),
            status.clone(),
            slots.to_string(),
            load.running.to_string(),
            load.jobs.to_string(),
            rate(load.rate),
            load.done.to_string(),
            crate::age::human(load.busy_seconds as i64),
        ]);
        objects.push(json!({"apiVersion": "v1", "kind": "NodeLoad", "metadata": {"name": name}, "status": status,
            "slots": slots, "running": load.running, "jobs": load.jobs, "rate": load.rate, "done": load.done,
            "busySeconds": load.busy_seconds}));
    }
    Look { table, objects }
}

fn state(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|list| list.iter().find(|condition| condition.type_ == "Ready"));
    let state = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    if is_cordoned { format!("{state},Cordoned") } else { state.to_owned() }
}

fn slots(node: &Node) -> u64 {
    let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get(RESOURCE_SLOTS)).and_then(|slots| slots.0.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_load_is_the_sum_of_its_assignments() {
        let assignment = |job: &str, running: usize, done: u64| -> Assignment {
            let running: Vec<_> = (0..running)
                .map(|index| json!({"index": index, "attempt": 1, "startedAt": "2026-01-01T00:00:00Z"}))
                .collect();
            serde_json::from_value(
                json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": job},
                "spec": {"job": {"name": job, "uid": job}, "nodeName": "n", "nodeUid": "u", "grants": [],
                    "work": {"module": schemas::Digest::of(b""), "memory": "64Mi", "subtaskTimeout": "5m"}},
                "status": {"running": running, "succeeded": done, "rate": 2.5, "busySeconds": 30.0}}),
            )
            .expect("an assignment")
        };
        let assignments = [assignment("a", 2, 10), assignment("b", 0, 5)];
        let loads = loads(&assignments);
        assert_eq!(loads["n"], Load { running: 2, done: 15, jobs: 1, rate: 5.0, busy_seconds: 60.0 });
        let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}, "status": {
            "capacity": {"processdistro.dev/slots": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}});
        let node: Node = serde_json::from_value(node).expect("a node");
        let look = rows(&[node], &loads);
        let expected = "NAME   STATUS           SLOTS   RUNNING   JOBS   RATE    DONE   BUSY\n\
                        n      Ready,Cordoned   4       2         1      5.0/s   15     60s\n";
        assert_eq!(look.table.render(), expected);
        assert_eq!(look.objects[0]["slots"], 4);
    }
}
