//! Following one object until it is what it is waited for: what `wait`, `run` and `apply --wait` share.
//!
//! The verdict on a state is pure; the loop around it watches, survives a server that goes away, and knows
//! the deadline.

use std::{future::pending, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    api::ListParams,
    core::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use schemas::{
    Assignment, JobStatus, condition,
    job::{conditions, waiting},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    client::Cluster,
    errors::{self, Error, Result},
    kinds::Kind,
    progress::JobBar,
};

/// Between two counts of the nodes that work on a job; only while a bar shows them.
const NODES_EVERY: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Goal {
    /// A Job's end, whichever.
    Terminal,
    /// A condition with a status, usually `True`.
    Condition { type_: String, status: String },
    /// That it is gone.
    Deleted,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum End {
    /// A Job is Complete.
    Complete(Box<DynamicObject>),
    /// A Job has Failed: why.
    Failed(String),
    /// The object is gone (or was replaced by another of the same name).
    Deleted,
    /// The condition is met.
    ConditionMet,
    /// A Job ended in a way that the condition can no longer be met.
    Unmeetable(String),
}

/// What to follow.
pub(crate) struct Subject<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Of the object that is meant; absent: of the first that is seen.
    pub(crate) uid: Option<String>,
}

/// Judges one state of the object; absent: not over yet.
pub(crate) fn judge(goal: &Goal, is_job: bool, object: Option<&DynamicObject>, uid: Option<&str>) -> Option<End> {
    let Some(object) = object.filter(|object| uid.is_none_or(|uid| object.metadata.uid.as_deref() == Some(uid))) else {
        return Some(End::Deleted);
    };
    if is_job && is_reopening(object) {
        return None;
    }
    let status = status_of(object);
    let is_complete = condition::is_true(&status.conditions, conditions::COMPLETE);
    let failed = status.conditions.iter().find(|c| c.type_ == conditions::FAILED && c.status == "True");
    match goal {
        Goal::Terminal if is_complete => Some(End::Complete(Box::new(object.clone()))),
        Goal::Terminal => failed.map(|condition| End::Failed(because(condition))),
        Goal::Deleted => None,
        Goal::Condition { type_, status: wanted } => {
            let generation = object.metadata.generation;
            let is_met = condition_list(object).iter().any(|c| {
                // A condition observed of an older spec says nothing about this one.
                let is_fresh =
                    c.observed_generation.or(status.observed_generation).zip(generation).is_none_or(|(o, g)| o >= g);
                c.type_.eq_ignore_ascii_case(type_) && c.status.eq_ignore_ascii_case(wanted) && is_fresh
            });
            match (is_met, failed) {
                (true, _) => Some(End::ConditionMet),
                (false, Some(condition)) if is_job => Some(End::Failed(because(condition))),
                (false, None) if is_job && is_complete => Some(End::Unmeetable("it is complete".to_owned())),
                _ => None,
            }
        }
    }
}

/// True when somebody has asked that failed indexes of a Job are tried again, and its status does not know it yet: that
/// it has failed is no news.
fn is_reopening(object: &DynamicObject) -> bool {
    let round = |path: &str| object.data.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(0);
    round("/spec/retry/round") > round("/status/retried/round")
}

fn because(condition: &schemas::Condition) -> String {
    match condition.message.as_str() {
        "" => condition.reason.clone(),
        message => format!("{}: {message}", condition.reason),
    }
}

/// A Job's status; of any other kind what it has in common with one.
pub(crate) fn status_of(object: &DynamicObject) -> JobStatus {
    let status = object.data.get("status").cloned();
    let typed = status.and_then(|status| serde_json::from_value(status).ok());
    typed.unwrap_or_else(|| JobStatus { conditions: condition_list(object), ..JobStatus::default() })
}

/// The conditions of any kind; nodes write theirs without some of our fields.
fn condition_list(object: &DynamicObject) -> Vec<schemas::Condition> {
    let list = object.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    let text = |value: &serde_json::Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    list.into_iter()
        .flatten()
        .map(|value| schemas::Condition {
            type_: text(value, "type"),
            status: text(value, "status"),
            reason: text(value, "reason"),
            message: text(value, "message"),
            last_transition_time: text(value, "lastTransitionTime").parse().unwrap_or_default(),
            observed_generation: value["observedGeneration"].as_i64(),
        })
        .collect()
}

/// Watches until the goal is reached or can no longer be.
pub(crate) async fn follow(
    cluster: &Cluster,
    mut subject: Subject<'_>,
    goal: &Goal,
    deadline: Option<(Instant, Duration)>,
    bar: &mut JobBar,
) -> Result<End> {
    let Subject { kind, namespace, name, .. } = subject;
    let api = kind.api(cluster, Some(namespace));
    let mut states = Box::pin(watcher::watch_object(api, name).default_backoff());
    let mut connection = Connection::default();
    let mut nodes = interval(NODES_EVERY);
    nodes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            state = states.next() => {
                let Some(state) = state else { continue };
                let object = match connection.settle(cluster, name, state, bar)? {
                    Seen::Object(object) => Some(*object),
                    Seen::Nothing => None,
                    Seen::Away => continue,
                };
                if let Some(object) = &object {
                    subject.uid = subject.uid.or_else(|| object.metadata.uid.clone());
                    bar.update(&status_of(object));
                } else if subject.uid.is_none() && *goal != Goal::Deleted {
                    return Err(absent(cluster, kind, namespace, name).await);
                }
                if let Some(end) = judge(goal, kind.is_job(), object.as_ref(), subject.uid.as_deref()) {
                    return Ok(end);
                }
            }
            () = until(deadline.map(|(instant, _)| instant)) => {
                let after = deadline.map_or(Duration::ZERO, |(_, after)| after);
                return Err(overdue(cluster, &subject, after).await);
            }
            _ = nodes.tick(), if bar.is_visible() && kind.is_job() => {
                if let Some(uid) = &subject.uid && let Ok(count) = nodes_of(cluster, namespace, uid).await {
                    bar.set_nodes(count);
                }
            }
        }
    }
}

