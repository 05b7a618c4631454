//! Applied: what the snapshot would be if every action of a plan succeeded. For tests, simulations and the
//! checker of plans; the shell applies plans to the real API instead.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use schemas::{Assignment, CachedResult, Digest, IndexSet, well_known::TAINT_UNTRUSTED};

use crate::{
    action::{Action, Plan},
    snapshot::{CacheFacts, CacheKey, Compared, Effect, JobFacts, Readiness, Snapshot, Taint},
};

/// The snapshot after `plan`.
pub fn apply(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    let mut after = snapshot.clone();
    for action in &plan.actions {
        match action {
            Action::CreateAssignment(assignment) => create(&mut after, assignment),
            Action::ReplaceAssignment { assignment, .. } => replace(&mut after, assignment),
            Action::WriteJobStatus { job, status } => {
                if let Some(facts) = job_of(&mut after, job.metadata.uid.as_deref()) {
                    let mut written = (**job).clone();
                    written.status = Some((**status).clone());
                    facts.job = Arc::new(written);
                }
            }
            Action::SetNodeReady { uid, ready, .. } => {
                if let Some(node) = after.nodes.iter_mut().find(|node| node.uid == *uid) {
                    node.ready = if *ready { Readiness::True } else { Readiness::Unknown };
                }
            }
            Action::DeleteAssignment(assignment) => {
                if let Some(facts) = job_of(&mut after, Some(&assignment.spec.job.uid)) {
                    facts.assignments.retain(|stored| stored.metadata.name != assignment.metadata.name);
                }
            }
            Action::DeleteJob(job) => after.jobs.retain(|facts| facts.job.metadata.uid != job.metadata.uid),
            Action::ExplainNode { uid, reason, .. } => {
                if let Some(node) = after.nodes.iter_mut().find(|node| node.uid == *uid) {
                    node.idle_reason.clone_from(reason);
                }
            }
            Action::CompareOutputs { job_uid, left, right, indexes } => {
                if let Some(facts) = job_of(&mut after, Some(job_uid)) {
                    facts.memory.compared.push(equal(*left, *right, indexes));
                }
            }
            Action::DistrustNode { uid, .. } => {
                if let Some(node) = after.nodes.iter_mut().find(|node| node.uid == *uid) {
                    let (key, value) = (TAINT_UNTRUSTED.to_owned(), String::new());
                    node.taints.push(Taint { key, value, effect: Effect::NoSchedule });
                }
            }
            Action::UseCachedResult { entry, at, .. } => {
                let mut used = (**entry).clone();
                used.spec.last_used = *at;
                put_cached(&mut after, used);
            }
            Action::WriteCachedResult(entry) => put_cached(&mut after, (**entry).clone()),
            Action::DropCachedResult(entry) => {
                change_cached(&mut after, |entries| drop(entries.remove(&cache_key(entry))));
            }
            Action::EmitEvent(_) => {}
        }
    }
    for (uid, memory) in &plan.memories {
        if let Some(facts) = job_of(&mut after, Some(uid)) {
            let answers = std::mem::take(&mut facts.memory.compared);
            let known = facts_before(snapshot, uid).map_or(0, |facts| facts.memory.compared.len());
            facts.memory = memory.clone();
            facts.memory.compared.extend(answers.into_iter().skip(known));
        }
    }
    after.history.clone_from(&plan.history);
    after.node_memories.clone_from(&plan.node_memories);
    after
}

/// Outputs that are taken to be the same, as they are in a sound cluster.
fn equal(left: Digest, right: Digest, indexes: &IndexSet) -> Compared {
    Compared { left, right, same: indexes.clone(), differ: IndexSet::new() }
}

fn facts_before<'a>(snapshot: &'a Snapshot, uid: &str) -> Option<&'a JobFacts> {
    snapshot.jobs.iter().find(|facts| facts.job.metadata.uid.as_deref() == Some(uid))
}

fn job_of<'a>(snapshot: &'a mut Snapshot, uid: Option<&str>) -> Option<&'a mut JobFacts> {
    snapshot.jobs.iter_mut().find(|facts| facts.job.metadata.uid.as_deref() == uid)
}

fn cache_key(entry: &CachedResult) -> CacheKey {
    (entry.metadata.namespace.clone().unwrap_or_default(), entry.metadata.name.clone().unwrap_or_default())
}

fn put_cached(snapshot: &mut Snapshot, entry: CachedResult) {
    change_cached(snapshot, |entries| drop(entries.insert(cache_key(&entry), Arc::new(entry))));
}

fn change_cached(snapshot: &mut Snapshot, change: impl FnOnce(&mut BTreeMap<CacheKey, Arc<CachedResult>>)) {
    let mut entries = snapshot.cache.entries().clone();
    change(&mut entries);
    let broken = snapshot.cache.broken().iter().filter(|key| entries.contains_key(*key)).cloned().collect();
    snapshot.cache = Arc::new(CacheFacts::new(entries, broken));
}

fn create(snapshot: &mut Snapshot, assignment: &Assignment) {
    let Some(facts) = job_of(snapshot, Some(&assignment.spec.job.uid)) else { return };
    let times = facts.assignments.iter().filter_map(|other| other.metadata.creation_timestamp.clone());
    let newest = times.chain(facts.job.metadata.creation_timestamp.clone()).max_by_key(|time| time.0);
    let mut created = assignment.clone();
    created.metadata.creation_timestamp =
        newest.or(Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH)));
    created.metadata.generation = Some(1);
    created.metadata.resource_version = Some("1".into());
    facts.assignments.push(Arc::new(created));
}

fn replace(snapshot: &mut Snapshot, assignment: &Assignment) {
    let Some(facts) = job_of(snapshot, Some(&assignment.spec.job.uid)) else { return };
    let mut others = facts.assignments.iter_mut();
    if let Some(stored) = others.find(|stored| stored.metadata.name == assignment.metadata.name) {
        let mut written = assignment.clone();
        written.metadata.generation = assignment.metadata.generation.map(|generation| generation + 1);
        *stored = Arc::new(written);
    }
}
