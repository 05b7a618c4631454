//! Figures about a job's run: throughput, the time it will take, and how well the cluster was used.

use std::time::Duration;

use jiff::Timestamp;
use schemas::{JobStatus, condition::Condition, job::conditions};

use crate::{
    job::{Draft, Work},
    nodes::Nodes,
    time::{after, since, to_millis},
};

/// Writes the figures into `status`; its counts and conditions are set already.
///
/// - throughput = accepted indexes ÷ running phase
/// - efficiency = lower bound of the makespan ÷ makespan so far. The makespan so far is the running phase:
///   from Planned to SuccessCriteriaMet or FailureTarget, or to now. The lower bound is the slot-seconds that
///   went into accepted indexes ÷ the job's slots (those of every node that ran some of it or may take more,
///   at most `parallelism`): no schedule is faster with these costs per index. What failed, ran twice, waited
///   or was spread unevenly is the loss.
pub(crate) fn figure(work: &Work<'_>, nodes: &Nodes<'_>, now: Timestamp, status: &mut JobStatus) {
    let Some(from) = transition(status, conditions::PLANNED) else { return };
    let ended = [conditions::SUCCESS_CRITERIA_MET, conditions::FAILURE_TARGET];
    let end = ended.iter().filter_map(|type_| transition(status, type_)).min();
    let makespan = since(from, end.unwrap_or(now)).as_secs_f64();
    if makespan <= 0.0 || status.subtasks.succeeded == 0 {
        return;
    }
    status.throughput = Some(rounded(status.subtasks.succeeded as f64 / makespan));
    let bound = useful_slot_seconds(work) / f64::from(slots(work, nodes).max(1));
    status.efficiency = Some(format!("{:.0}%", (100.0 * bound / makespan).min(100.0)));
    let speed: f64 = work.drafts.iter().filter(|draft| draft.is_live).map(speed).sum();
    let left = (status.subtasks.running + status.subtasks.pending) as f64;
    status.estimated_completion_time = match end {
        None if speed > 0.0 && left > 0.0 => {
            Duration::try_from_secs_f64(left / speed).ok().map(|left| to_millis(after(now, left)))
        }
        _ => None,
    };
}

/// When a condition became true.
fn transition(status: &JobStatus, type_: &str) -> Option<Timestamp> {
    let is_it = |c: &&Condition| c.type_ == type_ && c.status == "True";
    status.conditions.iter().find(is_it).map(|c| c.last_transition_time)
}

/// Slot-seconds that went into outputs that count: each node's busy time, cut to the accepted share of the
/// attempts that ended there.
fn useful_slot_seconds(work: &Work<'_>) -> f64 {
    let useful = |draft: &Draft<'_>| {
        let status = draft.status()?;
        let accepted = draft.accepted.count() as f64 / (status.started.max(1) as f64);
        Some(status.busy_seconds.max(0.0) * accepted.min(1.0))
    };
    work.drafts.iter().filter_map(useful).sum()
}

/// Slots that the job could use.
fn slots(work: &Work<'_>, nodes: &Nodes<'_>) -> u32 {
    let has_run = |uid: &str| work.draft(uid).is_some_and(|draft| !draft.completed.is_empty());
    let used = nodes.values().filter(|node| has_run(&node.facts.uid) || node.takes_work() && work.selects(node));
    let slots: u32 = used.map(|node| node.facts.slots).sum();
    slots.min(work.job.spec.parallelism.unwrap_or(u32::MAX))
}

/// Subtasks a second of one node.
fn speed(draft: &Draft<'_>) -> f64 {
    let node_slots = draft.node.map_or(0, |node| node.facts.slots);
    draft.rate().unwrap_or(0.0) * f64::from(draft.spec.slots.unwrap_or(node_slots).min(node_slots))
}

/// Three decimals are enough for a person.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
