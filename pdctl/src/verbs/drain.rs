//! `pdctl drain NODE`

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use schemas::{Assignment, IndexSet, Job, condition, job::conditions};
use tokio::time::{Instant, sleep};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow, output,
    verbs::cordon::{self, Mode},
};

/// Between two looks at the node's Assignments.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  pdctl drain node-1 --timeout 5m";

/// Which node, and how long at most.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name of the node
    #[arg(value_name = "NODE", add = crate::complete::nodes())]
    node: String,
    /// Give up waiting after this long (exit code 7); the node stays cordoned
    #[arg(long, value_name = "DURATION")]
    timeout: Option<schemas::Duration>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let node = args.node.strip_prefix("node/").unwrap_or(&args.node);
    let cluster = Cluster::connect(global).await?;
    cordon::set(&cluster, node, Mode::Draining).await?;
    output::note(&format!("node/{node} cordoned; waiting for what it has started"));
    let deadline = follow::deadline(args.timeout);
    let mut told = None;
    loop {
        let left = left(&cluster, node).await?;
        if left.is_empty() {
            return output::print_line(&format!("node/{node} drained"));
        }
        if told.as_ref() != Some(&left) {
            let list: Vec<String> = left.iter().map(|(job, count)| format!("{job}: {count}")).collect();
            output::note(&format!("node/{node} still has {}", list.join(", ")));
            told = Some(left);
        }
        if let Some((_, after)) = deadline.filter(|(instant, _)| Instant::now() >= *instant) {
            let hint =
                Some(format!("it stays cordoned; `pdctl drain {node}` waits again, `pdctl uncordon {node}` undoes it"));
            return Err(Error::Timeout { what: format!("node/{node} to be drained"), after, hint });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What each job still has on the node, by `namespace/name`.
async fn left(cluster: &Cluster, node: &str) -> Result<BTreeMap<String, u64>> {
    let api: Api<Assignment> = Api::all(cluster.client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let listed = api.list(&params).await.map_err(cluster.failed("cannot list the node's assignments"))?;
    let is_ready = is_ready(cluster, node).await?;
    let mut left = BTreeMap::new();
    for assignment in listed.items {
        // A node that is away cannot answer; what it had is given to others.
        let unheard = u64::from(is_ready && !has_observed(&assignment));
        let count = unfinished(&assignment).max(unheard);
        let namespace = assignment.metadata.namespace.as_deref().unwrap_or_default();
        if count > 0 && !is_over(cluster, namespace, &assignment).await? {
            left.insert(format!("{namespace}/{}", assignment.spec.job.name), count);
        }
    }
    Ok(left)
}

async fn is_ready(cluster: &Cluster, node: &str) -> Result<bool> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let node = api.get_opt(node).await.map_err(cluster.failed("cannot get the node"))?;
    let conditions = node.and_then(|node| node.status).and_then(|status| status.conditions).unwrap_or_default();
    Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}

/// Whether the node has answered the newest spec. Before that it may be running what the spec no longer names:
/// it says so (`retained`) in the same report in which it says that it has seen the spec.
fn has_observed(assignment: &Assignment) -> bool {
    let observed = assignment.status.as_ref().map_or(0, |status| status.observed_generation);
    assignment.metadata.generation.is_none_or(|generation| observed >= generation)
}

/// Whether the job has ended: what is granted and not done of it will never be.
async fn is_over(cluster: &Cluster, namespace: &str, assignment: &Assignment) -> Result<bool> {
    let api: Api<Job> = cluster.api(namespace);
    let job = api.get_opt(&assignment.spec.job.name).await.map_err(cluster.failed("cannot get the job"))?;
    let running = assignment.status.as_ref().is_some_and(|status| !status.running.is_empty());
    let Some(job) = job.filter(|job| job.metadata.uid.as_ref() == Some(&assignment.spec.job.uid)) else {
        return Ok(!running);
    };
    let status = job.status.unwrap_or_default();
    let is_terminal =
        [conditions::COMPLETE, conditions::FAILED].iter().any(|type_| condition::is_true(&status.conditions, type_));
    Ok(is_terminal && !running)
}

/// Calls and indexes that the node was given and has not answered, whatever the answer.
fn unfinished(assignment: &Assignment) -> u64 {
    let spec = &assignment.spec;
    let status = assignment.status.clone().unwrap_or_default();
    let completed = status.completed();
    let open: u64 = spec
        .grants
        .iter()
        .map(|grant| {
            let failures = status.failures.iter().filter(|failure| failure.attempt >= grant.attempt);
            let failed: IndexSet = failures.flat_map(|failure| failure.indexes.ranges()).collect();
            (&(&grant.indexes - &completed) - &failed).count()
        })
        .sum();
    let has_plan_open = spec.plan && status.plan.is_none();
    let answered = status.merge.as_ref().map_or(0, |merge| merge.attempt);
    let has_merge_open = spec.merge.as_ref().is_some_and(|merge| merge.attempt > answered);
    let retained = (&status.retained - &completed).count();
    open.max(status.running.len() as u64).max(retained) + u64::from(has_plan_open) + u64::from(has_merge_open)
}

#[cfg(test)]
mod tests {
    use schemas::Digest;
    use serde_json::json;

    use super::*;

    fn assignment(grants: serde_json::Value, status: serde_json::Value) -> Assignment {
        let digest = Digest::of(b"");
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Assignment", "metadata": {"name": "a"},
            "spec": {"job": {"name": "x", "uid": "u"}, "nodeName": "n", "nodeUid": "nu", "grants": grants,
                "work": {"module": digest, "memory": "64Mi", "subtaskTimeout": "5m"}}, "status": status});
        serde_json::from_value(object).expect("an assignment")
    }

    #[test]
    fn what_has_succeeded_or_failed_is_not_left() {
        let digest = Digest::of(b"");
        let grants = json!([{"attempt": 1, "indexes": "0-9"}, {"attempt": 2, "indexes": "20"}]);
        assert_eq!(unfinished(&assignment(grants.clone(), json!({}))), 11);
        let status = json!({"segments": [{"digest": digest, "size": 1, "indexes": "0-4"}],
            "failures": [{"attempt": 1, "outcome": "Trap", "message": "", "indexes": "5,20"}]});
        assert_eq!(unfinished(&assignment(grants, status)), 5);
        let running = json!({"running": [{"index": 3, "attempt": 1, "startedAt": "2026-01-01T00:00:00Z"}]});
        assert_eq!(unfinished(&assignment(json!([]), running)), 1);
        assert_eq!(unfinished(&assignment(json!([]), json!({}))), 0);
    }

    #[test]
    fn a_spec_that_the_node_has_not_answered_may_hide_work() {
        let mut assignment = assignment(json!([]), json!({"observedGeneration": 3}));
        assert!(has_observed(&assignment));
        assignment.metadata.generation = Some(4);
        assert!(!has_observed(&assignment));
    }
}