/// What became of the connection so far.
#[derive(Default)]
struct Connection {
    has_answered: bool,
    is_lost: bool,
}

/// What one item of the watch says.
enum Seen {
    Object(Box<DynamicObject>),
    /// There is no such object.
    Nothing,
    /// There is no server at the moment.
    Away,
}

impl Connection {
    /// What was seen. That the server is away is an error only if it never was there or it refuses us.
    fn settle(
        &mut self,
        cluster: &Cluster,
        name: &str,
        state: Result<Option<DynamicObject>, watcher::Error>,
        bar: &JobBar,
    ) -> Result<Seen> {
        match state {
            Ok(object) => {
                if std::mem::take(&mut self.is_lost) {
                    bar.note("the API server is back");
                }
                self.has_answered = true;
                Ok(object.map_or(Seen::Nothing, |object| Seen::Object(Box::new(object))))
            }
            Err(error) => {
                let error = watch_error(cluster, name, error);
                let is_refusal =
                    matches!(&error, Error::Refused { status, .. } if matches!(status.code, 400..=403 | 405));
                if !self.has_answered || is_refusal {
                    return Err(error);
                }
                let is_expiry = matches!(&error, Error::Refused { status, .. } if status.code == 410);
                if !is_expiry && !std::mem::replace(&mut self.is_lost, true) {
                    bar.note(&format!("{error}; trying again"));
                }
                Ok(Seen::Away)
            }
        }
    }
}

pub(crate) fn watch_error(cluster: &Cluster, name: &str, error: watcher::Error) -> Error {
    let doing = format!("cannot watch `{name}`");
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => errors::from_kube(&cluster.origin, doing, error),
        watcher::Error::WatchError(status) => Error::Refused { doing, status, hint: None },
        watcher::Error::NoResourceVersion => {
            Error::Answer { doing, reason: "the list has no resourceVersion".to_owned() }
        }
    }
}

/// Ends at the instant, or never.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// Not found, with the nearest name.
pub(crate) async fn absent(cluster: &Cluster, kind: &Kind, namespace: &str, name: &str) -> Error {
    let place = if kind.namespaced { format!(" in namespace `{namespace}`") } else { String::new() };
    let what = format!("{} `{name}` does not exist{place}", kind.full_name());
    let listed = kind.api(cluster, Some(namespace)).list_metadata(&ListParams::default().limit(500)).await;
    let names: Vec<String> =
        listed.map_or_else(|_| Vec::new(), |list| list.items.into_iter().filter_map(|o| o.metadata.name).collect());
    Error::not_found(what, crate::suggest::did_you_mean(name, names.iter().map(String::as_str)))
}

/// Why it took too long: a job that no node can take is told apart.
async fn overdue(cluster: &Cluster, subject: &Subject<'_>, after: Duration) -> Error {
    let what = format!("{}/{}", subject.kind.full_name(), subject.name);
    let job = subject.kind.api(cluster, Some(subject.namespace)).get_opt(subject.name).await.ok().flatten();
    if let Some(job) = job.filter(|_| subject.kind.is_job()) {
        let status = status_of(&job);
        if let Some(waiting) = status.waiting.filter(|waiting| waiting.reason == waiting::NO_NODE) {
            return Error::Unschedulable { job: what, why: waiting.message };
        }
        let counts = status.subtasks;
        if counts.running == 0
            && counts.succeeded == 0
            && let Ok(false) = has_ready_node(cluster).await
        {
            let why = "no node is ready and schedulable".to_owned();
            return Error::Unschedulable { job: what, why };
        }
    }
    let goes_on = if subject.kind.is_job() { "it goes on; " } else { "" };
    let hint = format!("{goes_on}`pdctl describe {what}` says how it stands");
    Error::Timeout { what, after, hint: Some(hint) }
}

