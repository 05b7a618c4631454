//! The Node object of this machine: registered on start, looked after from then on.
//!
//! In: name, labels, slots and what the machine says of itself. Out: the Node's UID, which fences our
//! reports; it changes only when somebody deleted the Node and we had to register anew. Conditions are the
//! reconciler's, but for `Ready=True` when we start.

use std::{collections::BTreeMap, time::Duration};

use backon::Retryable as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PostParams},
};
use schemas::well_known::RESOURCE_SLOTS;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::sync::watch;

use crate::{
    client::{self, ClientError, Connection},
    slots::Mode,
};

/// How often the Node is looked at, in renewals of its lease: a deleted one comes back within 10 s.
const LOOK_RENEWALS: u32 = 10;
/// Condition type: a layer of the sandbox around executors is missing here.
const SANDBOX_DEGRADED: &str = "SandboxDegraded";
/// Label: whether each slot has a process of its own (`process`) or all of them one (`shared`).
const LABEL_EXECUTORS: &str = "processdistro.dev/executors";
/// Label: this node offers host kernels to the jobs that want them.
const LABEL_HOST_KERNELS: &str = "processdistro.dev/host-kernels";
/// Tries to write over a concurrent change of the Node before the next look takes over.
const CONFLICTS_MAX: usize = 8;

/// What this machine is.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub name: String,
    pub slots: u32,
    pub labels: Vec<(String, String)>,
    pub mode: Mode,
    /// Walls around executors that this machine does not have.
    pub missing_walls: Vec<String>,
}

/// Registers the node, for as long as it takes; answers its UID.
pub(crate) async fn register(connection: &Connection, machine: &Machine) -> Result<String, ClientError> {
    let register = || async { try_register(connection, machine).await };
    register.retry(client::patient()).when(ClientError::is_transient).notify(client::log_retry).await
}

/// Registers the node again whenever it has vanished, and publishes its UID. Its lease is renewed `every` so often.
pub(crate) async fn keep(connection: Connection, machine: Machine, every: Duration, uid: watch::Sender<String>) {
    loop {
        tokio::time::sleep(every.saturating_mul(LOOK_RENEWALS)).await;
        let api: Api<Node> = Api::all(connection.current().api.clone());
        let found = client::timed("read the Node", async { api.get_opt(&machine.name).await }).await;
        match found {
            Ok(Some(node)) if node.metadata.uid.as_deref() == Some(uid.borrow().as_str()) => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = crate::chain(&error), "node not read");
                continue;
            }
        }
        match try_register(&connection, &machine).await {
            Ok(new) => {
                tracing::warn!(node = machine.name, uid = new, "the Node had vanished and was registered anew");
                uid.send_replace(new);
            }
            Err(error) => tracing::warn!(error = crate::chain(&error), "node not registered"),
        }
    }
}

async fn try_register(connection: &Connection, machine: &Machine) -> Result<String, ClientError> {
    let api: Api<Node> = Api::all(connection.current().api.clone());
    let mut conflicts = 0;
    loop {
        match register_once(&api, machine).await {
            Err(error) if error.code() == Some(409) && conflicts < CONFLICTS_MAX => conflicts += 1,
            registered => return registered,
        }
    }
}

/// Server-side apply creates the Node or sets our labels on it; what others wrote on it stays.
async fn register_once(api: &Api<Node>, machine: &Machine) -> Result<String, ClientError> {
    let name = &machine.name;
    let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels(machine)), ..ObjectMeta::default() };
    let (wanted, apply) = (Node { metadata, ..Node::default() }, client::apply());
    let applied = async { api.patch(name, &apply, &Patch::Apply(&wanted)).await };
    let mut node = client::timed("register the Node", applied).await?;
    let now = Timestamp::now();
    node.status = Some(status(machine, node.status.take().unwrap_or_default(), now));
    let params = PostParams::default();
    let written = async { api.replace_status(name, &params, &node).await };
    let node = client::timed("write the Node's status", written).await?;
    Ok(node.metadata.uid.unwrap_or_default())
}

