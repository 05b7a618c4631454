//! Pods: the attempts at subtasks that run or have just ended, as the tools of Kubernetes know them.
//!
//! In: Assignments. Out: Pods, computed on each read; nothing is stored. A node shows what it runs and the last
//! few of what has ended there, so a list is as long as the cluster has slots, not as a job has subtasks.
//! Deleting or evicting a Pod is graceful: what runs ends by itself, and the Pod of what has ended is hidden.

mod attempts;
mod hidden;
mod log;
mod object;

use std::{collections::BTreeMap, sync::Arc};

use schemas::{
    Assignment,
    well_known::{LABEL_JOB, TAINT_DRAIN},
};
use serde_json::{Value, json};

use self::attempts::Attempt;
pub use self::hidden::Hidden;
pub(crate) use self::log::log;
use super::{
    ApiState,
    call::{Call, text},
    error::ApiError,
    kinds::{self, Rules},
    media::Document,
    registry::{self, Continue, ListResult},
    selectors::Selection,
    serve::system_call,
};
use crate::store::{Change, Page};

/// Records read from the store at a time.
const PAGE_RECORDS: usize = 500;

/// An Assignment and where it is stored.
struct Source {
    key: String,
    namespace: String,
    revision: u64,
    assignment: Assignment,
}

impl Source {
    fn read(key: &str, bytes: &[u8], revision: u64) -> Result<Self, ApiError> {
        let assignment = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::Internal(format!("the stored object `{key}` does not decode: {error}")))?;
        let namespace = kinds::Kind::of_key(key).map_or("", |(_, namespace, _)| namespace);
        Ok(Self { key: key.to_owned(), namespace: namespace.to_owned(), revision, assignment })
    }

    /// A Pod as it is shown; `None`: it is hidden.
    fn shown(&self, attempt: &Attempt, hidden: &Hidden) -> Option<Value> {
        let mut pod = object::pod(self, attempt);
        if hidden.holds(text(&pod["metadata"]["uid"])) {
            if !attempt.is_running() {
                return None;
            }
            pod["metadata"]["deletionTimestamp"] = pod["metadata"]["creationTimestamp"].clone();
            pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        }
        Some(pod)
    }

    fn pods(&self, hidden: &Hidden) -> Vec<Value> {
        attempts::recent(&self.assignment).iter().filter_map(|attempt| self.shown(attempt, hidden)).collect()
    }
}

/// The Assignments of a namespace (an empty one means all) that can have selected Pods.
fn sources(state: &Arc<ApiState>, namespace: &str, selection: &Selection) -> Result<(Vec<Source>, u64), ApiError> {
    let prefix = kinds::by_rules(Rules::Assignment).prefix(namespace);
    let (node, job) = (selection.required("spec.nodeName"), selection.required_label(LABEL_JOB));
    let mut page = Page { limit: PAGE_RECORDS, ..Page::default() };
    let mut found = Vec::new();
    loop {
        let listing = state.store.list(&prefix, &page)?;
        for record in &listing.records {
            let source = Source::read(&record.key, &record.value, record.revision)?;
            let spec = &source.assignment.spec;
            if node.is_none_or(|node| node == spec.node_name) && job.is_none_or(|job| job == spec.job.name) {
                found.push(source);
            }
        }
        let Some(last) = listing.records.last().filter(|_| listing.remaining > 0) else {
            return Ok((found, listing.revision));
        };
        page = Page { limit: PAGE_RECORDS, after: Some(last.key.clone()), revision: Some(listing.revision) };
    }
}

/// The Pods that a call selects, a page of them when it has a limit.
pub(crate) fn list(call: &Call) -> Result<ListResult, ApiError> {
    let (target, options) = (&call.target, &call.options);
    let selection = Selection::parse(target.kind, &options.label_selector, &options.field_selector)?;
    let start = match options.continue_token.as_str() {
        "" => None,
        token => Some(Continue::decode(token)?.after),
    };
    let (sources, revision) = sources(&call.state, &target.namespace, &selection)?;
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    for pod in sources.iter().flat_map(|source| source.pods(&call.state.hidden)) {
        let key = format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        if selection.matches(&pod) && start.as_ref().is_none_or(|start| key > *start) {
            // An index that was taken from a lost node runs elsewhere under the same attempt: the newest report counts.
            let is_newer = objects.get(&key).is_none_or(|other| object::is_newer(&pod, other));
            if is_newer {
                objects.insert(key, pod);
            }
        }
    }
    let mut result = ListResult { revision, ..ListResult::default() };
    let total = objects.len();
    for (at, (key, pod)) in objects.into_iter().enumerate() {
        result.objects.push(pod);
        if options.limit > 0 && result.objects.len() == options.limit && at + 1 < total {
            result.next = Continue { revision: Some(revision), after: key }.encode();
            result.remaining = Some((total - at - 1) as u64);
            break;
        }
    }
    Ok(result)
}