async fn has_ready_node(cluster: &Cluster) -> Result<bool, kube::Error> {
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    Ok(nodes.items.iter().any(|node| {
        let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        !is_cordoned && conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    }))
}

/// How many nodes have an Assignment of the job.
async fn nodes_of(cluster: &Cluster, namespace: &str, job_uid: &str) -> Result<usize, kube::Error> {
    let assignments = assignments(cluster, namespace).await?;
    Ok(assignments.iter().filter(|a| a.spec.job.uid == job_uid && !a.spec.grants.is_empty()).count())
}

/// All Assignments of a namespace.
pub(crate) async fn assignments(cluster: &Cluster, namespace: &str) -> Result<Vec<Assignment>, kube::Error> {
    let api: kube::Api<Assignment> = cluster.api(namespace);
    let mut params = ListParams::default().limit(500);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Ends when the object is gone.
pub(crate) async fn deletion(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    uid: Option<String>,
    deadline: Option<(Instant, Duration)>,
) -> Result<()> {
    let mut bar = JobBar::hidden();
    let subject = Subject { kind, namespace, name, uid };
    follow(cluster, subject, &Goal::Deleted, deadline, &mut bar).await.map(drop)
}

/// A timeout flag as a deadline.
pub(crate) fn deadline(timeout: Option<schemas::Duration>) -> Option<(Instant, Duration)> {
    timeout.map(|timeout| (Instant::now() + timeout.0, timeout.0))
}

/// All events of a stream that fail stay failures; used where a list is read once.
pub(crate) async fn list_all(
    api: &kube::Api<DynamicObject>,
    params: ListParams,
) -> Result<Vec<DynamicObject>, kube::Error> {
    let pages = futures::stream::try_unfold(Some(params.limit(500)), |params| async move {
        let Some(params) = params else { return Ok(None) };
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        Ok::<_, kube::Error>(Some((page.items, next.map(|token| params.continue_token(&token)))))
    });
    pages.try_concat().await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: serde_json::Value) -> DynamicObject {
        let object = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job",
            "metadata": {"name": "x", "uid": "u1", "generation": 2}, "spec": {}, "status": {"conditions": conditions}});
        serde_json::from_value(object).expect("an object")
    }

    fn condition(type_: &str, observed: i64) -> serde_json::Value {
        json!([{"type": type_, "status": "True", "reason": "Because", "message": "of it",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": observed}])
    }

    #[test]
    fn every_end_of_a_job_ends_the_wait() {
        let judge = |object: Option<&DynamicObject>| judge(&Goal::Terminal, true, object, Some("u1"));
        assert!(judge(Some(&job(json!([])))).is_none());
        assert!(matches!(judge(Some(&job(condition("Complete", 2)))), Some(End::Complete(_))));
        let Some(End::Failed(why)) = judge(Some(&job(condition("Failed", 2)))) else { panic!("failed") };
        assert_eq!(why, "Because: of it");
        assert!(matches!(judge(None), Some(End::Deleted)));
    }

    #[test]
    fn a_failure_that_is_being_retried_is_no_end() {
        let mut failed = job(condition("Failed", 2));
        failed.data["spec"] = json!({"retry": {"round": 2}});
        failed.data["status"]["retried"] = json!({"round": 1});
        assert!(judge(&Goal::Terminal, true, Some(&failed), Some("u1")).is_none());
        failed.data["status"]["retried"] = json!({"round": 2});
        assert!(matches!(judge(&Goal::Terminal, true, Some(&failed), Some("u1")), Some(End::Failed(_))));
    }

    #[test]
    fn another_object_of_the_same_name_is_not_the_one() {
        let other = job(condition("Complete", 2));
        assert!(matches!(judge(&Goal::Terminal, true, Some(&other), Some("u0")), Some(End::Deleted)));
    }

    #[test]
    fn a_condition_of_an_older_spec_does_not_count() {
        let goal = Goal::Condition { type_: "planned".to_owned(), status: "True".to_owned() };
        assert!(judge(&goal, true, Some(&job(condition("Planned", 1))), None).is_none());
        assert!(matches!(judge(&goal, true, Some(&job(condition("Planned", 2))), None), Some(End::ConditionMet)));
        assert!(matches!(judge(&goal, true, Some(&job(condition("Failed", 2))), None), Some(End::Failed(_))));
        assert!(matches!(judge(&goal, true, Some(&job(condition("Complete", 2))), None), Some(End::Unmeetable(_))));
    }
}
