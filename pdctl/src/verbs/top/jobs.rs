//! Jobs: how far they are, how fast, on how many nodes.

use jiff::Timestamp;
use kube::{Api, api::ListParams};
use schemas::{Assignment, Job};
use serde_json::json;

use super::{Look, rate};
use crate::{age, client::Cluster, errors::Result, table::Table};

pub(super) async fn look(cluster: &Cluster, namespace: Option<&str>) -> Result<Look> {
    let (jobs, assignments): (Api<Job>, Api<Assignment>) = match namespace {
        Some(namespace) => (cluster.api(namespace), cluster.api(namespace)),
        None => (Api::all(cluster.client.clone()), Api::all(cluster.client.clone())),
    };
    let all = ListParams::default();
    let (jobs, assignments) = futures::try_join!(jobs.list(&all), assignments.list(&all))
        .map_err(cluster.failed("cannot list jobs and assignments"))?;
    Ok(rows(&jobs.items, &assignments.items, namespace.is_none(), Timestamp::now()))
}

fn rows(jobs: &[Job], assignments: &[Assignment], with_namespace: bool, now: Timestamp) -> Look {
    let namespace_header = with_namespace.then_some("namespace");
    let columns = ["name", "state", "done", "total", "running", "failed", "rate", "nodes", "left", "efficiency"];
    let mut table = Table::new(namespace_header.into_iter().chain(columns));
    let mut objects = Vec::new();
    for job in jobs {
        let name = job.metadata.name.clone().unwrap_or_default();
        let namespace = job.metadata.namespace.clone().unwrap_or_default();
        let status = job.status.clone().unwrap_or_default();
        let counts = status.subtasks;
        let is_at_work = |a: &&Assignment| {
            Some(&a.spec.job.uid) == job.metadata.uid.as_ref()
                && a.status.as_ref().is_some_and(|status| !status.running.is_empty())
        };
        let nodes = assignments.iter().filter(is_at_work).count();
        let eta = status.estimated_completion_time.filter(|eta| *eta > now && status.completion_time.is_none());
        let left = eta.map_or_else(|| "-".to_owned(), |eta| age::human(eta.as_second() - now.as_second()));
        let per_second = status.throughput.unwrap_or(0.0);
        let state = status.state.clone().unwrap_or_else(|| "Waiting".to_owned());
        let cells = [
            name.clone(),
            state.clone(),
            counts.succeeded.to_string(),
            counts.total.to_string(),
            counts.running.to_string(),
            counts.failed.to_string(),
            rate(per_second),
            nodes.to_string(),
            left,
            status.efficiency.clone().unwrap_or_else(|| "-".to_owned()),
        ];
        table.push(with_namespace.then(|| namespace.clone()).into_iter().chain(cells));
        objects.push(json!({"apiVersion": "processdistro.dev/v1", "kind": "JobLoad",
            "metadata": {"name": name, "namespace": namespace}, "state": state, "subtasks": counts,
            "throughput": per_second, "nodes": nodes, "estimatedCompletionTime": status.estimated_completion_time,
            "efficiency": status.efficiency}));
    }
    Look { table, objects }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_a_row() {
        let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"name": "x", "namespace": "team", "uid": "u"}, "spec": {"task": {"name": "noop"}},
            "status": {"state": "Running", "throughput": 120.0, "estimatedCompletionTime": "2026-01-01T00:00:40Z",
                "subtasks": {"total": 100, "succeeded": 50, "failed": 0, "running": 3, "pending": 47}}});
        let job: Job = serde_json::from_value(job).expect("a job");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let look = rows(&[job], &[], true, now);
        let expected = "\
NAMESPACE   NAME   STATE     DONE   TOTAL   RUNNING   FAILED   RATE    NODES   LEFT   EFFICIENCY
team        x      Running   50     100     3         0        120/s   0       40s    -
";
        assert_eq!(look.table.render(), expected);
    }
}
