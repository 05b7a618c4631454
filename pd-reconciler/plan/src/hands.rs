//! Hands: the nodes that may be given work of one job, with what they have of it and how soon they will be
//! through. What grants, steals and copies are decided from.

use crate::{
    job::{Draft, Work},
    nodes::Nodes,
    placement::Allotment,
    policy::Policy,
    share::Division,
};

/// One node that may be given work of a job.
#[derive(Clone, Debug)]
pub(crate) struct Hand<'a> {
    pub(crate) node_uid: &'a str,
    /// Slots that this job may count on here.
    pub(crate) slots: f64,
    /// Measured, on this job or an equal one; none: only a probe is given.
    pub(crate) rate: Option<f64>,
    /// What is expected of it, measured or not.
    pub(crate) guess: f64,
    /// Indexes that are to be expected from it.
    pub(crate) outstanding: u64,
}

impl Hand<'_> {
    /// Subtasks a second of all its slots.
    pub(crate) fn speed(&self) -> f64 {
        self.guess * self.slots
    }

    /// Seconds until it has done `count` indexes: whole rounds of its slots, for an index is never cut.
    pub(crate) fn seconds_for(&self, count: u64) -> f64 {
        (count as f64 / self.slots).ceil() / self.guess
    }

    /// Seconds until it runs dry.
    pub(crate) fn seconds_left(&self) -> f64 {
        self.outstanding as f64 / self.speed()
    }

    /// Slots that have nothing to do.
    pub(crate) fn free(&self) -> u64 {
        (self.slots - self.outstanding as f64).ceil().max(0.0) as u64
    }

    /// The most that it may be given: a probe while its rate is not known.
    pub(crate) fn probe(&self, policy: &Policy) -> u64 {
        let probe = (self.slots * f64::from(policy.probe_per_slot)).ceil().max(1.0) as u64;
        if self.rate.is_some() { u64::MAX } else { probe.saturating_sub(self.outstanding) }
    }

    /// True when a slot has nothing to do, or will have before an answer could come.
    pub(crate) fn is_idle(&self, policy: &Policy) -> bool {
        (self.outstanding as f64) < self.slots || self.seconds_left() < policy.steal_gap().as_secs_f64()
    }
}

/// What is to be shared out, and how fast all nodes together are.
pub(crate) struct Rest {
    /// Not given out.
    pub(crate) left: u64,
    /// Not done: given out or not. It does not change when something is given out, so neither do the shares.
    pub(crate) open: u64,
    /// Subtasks a second.
    pub(crate) speed: f64,
}

impl Rest {
    pub(crate) fn of(left: u64, hands: &[Hand<'_>]) -> Self {
        let open = left + hands.iter().map(|hand| hand.outstanding).sum::<u64>();
        Self { left, open, speed: hands.iter().map(Hand::speed).sum() }
    }

    /// The node's share of what is not done, by its part of the speed.
    pub(crate) fn fair(&self, hand: &Hand<'_>) -> u64 {
        ((self.open as f64 * hand.speed() / self.speed).ceil() as u64).max(1)
    }
}

/// The nodes of a job, the one that runs dry first in front, the faster one first among equals.
pub(crate) fn hands<'a>(
    work: &Work<'a>,
    allotment: &Allotment<'a>,
    division: &Division<'a>,
    nodes: &Nodes<'a>,
) -> Vec<Hand<'a>> {
    let hand = |(node_uid, slots): (&&'a str, &u32)| {
        let rate = work.rates.of(work, node_uid, nodes);
        Hand {
            node_uid,
            slots: f64::from(*slots) / f64::from(division.contenders(node_uid)),
            rate: rate.filter(|rate| rate.is_measured).map(|rate| rate.per_slot),
            guess: rate.map_or(1.0, |rate| rate.per_slot),
            outstanding: work.draft(node_uid).map_or(0, Draft::outstanding_count),
        }
    };
    let mut hands: Vec<Hand<'a>> = allotment.iter().map(hand).collect();
    hands.sort_by(|a, b| {
        let by_time = a.seconds_left().total_cmp(&b.seconds_left());
        by_time.then(b.speed().total_cmp(&a.speed())).then(a.node_uid.cmp(b.node_uid))
    });
    hands
}
