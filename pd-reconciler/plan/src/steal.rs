//! Stealing: a node that runs dry gets what another one has not started (rule 4).
//!
//! Decided when a report shows an idle node, never on a timer. The victim is the node that would end last. The
//! tail of its queue is recalled: its spec shrinks, it drops what it has not started and says what it had.
//! Only then the rest counts as not given out, and `grants` gives it to whoever is idle. A silent victim cannot
//! answer: it is left to `copies`.

use std::{cmp::Ordering, collections::BTreeSet};

use schemas::IndexSet;

use crate::{
    action::Plan,
    hands::{Hand, Rest},
    job::{Draft, Work},
    nodes::Nodes,
    poison::Poison,
    policy::Policy,
};

/// A node runs so much work at once that it cannot take back: its runs aim at this many seconds.
const RUN_SECONDS: f64 = 0.035;

/// Recalls work for idle nodes from those that would end last. Afterwards `hands` count what is on its way.
pub(crate) fn rebalance<'a>(
    work: &mut Work<'a>,
    hands: &mut [Hand<'a>],
    nodes: &Nodes<'_>,
    policy: &Policy,
    plan: &mut Plan,
) {
    expect_recalled(work, hands, policy);
    if !policy.steals(work.job) {
        return;
    }
    let poison = Poison::of(work);
    let mut asked = BTreeSet::new();
    let mut victims = ranked(hands);
    for thief in 0..hands.len() {
        if !hands[thief].is_idle(policy) {
            continue;
        }
        let most = poison.most(work, &hands[thief], u64::MAX).min(hands[thief].probe(policy));
        let Some((victim, amount)) = choose(work, hands, thief, &victims, most, &asked, policy) else { continue };
        tell(work, &hands[thief], &hands[victim], amount, nodes, plan);
        hands[victim].outstanding -= amount;
        hands[thief].outstanding += amount;
        asked.insert(hands[victim].node_uid);
        recall(work, hands[victim].node_uid, amount);
        [victim, thief].into_iter().for_each(|changed| rank_again(&mut victims, hands, changed));
    }
}

/// Positions of the nodes, the one that would end last in front, the UID settles ties; with when they would.
fn ranked(hands: &[Hand<'_>]) -> Vec<(usize, f64)> {
    let mut ranked: Vec<(usize, f64)> = hands.iter().map(end).enumerate().collect();
    ranked.sort_by(|a, b| by_end(hands, a, b));
    ranked
}

/// Puts one whose queue has changed where it belongs now.
fn rank_again(ranked: &mut Vec<(usize, f64)>, hands: &[Hand<'_>], changed: usize) {
    ranked.retain(|(at, _)| *at != changed);
    let now = (changed, end(&hands[changed]));
    let place = ranked.partition_point(|other| by_end(hands, other, &now).is_lt());
    ranked.insert(place, now);
}

/// When the node would be through, in seconds.
fn end(hand: &Hand<'_>) -> f64 {
    hand.seconds_for(hand.outstanding)
}

fn by_end(hands: &[Hand<'_>], a: &(usize, f64), b: &(usize, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(hands[a.0].node_uid.cmp(hands[b.0].node_uid))
}

/// What was recalled before and is not acknowledged is as good as given to those that run dry first.
fn expect_recalled(work: &Work<'_>, hands: &mut [Hand<'_>], policy: &Policy) {
    let recalled = work.drafts.iter().filter(|draft| draft.is_live && !draft.is_silent());
    let mut coming: u64 = recalled.map(|draft| draft.recalled.count()).sum();
    let rest = Rest::of(coming, hands);
    for hand in hands.iter_mut().filter(|hand| hand.is_idle(policy)) {
        let taken = rest.fair(hand).saturating_sub(hand.outstanding).min(coming);
        hand.outstanding += taken;
        coming -= taken;
    }
}

/// The node that would end last of those that are worth it, and how much to take from it: `most` at the most.
fn choose(
    work: &Work<'_>,
    hands: &[Hand<'_>],
    thief: usize,
    victims: &[(usize, f64)],
    most: u64,
    asked: &BTreeSet<&str>,
    policy: &Policy,
) -> Option<(usize, u64)> {
    // What was given in this very plan is not taken back in it.
    let is_settled = |draft: &Draft<'_>| draft.recalled.is_empty() && !draft.is_granted;
    let is_free = |uid: &str| asked.contains(uid) || work.draft(uid).is_some_and(is_settled);
    let soonest = hands[thief].seconds_for(hands[thief].outstanding + 1) + policy.steal_gap().as_secs_f64();
    let later = victims.iter().take_while(|(_, end)| *end > soonest).map(|(victim, _)| *victim);
    later.filter(|victim| *victim != thief && is_free(hands[*victim].node_uid)).find_map(|victim| {
        let room = not_started(work, &hands[victim]).min(most);
        Some((victim, amount(&hands[thief], &hands[victim], room, policy)?))
    })
}

/// What the victim has certainly not started, as far as we can tell.
fn not_started(work: &Work<'_>, victim: &Hand<'_>) -> u64 {
    let queued = work.draft(victim.node_uid).map_or(0, |draft| draft.outstanding.values().map(IndexSet::count).sum());
    let running = (victim.slots * (victim.guess * RUN_SECONDS).max(1.0)).ceil() as u64;
    u64::min(queued, victim.outstanding).saturating_sub(running)
}

/// How many indexes make both end together, if the thief then ends them sooner than the victim would, by more
/// than the steal costs.
fn amount(thief: &Hand<'_>, victim: &Hand<'_>, room: u64, policy: &Policy) -> Option<u64> {
    let gap = policy.steal_gap().as_secs_f64();
    let alone = victim.seconds_for(victim.outstanding);
    let (theirs, ours) = (victim.outstanding as f64 * thief.speed(), thief.outstanding as f64 * victim.speed());
    let even = ((theirs - ours) / (thief.speed() + victim.speed())).round().max(1.0) as u64;
    let mut amount = even.min(room);
    while amount > 0 && thief.seconds_for(thief.outstanding + amount) + gap >= alone {
        amount -= amount.div_ceil(4);
    }
    (amount > 0).then_some(amount)
}

/// Takes the tail of what the node was given: first tries before retries, for it runs retries first.
fn recall(work: &mut Work<'_>, node_uid: &str, amount: u64) {
    let Some(draft) = work.drafts.iter_mut().find(|draft| draft.spec.node_uid == node_uid) else { return };
    let Draft { outstanding, grants, recalled, .. } = draft;
    let mut left = amount;
    for (attempt, given) in outstanding.iter_mut() {
        let taken = given.take_last(left);
        left -= taken.count();
        if let Some(granted) = grants.get_mut(attempt) {
            *granted -= &taken;
        }
        *recalled |= &taken;
    }
    outstanding.retain(|_, given| !given.is_empty());
}

fn tell(work: &Work<'_>, thief: &Hand<'_>, victim: &Hand<'_>, amount: u64, nodes: &Nodes<'_>, plan: &mut Plan) {
    plan.counts.steals += 1;
    plan.counts.stolen_indexes += amount;
    let name = |hand: &Hand<'_>| nodes.get(hand.node_uid).map_or("?", |node| node.facts.name.as_str());
    let left = victim.seconds_for(victim.outstanding);
    let message = format!(
        "{amount} of the {} subtasks of node {} recalled, which would take it {left:.1} s, for node {}, which is idle",
        victim.outstanding,
        name(victim),
        name(thief),
    );
    plan.event(work.about(), false, "WorkStolen", message);
}
