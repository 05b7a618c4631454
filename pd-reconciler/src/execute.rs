//! Execute: from actions to API calls. No choices are left here but what to do when a call fails: nothing. The
//! next plan sees what came of it.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use http::{Request, header::CONTENT_TYPE};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, NodeStatus, Taint},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use pd_plan::{Action, Compared, Event, Plan};
use schemas::{Assignment, CachedResult, Digest, IndexSet, Job, JobStatus, well_known};
use serde_json::json;

use crate::{
    metrics::Metrics,
    observe::{View, Written},
};

/// Calls under way at once: enough to fill one group commit, few enough not to crowd out the nodes' reports.
const CALLS_MAX: usize = 32;
/// Time that one call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// Characters of an action in a log line: a merge order lists every segment.
const TOLD_CHARS_MAX: usize = 300;
/// Who we are in managedFields.
const FIELD_MANAGER: &str = "pd-reconciler";

/// What came of a plan.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Objects as the API server answered them.
    pub(crate) written: Vec<Written>,
    /// Writes that somebody else's write came before: the watch will say more.
    pub(crate) conflicts: u64,
    /// Writes that got no answer: the API server is away or overloaded.
    pub(crate) failures: u64,
    /// UIDs of jobs and nodes of which a write was refused: trying again at once cannot help.
    pub(crate) refused: BTreeSet<String>,
    /// CachedResults that name artifacts which are gone.
    pub(crate) broken: Vec<Arc<CachedResult>>,
    /// Events whose writes succeeded.
    pub(crate) events: Vec<Event>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the API server did not take it")]
    Refused(#[source] kube::Error),
    #[error("no answer within {CALL_TIME_MAX:?}")]
    TimedOut,
    #[error("the object is not known any more")]
    Gone,
    #[error("the answer is no set of indexes")]
    Nonsense,
}

/// One API call with what it is about.
struct Call {
    /// UID of the job or the node.
    uid: Option<String>,
    told: String,
    kind: &'static str,
    action: Action,
}

/// Carries out a plan: what takes work away first, and nothing else of a job for which that failed. So an
/// index never has two owners because half of a plan was written.
pub(crate) async fn execute(client: &Client, view: &View, plan: Plan, now: Timestamp, metrics: &Metrics) -> Outcome {
    let mut outcome = Outcome::default();
    let mut spoilt = BTreeSet::new();
    let (mut first, mut second, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for action in plan.actions {
        match action {
            Action::EmitEvent(event) => events.push(event),
            Action::ReplaceAssignment { withdraws: true, .. }
            | Action::DeleteAssignment(_)
            | Action::UseCachedResult { .. }
            | Action::DistrustNode { .. } => {
                first.push(Call::new(action));
            }
            _ => second.push(Call::new(action)),
        }
    }
    for calls in [first, second] {
        let calls = calls.into_iter().filter(|call| call.uid.as_ref().is_none_or(|uid| !spoilt.contains(uid)));
        let calls: Vec<Call> = calls.collect();
        let answers = stream::iter(calls)
            .map(|call| async move {
                let started = Instant::now();
                let answer = write(client, view, &call.action, now).await;
                (call, answer, started.elapsed())
            })
            .buffer_unordered(CALLS_MAX)
            .collect::<Vec<_>>()
            .await;
        for (call, answer, took) in answers {
            let kind = call.kind;
            let result = take(call, answer, &mut outcome, &mut spoilt);
            metrics.wrote(kind, result, took);
        }
    }
    let is_told = |event: &Event| !spoilt.contains(event.about.uid());
    outcome.events = events.into_iter().filter(is_told).collect();
    outcome
}

impl Call {
    fn new(action: Action) -> Self {
        let uid = action.uid().map(str::to_owned);
        let kind = match action {
            Action::CreateAssignment(_) => "create_assignment",
            Action::ReplaceAssignment { .. } => "replace_assignment",
            Action::WriteJobStatus { .. } => "job_status",
            Action::DeleteAssignment(_) => "delete_assignment",
            Action::DeleteJob(_) => "delete_job",
            Action::ExplainNode { .. } => "explain_node",
            Action::SetNodeReady { .. } => "node_ready",
            Action::CompareOutputs { .. } => "compare_outputs",
            Action::DistrustNode { .. } => "distrust_node",
            Action::UseCachedResult { .. } => "use_cached_result",
            Action::WriteCachedResult(_) => "write_cached_result",
            Action::DropCachedResult(_) => "drop_cached_result",
            Action::EmitEvent(_) => "event",
        };
        let told = action.to_string().chars().take(TOLD_CHARS_MAX).collect();
        Self { uid, told, kind, action }
    }
}

/// Sorts one answer into the outcome; says in a word how the write went.
fn take(
    call: Call,
    answer: Result<Written, WriteError>,
    outcome: &mut Outcome,
    spoilt: &mut BTreeSet<String>,
) -> &'static str {
    match answer {
        Ok(written) => {
            tracing::debug!(action = call.told, "written");
            outcome.written.push(written);
            "ok"
        }
        Err(error) if names_what_is_gone(&call.action, &error).is_some() => {
            tracing::warn!(action = call.told, "what was cached is gone; it is computed anew");
            outcome.broken.extend(names_what_is_gone(&call.action, &error));
            spoilt.extend(call.uid);
            "broken"
        }
        Err(error) if is_conflict(&error) => {
            tracing::debug!(action = call.told, %error, "somebody wrote before us; planning anew");
            outcome.conflicts += 1;
            spoilt.extend(call.uid);
            "conflict"
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(action = call.told, %error, source, "write failed; planning anew");
            match call.uid.as_ref().filter(|_| is_refusal(&error)) {
                Some(uid) => drop(outcome.refused.insert(uid.clone())),
                None => outcome.failures += 1,
            }
            spoilt.extend(call.uid);
            "error"
        }
    }
}