fn labels(machine: &Machine) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = machine.labels.iter().cloned().collect();
    labels.insert("kubernetes.io/hostname".to_owned(), machine.name.clone());
    labels.insert("kubernetes.io/os".to_owned(), std::env::consts::OS.to_owned());
    labels.insert("kubernetes.io/arch".to_owned(), architecture().to_owned());
    labels.insert(LABEL_EXECUTORS.to_owned(), machine.mode.name().to_owned());
    labels.insert(LABEL_HOST_KERNELS.to_owned(), "true".to_owned());
    labels
}

/// As Go names it, which is what Kubernetes' users look for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Our part of the status; the conditions of others stay.
fn status(machine: &Machine, old: NodeStatus, now: Timestamp) -> NodeStatus {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    let memory_kib = system.as_ref().map_or(0, System::total_memory) >> 10;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let capacity: BTreeMap<String, Quantity> = [
        ("cpu".to_owned(), Quantity(processors.to_string())),
        ("memory".to_owned(), Quantity(format!("{memory_kib}Ki"))),
        (RESOURCE_SLOTS.to_owned(), Quantity(machine.slots.to_string())),
    ]
    .into();
    let mut conditions = old.conditions.unwrap_or_default();
    conditions.retain(|condition| condition.type_ != "Ready" && condition.type_ != SANDBOX_DEGRADED);
    conditions.push(sandbox_condition(&machine.missing_walls, now));
    conditions.push(NodeCondition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: Some("KubeletReady".to_owned()),
        message: Some("the kubelet has started and takes work".to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
    NodeStatus {
        capacity: Some(capacity.clone()),
        allocatable: Some(capacity),
        conditions: Some(conditions),
        addresses: Some(vec![NodeAddress { type_: "Hostname".to_owned(), address: machine.name.clone() }]),
        node_info: Some(node_info()),
        ..old
    }
}

/// What could not be put up around executors; the walls of the engine stand everywhere.
fn sandbox_condition(missing: &[String], now: Timestamp) -> NodeCondition {
    let (status, reason, message) = match missing {
        [] => ("False", "AllLayersApplied", "executors run behind every layer of the sandbox".to_owned()),
        missing => ("True", "LayersMissing", format!("executors run without {}", missing.join("; without "))),
    };
    NodeCondition {
        type_: SANDBOX_DEGRADED.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn node_info() -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: concat!("pd-executor://", env!("CARGO_PKG_VERSION")).to_owned(),
        kernel_version: System::kernel_version().unwrap_or_default(),
        kube_proxy_version: String::new(),
        kubelet_version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        machine_id: read("/etc/machine-id"),
        operating_system: std::env::consts::OS.to_owned(),
        os_image: System::long_os_version().unwrap_or_default(),
        swap: None,
        system_uuid: String::new(),
    }
}

/// A legal node name out of the host's.
pub(crate) fn host_name() -> String {
    let name = System::host_name().unwrap_or_default().to_lowercase();
    let legal: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let legal = legal.trim_matches(['-', '.']);
    if legal.is_empty() { "node".to_owned() } else { legal.chars().take(63).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_keeps_the_conditions_of_others() {
        let machine = Machine {
            name: "n1".to_owned(),
            slots: 3,
            labels: vec![],
            mode: Mode::Shared,
            missing_walls: vec!["Landlock: none".to_owned()],
        };
        assert_eq!(labels(&machine)[LABEL_EXECUTORS], "shared");
        let other = NodeCondition { type_: "Untrusted".to_owned(), ..NodeCondition::default() };
        let old = NodeStatus { conditions: Some(vec![other]), ..NodeStatus::default() };
        let status = status(&machine, old, Timestamp::UNIX_EPOCH);
        let types: Vec<_> = status.conditions.expect("some").into_iter().map(|c| c.type_).collect();
        assert_eq!(types, ["Untrusted", "SandboxDegraded", "Ready"]);
        assert_eq!(status.capacity.expect("some")[RESOURCE_SLOTS].0, "3");
    }
}
