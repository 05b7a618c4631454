//! `logs -f`: what the Assignments say as they change, until the job ends.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use kube::{
    Api,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config},
    },
};
use schemas::{Assignment, Job, well_known::LABEL_JOB};

use super::Printer;
use crate::{
    client::Cluster,
    errors::{Error, Result},
    follow, output,
    verbs::results,
};

/// Prints until the job ends or is gone. A server that goes away is waited for.
pub(super) async fn run(cluster: &Cluster, name: &str, uid: &str, printer: &mut Printer<'_>) -> Result<()> {
    let assignments: Api<Assignment> = cluster.api(&cluster.namespace);
    let jobs: Api<Job> = cluster.api(&cluster.namespace);
    let config = Config::default().labels(&format!("{LABEL_JOB}={name}"));
    let mut changes = Box::pin(watcher::watcher(assignments, config).default_backoff());
    let mut states = Box::pin(watcher::watch_object(jobs, name).default_backoff());
    let mut away = Away::default();
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(watcher::Event::Apply(assignment) | watcher::Event::InitApply(assignment))) => {
                    away.is_lost = false;
                    if assignment.spec.job.uid == uid {
                        printer.print(&[assignment]).await?;
                    }
                }
                Some(Err(error)) => away.settle(follow::watch_error(cluster, name, error))?,
                Some(Ok(_)) | None => {}
            },
            state = states.next() => match state {
                Some(Ok(Some(job))) if job.metadata.uid.as_deref() == Some(uid) => {
                    if let Some(end) = results::end_of(&job) {
                        last(cluster, uid, printer).await?;
                        output::note(&format!("job/{name} is {end}"));
                        return Ok(());
                    }
                }
                Some(Ok(_)) => return Err(Error::not_found(format!("job/{name} was deleted before it ended"), None)),
                Some(Err(error)) => away.settle(follow::watch_error(cluster, name, error))?,
                None => {}
            },
        }
    }
}

/// What was reported between the last change that we saw and the end.
async fn last(cluster: &Cluster, uid: &str, printer: &mut Printer<'_>) -> Result<()> {
    let listed = follow::assignments(cluster, &cluster.namespace).await;
    let mut assignments: Vec<Assignment> = listed.map_err(cluster.failed("cannot list the job's assignments"))?;
    assignments.retain(|assignment| assignment.spec.job.uid == uid);
    let in_order: BTreeMap<_, _> = assignments.into_iter().map(|a| (a.spec.node_name.clone(), a)).collect();
    printer.print(&in_order.into_values().collect::<Vec<_>>()).await
}

/// Whether it was said that the server is away.
#[derive(Default)]
struct Away {
    is_lost: bool,
}

impl Away {
    /// An error that passes by itself is told once; any other ends it.
    fn settle(&mut self, error: Error) -> Result<()> {
        let passes = match &error {
            Error::Unreachable { .. } | Error::Answer { .. } => true,
            Error::Refused { status, .. } => status.code == 410 || status.code >= 500,
            _ => false,
        };
        if !passes {
            return Err(error);
        }
        let is_expiry = matches!(&error, Error::Refused { status, .. } if status.code == 410);
        if !is_expiry && !std::mem::replace(&mut self.is_lost, true) {
            output::note(&format!("{error}; trying again"));
        }
        Ok(())
    }
}
