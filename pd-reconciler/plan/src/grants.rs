//! Grants: how much of a job each node is given, by weighted factoring (Hummel et al. 1992 and 1996).
//!
//! A node that runs low gets its share, by measured rate, of half of what is left, within `grant_min` and
//! `grant_max` of work per slot. A node whose rate is not known gets a small probe. A job so small that
//! measuring would cost more than it brings is given out whole.

use std::collections::BTreeMap;

use schemas::IndexSet;

use crate::{
    action::Plan,
    backoff::Due,
    job::{Draft, Stage, Work},
    nodes::Nodes,
    placement::{self, Allotment},
    policy::Policy,
    share,
};

/// One node that may be given work of a job.
struct Hand {
    node_uid: String,
    /// Slots that this job may count on here.
    slots: f64,
    rate: Option<f64>,
    outstanding: u64,
}

/// Tops up every node that runs low, the job with the least work out first.
pub(crate) fn refill<'a>(jobs: &mut [Work<'a>], dues: &[Due], nodes: &Nodes<'a>, policy: &Policy, plan: &mut Plan) {
    let is_running = |work: &Work<'_>| work.stage == Stage::Running;
    let allotments: Vec<Allotment> = jobs
        .iter()
        .map(|work| if is_running(work) { placement::allot(work, nodes) } else { Allotment::new() })
        .collect();
    let contenders = share::contenders(jobs, dues, &allotments);
    for at in share::order(jobs) {
        let (work, due, allotment) = (&mut jobs[at], &dues[at], &allotments[at]);
        if !is_running(work) {
            continue;
        }
        if allotment.is_empty() && !due.is_empty() {
            let why = placement::why_none(work, nodes);
            plan.note(work.about().to_string(), "NoNode", why.clone());
            work.held_up = Some(why);
        }
        refill_one(work, due.clone(), allotment, &contenders, nodes, policy, plan);
        placement::limit_slots(work, allotment);
    }
}

fn refill_one<'a>(
    work: &mut Work<'a>,
    mut due: Due,
    allotment: &Allotment,
    contenders: &BTreeMap<String, u32>,
    nodes: &Nodes<'a>,
    policy: &Policy,
    plan: &mut Plan,
) {
    let left: u64 = due.values().map(IndexSet::count).sum();
    if left == 0 || allotment.is_empty() {
        return;
    }
    let hands = hands(work, allotment, contenders);
    let (needs, amounts) = if is_whole(work, left, &hands, policy) {
        let slots: Vec<u64> = hands.iter().map(|hand| hand.slots.ceil() as u64).collect();
        let parts = share::split(left, &slots);
        (parts.clone(), parts)
    } else {
        let needs: Vec<u64> = hands.iter().map(|hand| need(hand, &hands, left, policy)).collect();
        let amounts = if needs.iter().sum::<u64>() <= left { needs.clone() } else { share::split(left, &needs) };
        (needs, amounts)
    };
    // A failed index goes to another node first, even to one whose share is full, but not nowhere.
    for (amounts, prefers_others) in [(&amounts, true), (&needs, true), (&needs, false)] {
        for (hand, amount) in hands.iter().zip(amounts) {
            give(work, hand, *amount, &mut due, prefers_others, nodes, plan);
        }
    }
}

/// The nodes of a job, the one that runs dry first in front, the faster one first among equals.
fn hands(work: &Work<'_>, allotment: &Allotment, contenders: &BTreeMap<String, u32>) -> Vec<Hand> {
    let mut hands: Vec<Hand> = allotment
        .iter()
        .map(|(node_uid, slots)| {
            let draft = work.draft(node_uid);
            Hand {
                node_uid: node_uid.clone(),
                slots: f64::from(*slots) / f64::from(*contenders.get(node_uid).unwrap_or(&1)),
                rate: draft.and_then(Draft::rate),
                outstanding: draft.map_or(0, Draft::outstanding_count),
            }
        })
        .collect();
    let seconds_left = |hand: &Hand| hand.outstanding as f64 / (hand.rate.unwrap_or(1.0) * hand.slots);
    let speed = |hand: &Hand| hand.rate.unwrap_or(0.0) * hand.slots;
    hands.sort_by(|a, b| {
        let by_time = seconds_left(a).total_cmp(&seconds_left(b));
        by_time.then(speed(b).total_cmp(&speed(a))).then(a.node_uid.cmp(&b.node_uid))
    });
    hands
}