/// The attempt that a call names, whether it is recent or not, and where it ran.
fn find(call: &Call) -> Result<(Source, Attempt), ApiError> {
    let target = &call.target;
    let (job, index, attempt) = object::parse_name(&target.name).ok_or_else(|| target.not_found())?;
    let selection = Selection::default();
    let (sources, _) = sources(&call.state, &target.namespace, &selection)?;
    let of_job = sources.into_iter().filter(|source| source.assignment.spec.job.name == job);
    let found = of_job.filter_map(|source| {
        let attempt = attempts::find(&source.assignment, index, attempt)?;
        Some((source, attempt))
    });
    found.max_by_key(|(source, attempt)| (attempt.is_running(), source.revision)).ok_or_else(|| target.not_found())
}

/// One Pod by its name.
pub(crate) fn get(call: &Call) -> Result<Value, ApiError> {
    let (source, attempt) = find(call)?;
    source.shown(&attempt, &call.state.hidden).ok_or_else(|| call.target.not_found())
}

/// Lets a Pod go: what runs ends by itself. Answers the Pod.
pub(crate) fn delete(call: &Call, uid: Option<&str>, dry_run: bool) -> Result<Value, ApiError> {
    let pod = get(call)?;
    let present = text(&pod["metadata"]["uid"]);
    if let Some(wanted) = uid.filter(|wanted| *wanted != present) {
        let message = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {present}");
        return Err(call.target.conflict(message));
    }
    if !dry_run {
        call.state.hidden.hide(present);
    }
    Ok(pod)
}

/// `pods/eviction`: as a delete, answered with a Status. Evicted from a cordoned node, as `kubectl drain` does it, the
/// node is marked as draining, so that what it has not started goes elsewhere.
pub(crate) async fn evict(call: &Call, eviction: &Value) -> Result<Value, ApiError> {
    let options = &eviction["deleteOptions"];
    let is_dry = options["dryRun"].as_array().is_some_and(|list| list.iter().any(|value| value == "All"));
    let is_dry = is_dry || call.options.dry_run;
    let pod = delete(call, options["preconditions"]["uid"].as_str(), is_dry)?;
    if !is_dry {
        mark_draining(&call.state, text(&pod["spec"]["nodeName"])).await?;
    }
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}

async fn mark_draining(state: &Arc<ApiState>, node: &str) -> Result<(), ApiError> {
    let kind = kinds::by_rules(Rules::Node);
    let Some(stored) = registry::find(&*state.store, kind, "", node)? else { return Ok(()) };
    let spec = &stored.object["spec"];
    let mut taints = spec["taints"].as_array().cloned().unwrap_or_default();
    if spec["unschedulable"] != true || taints.iter().any(|taint| taint["key"] == TAINT_DRAIN) {
        return Ok(());
    }
    taints.push(json!({"key": TAINT_DRAIN, "effect": "NoExecute"}));
    let version = &stored.object["metadata"]["resourceVersion"];
    let value = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
    let change = registry::Change::MergePatch(Document { value, duplicates: Vec::new() });
    match registry::update(&system_call(state, Rules::Node, "", node), change).await {
        // Somebody else wrote first: the next eviction looks again.
        Ok(_) | Err(ApiError::Conflict { .. } | ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A Pod before and after a change.
pub(crate) type BeforeAfter = (Option<Value>, Option<Value>);

/// What a change of an Assignment means to Pods: each before and after.
pub(crate) fn changes(call: &Call, change: &Change) -> Result<Vec<BeforeAfter>, ApiError> {
    let pods = |bytes: &Option<bytes::Bytes>, revision| -> Result<BTreeMap<String, Value>, ApiError> {
        let Some(bytes) = bytes else { return Ok(BTreeMap::new()) };
        let pods = Source::read(&change.key, bytes, revision)?.pods(&call.state.hidden);
        Ok(pods.into_iter().map(|pod| (text(&pod["metadata"]["name"]).to_owned(), pod)).collect())
    };
    let mut new = pods(&change.value, change.revision)?;
    let mut changes = Vec::new();
    for (name, mut old) in pods(&change.previous, change.revision)? {
        let new = new.remove(&name);
        // Both carry the change's revision, so they differ only in what a client sees of them.
        if new.as_ref() == Some(&old) {
            continue;
        }
        registry::set_revision(&mut old, change.revision);
        changes.push((Some(old), new));
    }
    changes.extend(new.into_values().map(|pod| (None, Some(pod))));
    Ok(changes)
}

#[cfg(test)]
mod tests;
