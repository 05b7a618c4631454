//! Tables: what `kubectl get` prints.
//!
//! In: objects of one kind. Out: the columns and cells of a `meta.k8s.io/v1 Table`. The columns of our kinds come from their CRDs,
//! those of the built-in kinds are upstream's.

use jiff::Timestamp;
use jsonpath_rust::JsonPath;
use schemas::well_known::RESOURCE_SLOTS;
use serde_json::{Map, Value, json};

use super::{
    age::age,
    call::text,
    kinds::{Column, Kind, Rules},
};

/// What the rows carry beside their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    Metadata,
    Object,
    None,
}

impl IncludeObject {
    /// From the query parameter.
    pub(crate) fn parse(value: &str) -> Self {
        match value {
            "Object" => Self::Object,
            "None" => Self::None,
            _ => Self::Metadata,
        }
    }
}

fn definition(name: &str, type_: &str, format: &str, description: &str, priority: i64) -> Value {
    json!({"name": name, "type": type_, "format": format, "description": description, "priority": priority})
}

/// The columns of a kind's Tables.
pub(super) fn definitions(kind: &Kind) -> Vec<Value> {
    let name = definition("Name", "string", "name", "Name must be unique within a namespace.", 0);
    let mut all = vec![name];
    if kind.columns.is_empty() {
        let columns = built_in_columns(kind.rules);
        all.extend(columns.iter().map(|(name, priority)| definition(name, "string", "", name, *priority)));
        if kind.rules == Rules::Event {
            all.remove(0);
        }
        return all;
    }
    all.extend(kind.columns.iter().map(|column| {
        let description = if column.description.is_empty() { &column.name } else { &column.description };
        definition(&column.name, &column.type_, "", description, column.priority)
    }));
    all
}

/// Name and priority of the columns after NAME.
fn built_in_columns(rules: Rules) -> &'static [(&'static str, i64)] {
    match rules {
        Rules::Namespace => &[("Status", 0), ("Age", 0)],
        Rules::Node => &[
            ("Status", 0),
            ("Roles", 0),
            ("Age", 0),
            ("Version", 0),
            ("Slots", 0),
            ("Internal-IP", 1),
            ("OS-Image", 1),
            ("Kernel-Version", 1),
        ],
        Rules::Event => &[("Last Seen", 0), ("Type", 0), ("Reason", 0), ("Object", 0), ("Message", 0), ("Count", 1)],
        Rules::Lease => &[("Holder", 0), ("Age", 0)],
        Rules::Csr => &[("Age", 0), ("SignerName", 0), ("Requestor", 0), ("Condition", 0)],
        Rules::ConfigMap => &[("Data", 0), ("Age", 0)],
        Rules::Secret => &[("Type", 0), ("Data", 0), ("Age", 0)],
        Rules::Pod => {
            &[("Ready", 0), ("Status", 0), ("Restarts", 0), ("Age", 0), ("IP", 1), ("Node", 1), ("Nominated Node", 1)]
        }
        Rules::NodeMetrics | Rules::PodMetrics => &[("CPU", 0), ("Memory", 0), ("Window", 0)],
        _ => &[("Age", 0)],
    }
}

/// An object's row. It looks at no managed fields.
pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    let age = json!(age(text(&object["metadata"]["creationTimestamp"]), now));
    match kind.rules {
        Rules::Namespace => vec![name, object["status"]["phase"].clone(), age],
        Rules::Node => node_cells(object, name, age),
        Rules::Event => event_cells(object, now),
        Rules::Lease => vec![name, object["spec"]["holderIdentity"].clone(), age],
        Rules::ConfigMap => vec![name, entries(object, &["data", "binaryData"]), age],
        Rules::Secret => vec![name, object["type"].clone(), entries(object, &["data"]), age],
        Rules::Pod => pod_cells(object, name, age),
        Rules::NodeMetrics => usage_cells(object, &object["usage"], name),
        Rules::PodMetrics => usage_cells(object, &object["containers"][0]["usage"], name),
        Rules::Csr => {
            let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            let mut states: Vec<_> = conditions.map(|condition| text(&condition["type"])).collect();
            if object["status"]["certificate"].is_string() {
                states.push("Issued");
            }
            let states = if states.is_empty() { "Pending".to_owned() } else { states.join(",") };
            let spec = &object["spec"];
            vec![name, age, spec["signerName"].clone(), spec["username"].clone(), states.into()]
        }
        _ if kind.columns.is_empty() => vec![name, age],
        _ => {
            let declared = kind.columns.iter().map(|column| cell(column, object, now));
            std::iter::once(name).chain(declared).collect()
        }
    }
}

