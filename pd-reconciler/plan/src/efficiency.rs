//! Figures about a job's run: throughput, the time it will take, how well the cluster was used, and where the
//! rest went.

use std::time::Duration;

use jiff::Timestamp;
use schemas::{
    JobStatus,
    condition::Condition,
    job::{EfficiencyLoss, conditions},
};

use crate::{
    hands::Hand,
    job::{Draft, Work},
    nodes::Nodes,
    time::{after, since, to_millis},
};

/// Slot-seconds that nothing was done in, by what they waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    spent: Idle,
    /// Slot-seconds that the job could have used.
    capacity: f64,
    /// Slots that it could use when the last plan was made.
    slots: f64,
    /// Slots that waited when the last plan was made: they have done so since.
    idle: Idle,
    at: Option<Timestamp>,
}

/// Slots, or slot-seconds, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Idle {
    queueing: f64,
    stealing: f64,
    tail: f64,
    lost: f64,
}

/// Takes in how the job's slots stand: until the next plan they are taken to stay so.
pub(crate) fn observe(work: &mut Work<'_>, hands: &[Hand<'_>], nodes: &Nodes<'_>, now: Timestamp) {
    let idle = |hand: &Hand<'_>| (hand.slots - hand.outstanding as f64).max(0.0);
    let slots: f64 = hands.iter().map(idle).sum();
    let given: f64 = hands.iter().map(|hand| hand.slots).sum();
    let usable = usable(work, nodes);
    let is_recalling =
        work.drafts.iter().any(|draft| draft.is_live && !draft.is_silent() && !draft.recalled.is_empty());
    let is_pending = work.fold.waiting.values().any(|waiting| !waiting.is_empty());
    let mut idle = Idle::default();
    *match (is_recalling, is_pending) {
        (true, _) => &mut idle.stealing,
        (false, true) => &mut idle.queueing,
        (false, false) => &mut idle.tail,
    } = slots;
    let silent = work.drafts.iter().filter(|draft| draft.is_silent() && draft.outstanding_count() > 0);
    idle.lost = silent.filter_map(|draft| draft.node).map(|node| f64::from(node.facts.slots)).sum();
    // What other jobs have of what it could use is waited for.
    idle.queueing += (f64::from(usable) - idle.lost - given).max(0.0);
    let losses = &mut work.memory.losses;
    if losses.at.is_none() {
        // The first look, or the first after a restart: what was before was as it is now.
        let planned = work.job.status.as_ref().and_then(|status| transition(status, conditions::PLANNED));
        (losses.at, losses.slots) = (planned, f64::from(usable));
    }
    *losses = losses.until(now, idle, f64::from(usable));
    let Idle { queueing, stealing, tail, lost } = losses.spent;
    let spent = losses.capacity - queueing - stealing - tail - lost;
    let reports = work.drafts.iter().filter_map(Draft::status);
    let busy: f64 = reports.map(|report| report.busy_seconds.max(0.0)).sum();
    let busy = busy.max(spent);
    let taken_over = work.cached.as_ref().map(|cached| cached.outputs.indexes()).unwrap_or_default();
    work.memory.pace.observe(&(&work.fold.done - &taken_over), busy, given);
    for draft in &work.drafts {
        if let Some(status) = draft.status() {
            work.memory.pace.observe_node(draft.spec.node_uid, &draft.completed, status.busy_seconds);
        }
    }
}

/// Nothing of the job may run for now, or any more: that is nobody's loss.
pub(crate) fn rest(work: &mut Work<'_>, now: Timestamp) {
    if work.memory.losses.at.is_some() {
        work.memory.losses = work.memory.losses.until(now, Idle::default(), 0.0);
    }
}

impl Losses {
    /// What was lost until `now`, and what is from then on.
    fn until(mut self, now: Timestamp, idle: Idle, slots: f64) -> Self {
        let seconds = self.at.map_or(0.0, |at| since(at, now).as_secs_f64());
        self.spent.queueing += seconds * self.idle.queueing;
        self.spent.stealing += seconds * self.idle.stealing;
        self.spent.tail += seconds * self.idle.tail;
        self.spent.lost += seconds * self.idle.lost;
        self.capacity += seconds * self.slots;
        Self { idle, slots, at: Some(now), ..self }
    }
}

