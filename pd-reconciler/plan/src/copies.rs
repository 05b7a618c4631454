//! Copies: an idle slot runs once more what another node is stuck with (rule 5).
//!
//! Only when nothing is left to give out or to steal, of a node that is silent, or that needs more than twice
//! as long as we do; one copy of an index at most, and few in all. The first output that is accepted counts: it
//! is then taken out of the other node's grants, which interrupts it there. Without these limits all idle nodes
//! pile on one dead node.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use schemas::IndexSet;

use crate::{
    action::Plan,
    hands::Hand,
    job::{Draft, Work},
    nodes::Nodes,
    policy::Policy,
    rates,
    time::{after, since},
};

/// A copy must be expected this many times sooner than the original.
const GAIN_MIN: f64 = 2.0;

/// What one node is stuck with, and since when.
struct Victim<'a> {
    node_uid: &'a str,
    node_name: &'a str,
    is_silent: bool,
    /// Seconds until it would be through, at the rate it shows.
    left: f64,
}

/// Gives idle slots copies, as far as the budget allows.
pub(crate) fn make<'a>(
    work: &mut Work<'a>,
    hands: &[Hand<'a>],
    nodes: &Nodes<'a>,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) {
    // A second output is not the first one's substitute where both are compared.
    if !work.job.spec.speculation.enabled || work.verify.is_some() {
        return;
    }
    let mut budget = budget(work, hands, policy);
    let victims = victims(work, hands, now);
    for hand in hands {
        let free = (hand.slots - hand.outstanding as f64).floor().max(0.0) as u64;
        let free = free.min(budget);
        if free == 0 {
            continue;
        }
        if let Some(at) = look_again(work, hand, hands, now, policy) {
            plan.wake(at);
        }
        for victim in victims.iter().filter(|victim| victim.node_uid != hand.node_uid) {
            if is_worth_it(victim, hand, policy) {
                let copied = copy(work, victim, hand, free, nodes, policy, plan);
                if copied > 0 {
                    budget -= free.min(copied);
                    break;
                }
            }
        }
    }
}

/// Slots that may still begin a copy.
fn budget(work: &Work<'_>, hands: &[Hand<'_>], policy: &Policy) -> u64 {
    let silent = work.drafts.iter().filter(|draft| draft.is_silent() && draft.outstanding_count() > 0);
    let silent: f64 = silent.filter_map(|draft| draft.node).map(|node| f64::from(node.facts.slots)).sum();
    let slots = silent + hands.iter().map(|hand| hand.slots).sum::<f64>();
    let most = ((slots / f64::from(policy.slots_per_copy.max(1))) as u64).max(1);
    let copying = |draft: &Draft<'_>| {
        let slots = draft.node.map_or(0, |node| u64::from(node.facts.slots));
        draft.copying.values().map(IndexSet::count).sum::<u64>().min(slots)
    };
    most.saturating_sub(work.drafts.iter().map(copying).sum())
}

