//! Stealing: a node that runs dry gets what another one has not started (rule 4).
//!
//! Decided when a report shows an idle node, never on a timer. The victim is the node that would end last. The
//! tail of its queue is recalled: its spec shrinks, it drops what it has not started and says what it had.
//! Only then the rest counts as not given out, and `grants` gives it to whoever is idle. A silent victim cannot
//! answer: it is left to `copies`.

use std::collections::BTreeSet;

use schemas::IndexSet;

use crate::{
    action::Plan,
    hands::{Hand, Rest},
    job::{Draft, Work},
    nodes::Nodes,
    poison,
    policy::Policy,
};

/// A node runs so much work at once that it cannot take back: its runs aim at this many seconds.
const RUN_SECONDS: f64 = 0.035;

/// Recalls work for idle nodes from those that would end last. Afterwards `hands` count what is on its way.
pub(crate) fn rebalance(work: &mut Work<'_>, hands: &mut [Hand], nodes: &Nodes<'_>, policy: &Policy, plan: &mut Plan) {
    expect_recalled(work, hands, policy);
    if !policy.steals(work.job) {
        return;
    }
    let mut asked = BTreeSet::new();
    for thief in 0..hands.len() {
        if !hands[thief].is_idle(policy) {
            continue;
        }
        let Some((victim, amount)) = choose(work, hands, thief, &asked, policy) else { continue };
        tell(work, &hands[thief], &hands[victim], amount, nodes, plan);
        hands[victim].outstanding -= amount;
        hands[thief].outstanding += amount;
        asked.insert(hands[victim].node_uid.clone());
        recall(work, &hands[victim].node_uid, amount);
    }
}

/// What was recalled before and is not acknowledged is as good as given to those that run dry first.
fn expect_recalled(work: &Work<'_>, hands: &mut [Hand], policy: &Policy) {
    let recalled = work.drafts.iter().filter(|draft| draft.is_live && !draft.is_silent());
    let mut coming: u64 = recalled.map(|draft| draft.recalled.count()).sum();
    let rest = Rest::of(coming, hands);
    for hand in hands.iter_mut().filter(|hand| hand.is_idle(policy)) {
        let taken = rest.fair(hand).saturating_sub(hand.outstanding).min(coming);
        hand.outstanding += taken;
        coming -= taken;
    }
}

/// The node that would end last of those that are worth it, and how much to take from it.
fn choose(
    work: &Work<'_>,
    hands: &[Hand],
    thief: usize,
    asked: &BTreeSet<String>,
    policy: &Policy,
) -> Option<(usize, u64)> {
    // What was given in this very plan is not taken back in it.
    let is_settled = |draft: &Draft<'_>| draft.recalled.is_empty() && !draft.is_granted;
    let is_free = |uid: &str| asked.contains(uid) || work.draft(uid).is_some_and(is_settled);
    let mut victims: Vec<usize> = (0..hands.len()).filter(|at| *at != thief && is_free(&hands[*at].node_uid)).collect();
    let end = |at: &usize| hands[*at].seconds_for(hands[*at].outstanding);
    victims.sort_by(|a, b| end(b).total_cmp(&end(a)).then(hands[*a].node_uid.cmp(&hands[*b].node_uid)));
    let most = poison::most(work, &hands[thief], u64::MAX).min(hands[thief].probe(policy));
    victims.into_iter().find_map(|victim| {
        let room = not_started(work, &hands[victim]).min(most);
        Some((victim, amount(&hands[thief], &hands[victim], room, policy)?))
    })
}

/// What the victim has certainly not started, as far as we can tell.
fn not_started(work: &Work<'_>, victim: &Hand) -> u64 {
    let queued = work.draft(&victim.node_uid).map_or(0, |draft| draft.outstanding.values().map(IndexSet::count).sum());
    let running = (victim.slots * (victim.guess * RUN_SECONDS).max(1.0)).ceil() as u64;
    u64::min(queued, victim.outstanding).saturating_sub(running)
}

/// How many indexes make both end together, if the thief then ends them sooner than the victim would, by more
/// than the steal costs.
fn amount(thief: &Hand, victim: &Hand, room: u64, policy: &Policy) -> Option<u64> {
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

fn tell(work: &Work<'_>, thief: &Hand, victim: &Hand, amount: u64, nodes: &Nodes<'_>, plan: &mut Plan) {
    plan.counts.steals += 1;
    plan.counts.stolen_indexes += amount;
    let name = |hand: &Hand| nodes.get(hand.node_uid.as_str()).map_or("?", |node| node.facts.name.as_str());
    let left = victim.seconds_for(victim.outstanding);
    let message = format!(
        "{amount} of the {} subtasks of node {} recalled, which would take it {left:.1} s, for node {}, which is idle",
        victim.outstanding,
        name(victim),
        name(thief),
    );
    plan.event(work.about(), false, "WorkStolen", message);
}