/// Writes the figures into `status`; its counts and conditions are set already.
///
/// - throughput = accepted indexes, without those that were taken over ÷ running phase
/// - efficiency = lower bound of the makespan ÷ makespan so far. The makespan so far is the running phase:
///   from Planned to SuccessCriteriaMet or FailureTarget, or to now. The lower bound is how long the slots that
///   the job could use at each moment (those of every node that may take some of it or has some, at most
///   `parallelism`) needed for the slot-seconds that went into accepted indexes: no schedule is faster with these
///   costs per index. A slot of a slow node counts as much as it can do, for its indexes take longer, and a node
///   that is lost or comes late counts while it is there. What failed, ran twice, waited or was spread unevenly is
///   the loss.
/// - the loss is attributed by what idle slots waited for from one plan to the next, and what attempts that
///   do not count cost; what no plan saw is transfer: it happened between a report and a grant
/// - the time that is left: see `eta`
pub(crate) fn figure(work: &mut Work<'_>, nodes: &Nodes<'_>, now: Timestamp, status: &mut JobStatus) {
    let Some(from) = transition(status, conditions::PLANNED) else { return };
    let ended = [conditions::SUCCESS_CRITERIA_MET, conditions::FAILURE_TARGET];
    let end = ended.iter().filter_map(|type_| transition(status, type_)).min();
    let makespan = since(from, end.unwrap_or(now)).as_secs_f64();
    if end.is_some() {
        rest(work, now);
    }
    let taken_over = status.cached.as_ref().map_or(0, |cached| cached.count);
    let computed = status.subtasks.succeeded.saturating_sub(taken_over);
    if makespan <= 0.0 || computed == 0 {
        return;
    }
    status.throughput = Some(rounded(computed as f64 / makespan));
    let losses = work.memory.losses;
    let unobserved = makespan * f64::from(usable(work, nodes).max(1));
    let capacity = if losses.capacity > 0.0 { losses.capacity } else { unobserved };
    let (useful, wasted) = busy(work);
    let efficiency = (useful / capacity).min(1.0);
    status.efficiency = Some(format!("{:.0}%", 100.0 * efficiency));
    status.efficiency_loss = Some(attribute(losses, wasted, capacity, 1.0 - efficiency));
    let left = status.subtasks.running + status.subtasks.pending;
    let seconds = work.memory.pace.seconds_left(status.subtasks.total, left).filter(|_| end.is_none() && left > 0);
    let left = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    status.estimated_completion_time = left.map(|left| to_millis(after(now, left)));
}

/// Spreads a loss (a share of one) over its causes; what is measured may overlap, so it is scaled to fit.
fn attribute(losses: Losses, wasted: f64, capacity: f64, loss: f64) -> EfficiencyLoss {
    let Idle { queueing, stealing, tail, lost } = losses.spent;
    let measured = (queueing + stealing + tail + lost + wasted) / capacity;
    let fit = if measured > loss { loss / measured } else { 1.0 };
    let percent = |slot_seconds: f64| (1000.0 * fit * slot_seconds / capacity).round() / 10.0;
    let (queueing, stealing, tail) = (percent(queueing), percent(stealing), percent(tail));
    let lost_nodes = percent(lost + wasted);
    let rest = (1000.0 * loss).round() / 10.0 - queueing - stealing - tail - lost_nodes;
    EfficiencyLoss { queueing, transfer: (10.0 * rest.max(0.0)).round() / 10.0, stealing, tail, lost_nodes }
}

/// When a condition became true.
fn transition(status: &JobStatus, type_: &str) -> Option<Timestamp> {
    let is_it = |c: &&Condition| c.type_ == type_ && c.status == "True";
    status.conditions.iter().find(is_it).map(|c| c.last_transition_time)
}

/// Slot-seconds that went into outputs that count, and those that did not: each node's busy time, cut to the
/// accepted share of the attempts that ended there.
fn busy(work: &Work<'_>) -> (f64, f64) {
    let of_one = |draft: &Draft<'_>| {
        let status = draft.status()?;
        let accepted = (draft.accepted.count() as f64 / (status.started.max(1) as f64)).min(1.0);
        let busy = status.busy_seconds.max(0.0);
        Some((busy * accepted, busy * (1.0 - accepted)))
    };
    work.drafts.iter().filter_map(of_one).fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d))
}

/// Slots that the job could use now: of nodes that may take some of it, and of those that have some.
fn usable(work: &Work<'_>, nodes: &Nodes<'_>) -> u32 {
    let open: u32 = work.eligible(nodes).map(|node| node.facts.slots).sum();
    let busy = work.drafts.iter().filter(|draft| draft.is_live && draft.outstanding_count() > 0);
    let leaving = busy.filter_map(|draft| draft.node).filter(|node| !work.fits(node));
    let slots = open + leaving.map(|node| node.facts.slots).sum::<u32>();
    slots.min(work.job.spec.parallelism.unwrap_or(u32::MAX))
}

/// Three decimals are enough for a person.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_parts_of_a_loss_add_up_to_it() {
        let tail = |slots| Idle { tail: slots, ..Idle::default() };
        let losses = Losses::default().until(at(0), tail(3.0), 8.0).until(at(10), tail(0.0), 0.0);
        let losses = losses.until(at(99), tail(5.0), 0.0);
        assert!((losses.capacity - 80.0).abs() < 1e-9, "eight slots for ten seconds");
        let found = attribute(losses, 10.0, 1000.0, 0.1);
        let expected = EfficiencyLoss { tail: 3.0, lost_nodes: 1.0, transfer: 6.0, ..EfficiencyLoss::default() };
        assert_eq!(found, expected);
        let found = attribute(losses, 30.0, 1000.0, 0.04);
        let expected = EfficiencyLoss { tail: 2.0, lost_nodes: 2.0, ..EfficiencyLoss::default() };
        assert_eq!(found, expected, "more was measured than was lost");
    }
}