/// The CachedResult that was refused because an artifact that it names is gone.
fn names_what_is_gone(action: &Action, error: &WriteError) -> Option<Arc<CachedResult>> {
    match (action, error) {
        (Action::UseCachedResult { entry, .. }, WriteError::Refused(kube::Error::Api(status))) => {
            (status.code == 422).then(|| Arc::clone(entry))
        }
        _ => None,
    }
}

/// True when the object changed, vanished or appeared under us: not an error, only old news.
fn is_conflict(error: &WriteError) -> bool {
    match error {
        WriteError::Refused(kube::Error::Api(status)) => matches!(status.code, 404 | 409),
        WriteError::Gone => true,
        WriteError::Refused(_) | WriteError::TimedOut | WriteError::Nonsense => false,
    }
}

/// True when the API server understood the write and will not have it.
fn is_refusal(error: &WriteError) -> bool {
    matches!(error, WriteError::Refused(kube::Error::Api(status)) if matches!(status.code, 400..=428))
}

async fn write(client: &Client, view: &View, action: &Action, now: Timestamp) -> Result<Written, WriteError> {
    match action {
        Action::CreateAssignment(assignment) => {
            let api = assignments(client, assignment);
            let created = timed(api.create(&parameters(), assignment)).await?;
            Ok(Written::Assignment(Box::new(created)))
        }
        Action::ReplaceAssignment { assignment, .. } => {
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            let bare = Assignment { status: None, ..(**assignment).clone() };
            let replaced = timed(assignments(client, assignment).replace(name, &parameters(), &bare)).await?;
            Ok(Written::Assignment(Box::new(replaced)))
        }
        Action::WriteJobStatus { job, status } => write_job_status(client, job, status).await,
        Action::DeleteAssignment(assignment) => {
            let name = assignment.metadata.name.as_deref().unwrap_or_default();
            timed(assignments(client, assignment).delete(name, &only(&assignment.metadata, None))).await?;
            Ok(Written::NoAssignment(assignment.clone()))
        }
        Action::DeleteJob(job) => {
            let name = job.metadata.name.as_deref().unwrap_or_default();
            // A job that was changed meanwhile may be about to start over.
            let parameters = only(&job.metadata, job.metadata.resource_version.clone());
            timed(jobs(client, job).delete(name, &parameters)).await?;
            Ok(Written::NoJob(Arc::clone(job)))
        }
        Action::ExplainNode { node, uid, reason } => explain_node(client, node, uid, reason.as_deref()).await,
        Action::SetNodeReady { node, uid, ready } => set_node_ready(client, view, node, uid, *ready, now).await,
        Action::CompareOutputs { job_uid, left, right, indexes } => {
            let compared = compare(client, *left, *right, indexes).await?;
            Ok(Written::Compared { job_uid: job_uid.clone(), compared })
        }
        Action::DistrustNode { node, uid, .. } => distrust_node(client, view, node, uid, now).await,
        Action::UseCachedResult { entry, at, .. } => {
            let name = entry.metadata.name.as_deref().unwrap_or_default();
            let patch = json!({"metadata": {"uid": entry.metadata.uid}, "spec": {"lastUsed": at}});
            let used = timed(cached_results(client, entry).patch(name, &patching(), &Patch::Merge(patch))).await?;
            Ok(Written::CachedResult(Box::new(used)))
        }
        Action::WriteCachedResult(entry) => write_cached_result(client, entry).await,
        Action::DropCachedResult(entry) => {
            let name = entry.metadata.name.as_deref().unwrap_or_default();
            timed(cached_results(client, entry).delete(name, &only(&entry.metadata, None))).await?;
            Ok(Written::NoCachedResult(Arc::clone(entry)))
        }
        Action::EmitEvent(_) => Err(WriteError::Gone),
    }
}

fn assignments(client: &Client, assignment: &Assignment) -> Api<Assignment> {
    let namespace = assignment.metadata.namespace.as_deref().unwrap_or("default");
    Api::namespaced(client.clone(), namespace)
}

fn cached_results(client: &Client, entry: &CachedResult) -> Api<CachedResult> {
    Api::namespaced(client.clone(), entry.metadata.namespace.as_deref().unwrap_or("default"))
}