/// True for a fresh job that is so small that it is given out in one round.
fn is_whole(work: &Work<'_>, left: u64, hands: &[Hand], policy: &Policy) -> bool {
    let slots: f64 = hands.iter().map(|hand| hand.slots).sum();
    let is_fresh = left == work.fold.all.count();
    is_fresh && left <= policy.whole_min.max((slots * f64::from(policy.whole_per_slot)) as u64)
}

/// How many indexes the node should be given now; 0 while it has enough.
fn need(hand: &Hand, hands: &[Hand], left: u64, policy: &Policy) -> u64 {
    let all_slots: f64 = hands.iter().map(|hand| hand.slots).sum();
    let Some(rate) = hand.rate else {
        if hand.outstanding > 0 {
            return 0;
        }
        let probe = (hand.slots * f64::from(policy.probe_per_slot)).ceil();
        let fair = (left as f64 * hand.slots / all_slots).ceil();
        return probe.min(fair).max(1.0) as u64;
    };
    let low = low_water(hand.slots, rate, policy);
    if hand.outstanding >= low {
        return 0;
    }
    // A node that has not reported yet is taken to be as fast as this one: it will want its share too.
    let all: f64 = hands.iter().map(|hand| hand.rate.unwrap_or(rate) * hand.slots).sum();
    let factored = left as f64 * rate / (2.0 * all);
    let most = rate * policy.grant_max.as_secs_f64();
    let per_slot = factored.max(rate * policy.grant_min.as_secs_f64()).min(most);
    let chunk = (per_slot * hand.slots).floor().max(1.0) as u64;
    chunk.max(low - hand.outstanding)
}

/// Below this many outstanding indexes a node is topped up: one runs on each slot, and what it can do until
/// the next grant arrives is queued. No slot waits for the network.
fn low_water(slots: f64, rate: f64, policy: &Policy) -> u64 {
    slots.ceil() as u64 + (slots * rate * policy.refill_below.as_secs_f64()).floor() as u64
}

/// The most that a node may ever have outstanding of one job: the low-water mark and one largest grant.
pub(crate) fn window_max(slots: f64, rate: Option<f64>, policy: &Policy) -> u64 {
    let Some(rate) = rate else { return (slots * f64::from(policy.probe_per_slot)).ceil() as u64 + 1 };
    low_water(slots, rate, policy) + (slots * rate * policy.grant_max.as_secs_f64()).ceil() as u64 + 1
}

/// Gives the node indexes until it has `amount` more, retries first.
fn give<'a>(
    work: &mut Work<'a>,
    hand: &Hand,
    amount: u64,
    due: &mut Due,
    prefers_others: bool,
    nodes: &Nodes<'a>,
    plan: &mut Plan,
) {
    let given = work.draft(&hand.node_uid).map_or(0, |draft| draft.outstanding_count() - hand.outstanding);
    let mut room = amount.saturating_sub(given);
    let failed_here = work.draft(&hand.node_uid).map(failed_here).unwrap_or_default();
    for attempt in due.keys().rev().copied().collect::<Vec<u32>>() {
        let Some(waiting) = due.get_mut(&attempt) else { continue };
        let taken = if prefers_others && attempt > 1 {
            (&*waiting - &failed_here).take_first(room)
        } else {
            waiting.take_first(room)
        };
        if taken.is_empty() {
            continue;
        }
        *waiting -= &taken;
        room -= taken.count();
        hand_over(work, &hand.node_uid, attempt, &taken, nodes, plan);
    }
}

/// What failed on this node.
fn failed_here(draft: &Draft<'_>) -> IndexSet {
    draft.failed.values().flat_map(IndexSet::ranges).collect()
}

/// Moves indexes into one node's grants, out of all others.
fn hand_over<'a>(
    work: &mut Work<'a>,
    node_uid: &str,
    attempt: u32,
    taken: &IndexSet,
    nodes: &Nodes<'a>,
    plan: &mut Plan,
) {
    if attempt > 1 {
        work.drafts.iter_mut().flat_map(|draft| draft.grants.values_mut()).for_each(|granted| *granted -= taken);
        work.fold.retries += taken.count();
        plan.counts.retries += taken.count();
    }
    plan.counts.granted_indexes += taken.count();
    work.fold.outstanding |= taken;
    if let Some(waiting) = work.fold.waiting.get_mut(&(attempt - 1)) {
        *waiting -= taken;
    }
    let layout = work.layout.clone();
    let Some(node) = nodes.get(node_uid) else { return };
    let Some(draft) = work.draft_for(node) else { return };
    plan.counts.grants += u64::from(!draft.is_granted);
    draft.is_granted = true;
    draft.spec.layout = layout;
    *draft.grants.entry(attempt).or_default() |= taken;
    *draft.outstanding.entry(attempt).or_default() |= taken;
}