/// The cell of a declared column; null when the object has no such value.
fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let value = lookup(&column.path, object);
    match column.type_.as_str() {
        "date" => value.map_or(json!("<unknown>"), |value| json!(age(text(value), now))),
        "string" => value.map_or(Value::Null, |value| match value {
            Value::String(_) => value.clone(),
            other => other.to_string().into(),
        }),
        _ => value.cloned().unwrap_or_default(),
    }
}

fn lookup<'a>(path: &str, object: &'a Value) -> Option<&'a Value> {
    if path.contains(['[', '*', '@', '(']) {
        return object.query(path).ok()?.into_iter().next();
    }
    path.trim_start_matches('$').split('.').skip(1).try_fold(object, |value, key| value.get(key))
}

fn or_none(text: &str, none: &str) -> Value {
    if text.is_empty() { none.into() } else { text.into() }
}

fn node_cells(node: &Value, name: Value, age: Value) -> Vec<Value> {
    const ROLE: &str = "node-role.kubernetes.io/";
    let ready = node["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|condition| text(&condition["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = node["metadata"]["labels"].as_object();
    let roles: Vec<_> = labels.into_iter().flat_map(Map::keys).filter_map(|key| key.strip_prefix(ROLE)).collect();
    let addresses = node["status"]["addresses"].as_array();
    let address = addresses.into_iter().flatten().find(|address| address["type"] == "InternalIP");
    let info = &node["status"]["nodeInfo"];
    let slots = &node["status"]["capacity"][RESOURCE_SLOTS];
    vec![
        name,
        status.into(),
        or_none(&roles.join(","), "<none>"),
        age,
        info["kubeletVersion"].clone(),
        or_none(text(slots), "<unknown>"),
        or_none(address.map_or("", |address| text(&address["address"])), "<none>"),
        or_none(text(&info["osImage"]), "<unknown>"),
        or_none(text(&info["kernelVersion"]), "<unknown>"),
    ]
}

/// How many entries the maps of an object have together.
fn entries(object: &Value, parts: &[&str]) -> Value {
    let count: usize = parts.iter().filter_map(|part| object[*part].as_object()).map(Map::len).sum();
    count.to_string().into()
}

fn pod_cells(pod: &Value, name: Value, age: Value) -> Vec<Value> {
    let container = &pod["status"]["containerStatuses"][0];
    let status = match text(&pod["status"]["phase"]) {
        _ if !pod["metadata"]["deletionTimestamp"].is_null() => "Terminating",
        "Succeeded" => "Completed",
        "Failed" => text(&pod["status"]["reason"]),
        phase => phase,
    };
    let ready = if container["ready"] == true { "1/1" } else { "0/1" };
    vec![
        name,
        ready.into(),
        status.into(),
        container["restartCount"].to_string().into(),
        age,
        "<none>".into(),
        pod["spec"]["nodeName"].clone(),
        "<none>".into(),
    ]
}

fn usage_cells(object: &Value, usage: &Value, name: Value) -> Vec<Value> {
    vec![name, usage["cpu"].clone(), usage["memory"].clone(), object["window"].clone()]
}

fn event_cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let times = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    let last_seen = times.into_iter().map(text).find(|time| !time.is_empty()).unwrap_or_default();
    let object = &event["involvedObject"];
    let object = format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["name"]));
    let count = event["count"].as_i64().unwrap_or(1);
    vec![
        age(last_seen, now).into(),
        event["type"].clone(),
        event["reason"].clone(),
        object.into(),
        text(&event["message"]).trim().into(),
        count.to_string().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds;

    fn row(rules: Rules, object: &Value) -> Vec<Value> {
        let now = "2026-01-01T00:10:00Z".parse().expect("a time");
        cells(kinds::by_rules(rules), object, now)
    }

    #[test]
    fn a_cordoned_node_reads_as_kubectl_prints_it() {
        let node = json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v0.1.0"},
                "capacity": {RESOURCE_SLOTS: "4"},
            },
        });
        let cells = row(Rules::Node, &node);
        assert_eq!(cells[..6], ["n", "Ready,SchedulingDisabled", "<none>", "10m", "v0.1.0", "4"].map(Value::from));
    }

    #[test]
    fn declared_columns_follow_their_json_paths() {
        let task = json!({
            "metadata": {"name": "t", "creationTimestamp": "2026-01-01T00:09:00Z"},
            "status": {"version": "1", "conditions": [{"type": "Accepted", "status": "True"}]},
        });
        let cells = row(Rules::Task, &task);
        assert_eq!(cells[..4], [json!("t"), json!("1"), json!("True"), Value::Null]);
        assert_eq!(cells.last(), Some(&json!("60s")));
    }
}