/// Whoever has something to do, the silent ones and then those that would end last in front.
fn victims<'a>(work: &Work<'a>, hands: &[Hand<'a>], now: Timestamp) -> Vec<Victim<'a>> {
    let busy = work.drafts.iter().filter(|draft| draft.is_live && !open(draft).is_empty());
    let by_node: BTreeMap<&str, &Hand<'_>> = hands.iter().map(|hand| (hand.node_uid, hand)).collect();
    let mut victims: Vec<Victim<'a>> = busy
        .map(|draft| {
            let uid = draft.spec.node_uid;
            let hand = by_node.get(uid);
            let left = hand.map_or(0.0, |hand| seconds_left(hand, rates::standstill(work, uid, now)));
            Victim { node_uid: uid, node_name: draft.spec.node_name, is_silent: draft.is_silent(), left }
        })
        .collect();
    victims.sort_by(|a, b| {
        b.is_silent.cmp(&a.is_silent).then(b.left.total_cmp(&a.left)).then(a.node_name.cmp(b.node_name))
    });
    victims
}

/// Seconds until the node is through: less what it has done of the present round, if that is not overdue. An
/// overdue one is expected to take as long again.
fn seconds_left(hand: &Hand<'_>, standstill: Duration) -> f64 {
    let (all, spent) = (hand.seconds_for(hand.outstanding), standstill.as_secs_f64());
    if spent * hand.guess < 1.0 { all - spent } else { all.max(spent) }
}

/// True when the victim is stuck, or so slow that our copy is expected long before.
fn is_worth_it(victim: &Victim<'_>, hand: &Hand<'_>, policy: &Policy) -> bool {
    victim.is_silent || hand.rate.is_some() && victim.left > least(hand, policy)
}

/// Seconds that a node must have left to be worth a copy here.
fn least(hand: &Hand<'_>, policy: &Policy) -> f64 {
    GAIN_MIN * hand.seconds_for(1) + policy.steal_gap().as_secs_f64()
}

/// When a node that stands still would have become worth a copy.
fn look_again(
    work: &Work<'_>,
    hand: &Hand<'_>,
    hands: &[Hand<'_>],
    now: Timestamp,
    policy: &Policy,
) -> Option<Timestamp> {
    let others = hands.iter().filter(|other| other.node_uid != hand.node_uid && other.outstanding > 0);
    let due = others.filter_map(|other| {
        let known = work.memory.progress.get(other.node_uid)?;
        let overdue = least(hand, policy).max(1.0 / other.guess);
        let at = after(known.since, Duration::try_from_secs_f64(overdue).ok()?);
        (since(now, at) > Duration::ZERO).then_some(at)
    });
    due.min()
}

/// What a node has of the job and nobody else has; of a silent one also what was recalled in vain.
fn open(draft: &Draft<'_>) -> IndexSet {
    let mut open: IndexSet = draft.outstanding.values().flat_map(IndexSet::ranges).collect();
    open |= &draft.retained;
    if draft.is_silent() {
        open |= &draft.recalled;
    }
    open
}

/// Gives the node copies of what the victim is stuck with, for `slots` slots; answers how many indexes.
fn copy<'a>(
    work: &mut Work<'a>,
    victim: &Victim<'_>,
    hand: &Hand<'_>,
    slots: u64,
    nodes: &Nodes<'a>,
    policy: &Policy,
    plan: &mut Plan,
) -> u64 {
    let Some(stuck) = work.draft(victim.node_uid) else { return 0 };
    let mut wanted = open(stuck);
    work.drafts.iter().flat_map(|draft| draft.copying.values()).for_each(|copied| wanted -= copied);
    if let Some(own) = work.draft(hand.node_uid) {
        own.failed.values().for_each(|failed| wanted -= failed);
    }
    // What it runs is taken first, but of a silent node the end of its queue: it may be at the front of it.
    let taken = if victim.is_silent {
        let small = (hand.guess * policy.copy_work.as_secs_f64()) as u64;
        wanted.take_last(slots * small.max(1))
    } else {
        let mut running = &wanted & &stuck.running();
        let first = running.take_first(slots);
        wanted -= &first;
        &wanted.take_first(slots - first.count()) | &first
    };
    if taken.is_empty() {
        return 0;
    }
    let attempts = attempts(stuck, &taken);
    let layout = work.layout;
    let Some(node) = nodes.get(hand.node_uid) else { return 0 };
    let Some(draft) = work.draft_for(node) else { return 0 };
    draft.is_granted = true;
    draft.spec.layout = layout;
    draft.copies |= &taken;
    for (attempt, indexes) in attempts {
        *draft.grants.entry(attempt).or_default() |= &indexes;
        *draft.copying.entry(attempt).or_default() |= &indexes;
    }
    plan.counts.copied_indexes += taken.count();
    let why = if victim.is_silent { "is silent".to_owned() } else { format!("would need {:.1} s", victim.left) };
    let message = format!("[{taken}] also given to node {}: node {} {why}", node.facts.name, victim.node_name);
    plan.event(work.about(), false, "SubtaskCopied", message);
    taken.count()
}

/// The attempts at which the victim has the indexes; what it has no grant for any more is a first try.
fn attempts(stuck: &Draft<'_>, taken: &IndexSet) -> Vec<(u32, IndexSet)> {
    let mut left = taken.clone();
    let mut attempts = Vec::new();
    for (attempt, outstanding) in &stuck.outstanding {
        let here = outstanding & &left;
        left -= &here;
        attempts.push((*attempt, here));
    }
    attempts.push((1, left));
    attempts
}
