//! `pdctl retry job/x`: failed indexes of a job are tried again, in the job itself; what is done stays done.

use schemas::{IndexSet, Job, job::Retry};
use serde_json::json;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow::{self, Goal, Subject},
    kinds::{self, Kind},
    output,
    progress::JobBar,
    verbs::{results, wait},
    writes,
};

const EXAMPLES: &str = "\
What has succeeded is kept, and the indexes that failed get their retries anew. A job that has failed is open again until \
they have ended, and its timeout counts from now. `rerun` computes everything again, as a new job.

Examples:
  pdctl retry job/mandelbrot                      # all that failed; the merge, when that failed
  pdctl retry job/mandelbrot --indexes 1-3,7      # those of them
  pdctl retry job/mandelbrot --wait --timeout 10m";

/// Which indexes of which job.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB", add = crate::complete::jobs())]
    job: String,
    /// All indexes that have failed; the default
    #[arg(long, conflicts_with = "indexes")]
    failed: bool,
    /// These failed indexes alone
    #[arg(long, value_name = "SET")]
    indexes: Option<IndexSet>,
    /// Wait until the job ends
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long (exit code 7)
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<schemas::Duration>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let kind = Kind::job();
    let job = results::job(&cluster, name).await?;
    let retry = request(&job, name, args.indexes)?;
    // The round is one more than what we have seen: whoever was faster has asked for the same already, or is told.
    let patch = json!({
        "metadata": {"resourceVersion": job.metadata.resource_version},
        // In a merge patch null takes away what an earlier request has named.
        "spec": {"retry": {"round": retry.round, "indexes": retry.indexes}},
    });
    let changed = writes::merge(&cluster, &kind, &cluster.namespace, name, &patch).await;
    changed.map_err(cluster.failed(format!("cannot retry job `{name}`")))?;
    let full = format!("{}/{name}", kind.full_name());
    output::print_line(&format!("{full} {}", told(&job, &retry)))?;
    if !args.wait {
        return Ok(());
    }
    let mut bar = JobBar::new(&full);
    let subject = Subject { kind: &kind, namespace: &cluster.namespace, name, uid: job.metadata.uid.clone() };
    let end = follow::follow(&cluster, subject, &Goal::Terminal, follow::deadline(args.timeout), &mut bar).await;
    bar.clear();
    wait::tell(&full, &Goal::Terminal, end?)
}

/// What to ask for, or why there is nothing to ask for.
fn request(job: &Job, name: &str, indexes: Option<IndexSet>) -> Result<Retry> {
    let status = job.status.clone().unwrap_or_default();
    let refused = |message: String, hint: String| Err(Error::Invalid { message, hint: Some(hint) });
    let rerun = || format!("`pdctl rerun job/{name}` runs everything anew under another name");
    if job.spec.cancel {
        return refused(format!("job/{name} was cancelled: it does not come back"), rerun());
    }
    if let Some(indexes) = &indexes {
        let others = indexes - &status.failed_indexes;
        if !others.is_empty() {
            let failed = match status.failed_indexes.count() {
                0 => "none has".to_owned(),
                _ => format!("failed are {}", status.failed_indexes),
            };
            return refused(format!("index {others} of job/{name} has not failed: {failed}"), rerun());
        }
    }
    match results::end_of(job) {
        Some("complete") => refused(format!("job/{name} is complete"), rerun()),
        Some(_) if status.layout.is_none() => {
            refused(format!("job/{name} failed before it had any subtask: there is nothing to retry"), rerun())
        }
        None if status.failed_indexes.is_empty() => refused(
            format!("nothing of job/{name} has failed for good"),
            format!("`pdctl why job/{name}` says how it stands"),
        ),
        _ => {
            let asked = job.spec.retry.as_ref().map_or(0, |retry| retry.round);
            let done = status.retried.as_ref().map_or(0, |retried| retried.round);
            Ok(Retry { round: asked.max(done) + 1, indexes })
        }
    }
}

/// What was asked for, in words.
fn told(job: &Job, retry: &Retry) -> String {
    let failed = job.status.iter().map(|status| status.failed_indexes.count()).sum();
    match retry.indexes.as_ref().map_or(failed, IndexSet::count) {
        0 => "goes on".to_owned(),
        1 => "retries 1 subtask".to_owned(),
        count => format!("retries {count} subtasks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(condition: &str, failed: &str, more: serde_json::Value) -> Job {
        let mut job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": "x"},
            "spec": {"task": {"name": "noop"}},
            "status": {"failedIndexes": failed, "layout": {"subtasks": 9, "mediaType": "text/plain"}, "conditions": [
                {"type": condition, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        json_patch::merge(&mut job, &more);
        serde_json::from_value(job).expect("a job")
    }

    fn set(text: &str) -> IndexSet {
        text.parse().expect("an index set")
    }

    #[test]
    fn a_request_is_one_round_further() {
        let first = request(&job("Failed", "2,5", json!({})), "x", None).expect("a request");
        assert_eq!(first, Retry { round: 1, indexes: None });
        let more = json!({"spec": {"retry": {"round": 3}}, "status": {"retried": {"round": 4}}});
        let later = job("Failed", "2,5", more);
        assert_eq!(
            request(&later, "x", Some(set("5"))).expect("a request"),
            Retry { round: 5, indexes: Some(set("5")) }
        );
        assert_eq!(told(&later, &Retry { round: 5, indexes: Some(set("5")) }), "retries 1 subtask");
        assert_eq!(told(&later, &Retry { round: 5, indexes: None }), "retries 2 subtasks");
        assert!(request(&job("Planned", "2", json!({})), "x", None).is_ok(), "of a job that runs, too");
        assert!(request(&job("Failed", "", json!({})), "x", None).is_ok(), "its time was up, or the merge failed");
    }

    #[test]
    fn what_cannot_be_retried_is_said() {
        let said = |job: Job, indexes| request(&job, "x", indexes).expect_err("refused").to_string();
        assert_eq!(
            said(job("Failed", "2", json!({})), Some(set("2-4"))),
            "index 3-4 of job/x has not failed: failed are 2"
        );
        assert_eq!(said(job("Complete", "", json!({})), None), "job/x is complete");
        assert_eq!(said(job("Planned", "", json!({})), None), "nothing of job/x has failed for good");
        let cancelled = job("Failed", "2", json!({"spec": {"cancel": true}}));
        assert_eq!(said(cancelled, None), "job/x was cancelled: it does not come back");
        let unplanned = job("Failed", "", json!({"status": {"layout": null}}));
        assert_eq!(said(unplanned, None), "job/x failed before it had any subtask: there is nothing to retry");
    }
}