/// Replaces the version that it was decided on, if there was one.
async fn write_cached_result(client: &Client, entry: &CachedResult) -> Result<Written, WriteError> {
    let api = cached_results(client, entry);
    let written = if entry.metadata.resource_version.is_some() {
        let name = entry.metadata.name.as_deref().unwrap_or_default();
        timed(api.replace(name, &parameters(), entry)).await?
    } else {
        timed(api.create(&parameters(), entry)).await?
    };
    Ok(Written::CachedResult(Box::new(written)))
}

fn jobs(client: &Client, job: &Job) -> Api<Job> {
    Api::namespaced(client.clone(), job.metadata.namespace.as_deref().unwrap_or("default"))
}

/// Deletes this very object, and what belongs to it; in whatever version, or in the one it was decided on.
fn only(metadata: &ObjectMeta, resource_version: Option<String>) -> DeleteParams {
    DeleteParams::background().preconditions(Preconditions { uid: metadata.uid.clone(), resource_version })
}

/// Writes down why a node has nothing to do, or takes it off.
async fn explain_node(client: &Client, name: &str, uid: &str, reason: Option<&str>) -> Result<Written, WriteError> {
    let patch = json!({"metadata": {"uid": uid, "annotations": {well_known::ANNOTATION_IDLE_REASON: reason}}});
    let api: Api<Node> = Api::all(client.clone());
    let answer = timed(api.patch(name, &patching(), &Patch::Merge(patch))).await?;
    Ok(Written::Node(Box::new(answer)))
}

/// Asks the API server, which has the bytes, at which indexes two segments differ.
async fn compare(client: &Client, left: Digest, right: Digest, indexes: &IndexSet) -> Result<Compared, WriteError> {
    let path = format!("{}/{left}/differences/{right}", well_known::ARTIFACTS_PATH);
    let request = Request::post(path).header(CONTENT_TYPE, "text/plain").body(indexes.to_string().into_bytes());
    let request = request.map_err(|error| WriteError::Refused(kube::Error::HttpError(error)))?;
    let text = timed(client.request_text(request)).await?;
    let differ: IndexSet = text.trim().parse().map_err(|_| WriteError::Nonsense)?;
    Ok(Compared { left, right, same: indexes - &differ, differ: indexes & &differ })
}

/// Taints a node whose outputs differ from others'. One that carries the taint already stays as it is.
async fn distrust_node(
    client: &Client,
    view: &View,
    name: &str,
    uid: &str,
    now: Timestamp,
) -> Result<Written, WriteError> {
    let known = view.node(name).filter(|node| node.metadata.uid.as_deref() == Some(uid));
    let node = known.ok_or(WriteError::Gone)?;
    let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if !taints.iter().any(|taint| taint.key == well_known::TAINT_UNTRUSTED) {
        taints.push(Taint {
            key: well_known::TAINT_UNTRUSTED.into(),
            effect: "NoSchedule".into(),
            time_added: Some(Time(now)),
            value: None,
        });
    }
    let metadata = json!({"uid": uid, "resourceVersion": node.metadata.resource_version});
    let patch = Patch::Merge(json!({"metadata": metadata, "spec": {"taints": taints}}));
    let api: Api<Node> = Api::all(client.clone());
    let answer = timed(api.patch(name, &patching(), &patch)).await?;
    Ok(Written::Node(Box::new(answer)))
}

async fn write_job_status(client: &Client, job: &Arc<Job>, status: &JobStatus) -> Result<Written, WriteError> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let api = jobs(client, job);
    let written = Job { status: Some(status.clone()), ..(**job).clone() };
    let answer = timed(api.replace_status(name, &parameters(), &written)).await?;
    Ok(Written::Job(Box::new(answer)))
}

async fn set_node_ready(
    client: &Client,
    view: &View,
    name: &str,
    uid: &str,
    ready: bool,
    now: Timestamp,
) -> Result<Written, WriteError> {
    let known = view.node(name).filter(|node| node.metadata.uid.as_deref() == Some(uid));
    let mut node = Node::clone(known.ok_or(WriteError::Gone)?);
    let conditions = node.status.get_or_insert_with(NodeStatus::default).conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "Ready");
    conditions.push(ready_condition(ready, now));
    let api: Api<Node> = Api::all(client.clone());
    let answer = timed(api.replace_status(name, &parameters(), &node)).await?;
    Ok(Written::Node(Box::new(answer)))
}

fn ready_condition(ready: bool, now: Timestamp) -> NodeCondition {
    let (status, reason, message) = if ready {
        ("True", "KubeletReady", "the kubelet renews its lease again")
    } else {
        ("Unknown", "NodeStatusUnknown", "the kubelet stopped renewing its lease")
    };
    NodeCondition {
        type_: "Ready".into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(Time(now)),
        last_heartbeat_time: None,
    }
}

fn parameters() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) }
}

fn patching() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}

/// No call may hold the loop for ever.
async fn timed<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    match tokio::time::timeout(CALL_TIME_MAX, call).await {
        Ok(answer) => answer.map_err(WriteError::Refused),
        Err(_) => Err(WriteError::TimedOut),
    }
}
