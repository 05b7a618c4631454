//! `pdctl cordon` and `pdctl uncordon`

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Api;
use serde_json::json;

use crate::{cli::Global, client::Cluster, errors::Result, follow, kinds::Kind, output, writes};

/// Taint of a node that is being drained: the reconciler takes back what it has not started.
pub(crate) const DRAIN_TAINT: &str = "processdistro.dev/drain";
/// Writes that somebody else's change may get in the way of before that is told.
const ATTEMPTS: usize = 5;

const EXAMPLES: &str = "\
Examples:
  pdctl cordon node-1
  pdctl uncordon node-1 node-2";

/// Which nodes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Names of nodes
    #[arg(required = true, value_name = "NODE", add = crate::complete::nodes())]
    nodes: Vec<String>,
}

/// How a node takes work.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// As much as it can.
    Open,
    /// No more.
    Cordoned,
    /// No more, and what it has not started is taken back.
    Draining,
}

/// Runs `cordon`.
pub(crate) async fn cordon(args: Args, global: &Global) -> Result<()> {
    set_all(&args, global, Mode::Cordoned, "cordoned").await
}

/// Runs `uncordon`.
pub(crate) async fn uncordon(args: Args, global: &Global) -> Result<()> {
    set_all(&args, global, Mode::Open, "uncordoned").await
}

async fn set_all(args: &Args, global: &Global, mode: Mode, done: &str) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    for name in &args.nodes {
        let name = name.strip_prefix("node/").unwrap_or(name);
        let changed = set(&cluster, name, mode).await?;
        output::print_line(&format!("node/{name} {}{done}", if changed { "" } else { "already " }))?;
    }
    Ok(())
}

/// Sets the mode; false when it was so already.
pub(crate) async fn set(cluster: &Cluster, name: &str, mode: Mode) -> Result<bool> {
    let kind = Kind::of::<Node>(false);
    let api: Api<Node> = Api::all(cluster.client.clone());
    let mut attempt = 1;
    loop {
        let node = api.get_opt(name).await.map_err(cluster.failed("cannot get the node"))?;
        let Some(node) = node else { return Err(follow::absent(cluster, &kind, "", name).await) };
        let spec = node.spec.clone().unwrap_or_default();
        let old = spec.taints.clone().unwrap_or_default();
        let taints = taints(&old, mode);
        let unschedulable = mode != Mode::Open;
        if taints == old && spec.unschedulable.unwrap_or(false) == unschedulable {
            return Ok(false);
        }
        // The resourceVersion makes the list of taints ours to replace: somebody else's new taint is a conflict.
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"unschedulable": unschedulable.then_some(true), "taints": (!taints.is_empty()).then_some(taints)},
        });
        match writes::merge(cluster, &kind, "", name, &patch).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(cluster.failed(format!("cannot change node `{name}`"))(error)),
        }
    }
}

/// The node's taints with or without ours.
fn taints(old: &[Taint], mode: Mode) -> Vec<Taint> {
    let mut taints: Vec<Taint> = old.iter().filter(|taint| taint.key != DRAIN_TAINT).cloned().collect();
    match (mode, old.iter().find(|taint| taint.key == DRAIN_TAINT)) {
        (Mode::Open, _) | (Mode::Cordoned, None) => {}
        (Mode::Cordoned | Mode::Draining, Some(taint)) => taints.push(taint.clone()),
        (Mode::Draining, None) => {
            taints.push(Taint { key: DRAIN_TAINT.to_owned(), effect: "NoExecute".to_owned(), ..Taint::default() });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_taint_comes_and_goes() {
        let other = Taint { key: "other".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        let drained = taints(std::slice::from_ref(&other), Mode::Draining);
        assert_eq!(drained.len(), 2);
        assert_eq!(taints(&drained, Mode::Draining), drained);
        assert_eq!(taints(&drained, Mode::Cordoned), drained);
        assert_eq!(taints(&drained, Mode::Open), [other]);
    }
}
