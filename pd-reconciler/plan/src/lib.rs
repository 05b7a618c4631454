//! pd-plan: what to do next, decided from one snapshot.
//!
//! In: a `Snapshot` of the cluster, the present moment, a `Policy`. Out: a `Plan` of final API writes with
//! reasons. No I/O, no clock, no randomness, nothing async: the same arguments give the same plan, byte for
//! byte, and planning on the result of a plan changes nothing.

mod action;
mod agreement;
mod applied;
mod attest;
mod backoff;
mod cache;
mod copies;
mod dependencies;
mod efficiency;
mod eta;
mod failure_policy;
mod fold;
mod grants;
mod hands;
mod idle;
pub mod invariants;
mod job;
mod merge;
mod names;
mod nodes;
mod placement;
mod plan_call;
mod poison;
mod policy;
mod queues;
mod quorum;
mod rates;
mod rerun;
mod retry;
mod sample;
mod scatter;
mod share;
mod snapshot;
mod spread;
mod status;
mod steal;
mod taints;
mod time;
mod ttl;
mod verdict;
mod verify;

pub use action::{About, Action, Counts, Event, Note, Plan};
pub use applied::apply;
pub use names::assignment as assignment_name;
pub use nodes::Silence;
pub use policy::Policy;
pub use rates::History;
pub use snapshot::{
    CacheFacts, CacheKey, Cohort, Compared, Effect, JobFacts, Memory, NodeFacts, NodeMemory, Progress, QueueFacts,
    Readiness, Snapshot, Taint,
};
pub use ttl::expires_at;

use jiff::Timestamp;

/// Decides what to do now.
pub fn plan(snapshot: &Snapshot, now: Timestamp, policy: &Policy) -> Plan {
    let plan = decide(snapshot, now, policy);
    if cfg!(debug_assertions) {
        let violations = invariants::check(snapshot, &plan, policy);
        debug_assert!(violations.is_empty(), "the plan breaks its invariants: {violations:#?}");
    }
    plan
}

/// The steps, in order.
fn decide(snapshot: &Snapshot, now: Timestamp, policy: &Policy) -> Plan {
    let mut plan = Plan::default();
    let nodes = nodes::bucket(snapshot, now, policy, &mut plan);
    let mut jobs = job::bucket(snapshot, &nodes, now, &mut plan);
    fold::reports(&mut jobs);
    verdict::judge(&mut jobs, snapshot, now, &mut plan);
    plan_call::place(&mut jobs, &nodes, now, policy, &mut plan);
    rates::expect(&mut jobs, &snapshot.history, now);
    let due: Vec<backoff::Due> = jobs.iter_mut().map(|work| backoff::release(work, now, policy, &mut plan)).collect();
    grants::refill(&mut jobs, &due, &nodes, now, policy, &mut plan);
    for work in &jobs {
        verify::order(work, &mut plan);
    }
    merge::order(&mut jobs, &nodes, now, policy, &mut plan);
    plan.history = snapshot.history.clone();
    plan.history.learn(&jobs);
    ttl::expire(&jobs, snapshot, now, &mut plan);
    idle::explain(&jobs, &nodes, snapshot, now, policy, &mut plan);
    for work in jobs {
        write(work, &nodes, snapshot, now, policy, &mut plan);
    }
    cache::evict(snapshot, now, policy, &mut plan);
    plan
}

/// Turns what was decided for one job into writes: what takes away, what gives, what tells.
fn write(
    mut work: job::Work<'_>,
    nodes: &nodes::Nodes<'_>,
    snapshot: &Snapshot,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) {
    let mut changes: Vec<Action> = work.drafts.iter().filter_map(|draft| draft.finish(&work)).collect();
    changes.sort_by_key(|change| !matches!(change, Action::ReplaceAssignment { withdraws: true, .. }));
    let is_settled = changes.is_empty();
    plan.actions.append(&mut changes);
    let is_ending = matches!(work.stage, job::Stage::Complete(..)) || is_settled && work.is_failing();
    if is_ending {
        cache::keep(&work, &snapshot.cache, now, plan);
    }
    status::write(&mut work, nodes, is_settled, now, policy, plan);
    plan.memories.insert(work.uid().to_owned(), work.memory);
}
