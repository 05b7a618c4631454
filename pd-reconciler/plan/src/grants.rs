//! Grants: how much of a job each node is given, by weighted factoring (Hummel et al. 1992 and 1996).
//!
//! A node that runs low gets its share, by measured rate, of half of what is left, within `grant_min` and
//! `grant_max` of work per slot, and never more than its share of all that is not done. A node whose rate is
//! not known gets a small probe. A job so small that measuring would cost more than it brings is given out
//! whole.

use std::time::Duration;

use jiff::Timestamp;
use schemas::IndexSet;

use crate::{
    action::Plan,
    backoff::Due,
    copies, efficiency,
    hands::{Hand, Rest, hands},
    job::{Draft, Stage, Work},
    nodes::Nodes,
    placement::{self, Allotment},
    poison::Poison,
    policy::Policy,
    scatter::Scatter,
    share::{self, Division},
    steal,
    time::after,
    verify,
};

/// An idle node that got nothing, since a faster one is expected to be sooner: is that one still as fast?
const RECONSIDER: Duration = Duration::from_millis(200);
/// So few indexes are placed one by one: with a thousand nodes that is a quarter of a million comparisons.
const HANDFUL_MAX: u64 = 256;

/// Tops up every node that runs low, the job with the least work out first; where nothing is left to give out,
/// idle nodes take over from busy ones.
pub(crate) fn refill<'a>(
    jobs: &mut [Work<'a>],
    dues: &[Due],
    nodes: &Nodes<'a>,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) {
    let is_running = |work: &Work<'_>| work.stage == Stage::Running;
    jobs.iter_mut().filter(|work| is_running(work)).for_each(verify::demand);
    let division = share::divide(jobs, dues, nodes, now, policy, plan);
    for at in share::order(jobs) {
        let (work, due, allotment) = (&mut jobs[at], &dues[at], &division.allotments[at]);
        if !is_running(work) {
            efficiency::rest(work, now);
            continue;
        }
        if allotment.is_empty() && !due.is_empty() {
            let why = share::why_none(work, nodes);
            work.hold_up(why, plan);
        }
        let is_all_out = refill_one(work, due.clone(), allotment, &division, nodes, policy, plan);
        verify::hold_up(work, nodes, plan);
        let mut hands = hands(work, allotment, &division, nodes);
        efficiency::observe(work, &hands, nodes, now);
        if !is_all_out && hands.iter().any(|hand| hand.free() > 0) {
            plan.wake(after(now, RECONSIDER));
        }
        if is_all_out {
            steal::rebalance(work, &mut hands, nodes, policy, plan);
            copies::make(work, &hands, nodes, now, policy, plan);
        }
        placement::limit_slots(work, allotment);
    }
}

/// Answers whether nothing is left to be given out.
fn refill_one<'a>(
    work: &mut Work<'a>,
    due: Due,
    allotment: &Allotment<'a>,
    division: &Division<'a>,
    nodes: &Nodes<'a>,
    policy: &Policy,
    plan: &mut Plan,
) -> bool {
    let left: u64 = due.values().map(IndexSet::count).sum::<u64>() + work.checks_due();
    if left == 0 || allotment.is_empty() {
        return left == 0;
    }
    let hands = hands(work, allotment, division, nodes);
    let (needs, amounts) = if is_whole(work, left, &hands, policy) {
        let parts = share::split(left, &weights(&hands));
        (parts.clone(), parts)
    } else {
        let poison = Poison::of(work);
        let most: Vec<u64> = hands.iter().map(|hand| poison.most(work, hand, left).min(hand.probe(policy))).collect();
        let needs = needs(work, left, &hands, &most, policy);
        let amounts = match needs.iter().sum::<u64>() {
            _ if is_handful(left, &hands) => soonest(&hands, left, &needs, &most),
            wanted if wanted <= left => needs.clone(),
            _ => share::split(left, &needs),
        };
        let is_choosy = work.checks_due() > 0 || due.range(2..).any(|(_, due)| !due.is_empty());
        (if is_choosy { needs } else { amounts.clone() }, amounts)
    };
    // A failed index goes to another node first, even to one whose share is full, but not nowhere. What is checked goes
    // to another node anyway.
    let mut pool = Pool { due, order: None };
    for (amounts, prefers_others) in [(&amounts, true), (&needs, true), (&needs, false)] {
        for (hand, amount) in hands.iter().zip(amounts) {
            give(work, hand, *amount, &mut pool, prefers_others, nodes, plan);
        }
    }
    pool.due.values().all(IndexSet::is_empty)
}

/// What is to be given out.
struct Pool {
    due: Due,
    /// The order of the first tries, once one is given out.
    order: Option<Scatter>,
}

impl Pool {
    /// Takes up to `room` indexes for a try of that number, none of `avoided` if it is a retry.
    fn take(&mut self, work: &Work<'_>, attempt: u32, room: u64, avoided: Option<&IndexSet>) -> IndexSet {
        let Some(waiting) = self.due.get_mut(&attempt).filter(|_| room > 0) else { return IndexSet::new() };
        let taken = match avoided {
            _ if attempt == 1 => {
                self.order.get_or_insert_with(|| Scatter::of(work.job, work.layout, waiting)).take(room)
            }
            Some(avoided) => (&*waiting - avoided).take_first(room),
            None => waiting.take_first(room),
        };
        *waiting -= &taken;
        taken
    }
}

/// Whole numbers in proportion to the speeds of the nodes.
fn weights(hands: &[Hand<'_>]) -> Vec<u64> {
    let fastest = hands.iter().map(Hand::speed).fold(f64::MIN_POSITIVE, f64::max);
    hands.iter().map(|hand| (1000.0 * hand.speed() / fastest).ceil() as u64).collect()
}

/// True for a fresh job that is so small that it is given out in one round.
fn is_whole(work: &Work<'_>, left: u64, hands: &[Hand<'_>], policy: &Policy) -> bool {
    let slots: f64 = hands.iter().map(|hand| hand.slots).sum();
    let is_fresh = left == work.fold.all.count();
    is_fresh && left <= policy.whole_min.max((slots * f64::from(policy.whole_per_slot)) as u64)
}

/// True when what is left is no more than an index for each slot, and few.
fn is_handful(left: u64, hands: &[Hand<'_>]) -> bool {
    left <= HANDFUL_MAX && left as f64 <= hands.iter().map(|hand| hand.slots).sum()
}

/// How much each node has room for, at most `most`: what it needs, and when little is left what idles.
fn needs(work: &Work<'_>, left: u64, hands: &[Hand<'_>], most: &[u64], policy: &Policy) -> Vec<u64> {
    let rest = Rest::of(left, hands);
    let is_stealing = policy.steals(work.job);
    let is_handful = is_handful(left, hands);
    let need = |hand: &Hand<'_>| need(hand, &rest, is_stealing, policy).max(if is_handful { hand.free() } else { 0 });
    hands.iter().zip(most).map(|(hand, most)| need(hand).min(*most)).collect()
}

/// Gives each index to the node that would end it soonest, while that one has room: a slow node which is idle gets
/// none that would end later there. So it is when work is stolen.
fn soonest(hands: &[Hand<'_>], left: u64, room: &[u64], most: &[u64]) -> Vec<u64> {
    let mut amounts = vec![0; hands.len()];
    for _ in 0..left {
        let end = |at: &usize| hands[*at].seconds_for(hands[*at].outstanding + amounts[*at] + 1);
        let trusted = (0..hands.len()).filter(|at| amounts[*at] < most[*at]);
        let best = trusted.min_by(|a, b| end(a).total_cmp(&end(b)));
        let Some(best) = best.filter(|best| amounts[*best] < room[*best]) else { break };
        amounts[best] += 1;
    }
    amounts
}

/// How many indexes the node should be given now; 0 while it has enough. Never more than makes up its share of
/// what is not done: near the end a full queue here would be an empty one elsewhere.
fn need(hand: &Hand<'_>, rest: &Rest, is_stealing: bool, policy: &Policy) -> u64 {
    let fair = rest.fair(hand);
    let Some(rate) = hand.rate else {
        let probe = (hand.slots * f64::from(policy.probe_per_slot)).ceil().max(1.0) as u64;
        return if hand.outstanding > 0 { 0 } else { probe.min(fair) };
    };
    let low = low_water(hand.slots, rate, is_stealing, policy).min(fair);
    if hand.outstanding >= refill_mark(hand.slots, low) {
        return 0;
    }
    let factored = rest.left as f64 * hand.speed() / (2.0 * rest.speed);
    let work = |span: Duration| hand.slots * rate * span.as_secs_f64();
    let chunk = factored.max(work(policy.grant_min)).min(work(policy.grant_max)).floor() as u64;
    chunk.max(low - hand.outstanding).min(fair.saturating_sub(hand.outstanding))
}

/// A node is topped up to this many outstanding indexes at least: one runs on each slot, and what it can do
/// until the next grant arrives is queued. No slot waits for the network. What is queued can be stolen; where
/// it cannot, a fraction of an index is not worth queueing.
fn low_water(slots: f64, rate: f64, is_stealing: bool, policy: &Policy) -> u64 {
    let queued = slots * rate * policy.refill_below.as_secs_f64();
    slots.ceil() as u64 + if is_stealing { queued.ceil() } else { queued.floor() } as u64
}

/// Below this many it is topped up: when a slot may fall idle, or a quarter of the low-water mark is gone. So a
/// report of little progress is not answered by a grant of little work.
fn refill_mark(slots: f64, low: u64) -> u64 {
    low.min((slots.ceil() as u64).max(low - low / 4))
}

/// The most that a node may ever have outstanding of one job: the low-water mark and one largest grant.
pub(crate) fn window_max(slots: f64, rate: Option<f64>, policy: &Policy) -> u64 {
    let Some(rate) = rate else { return (slots * f64::from(policy.probe_per_slot)).ceil() as u64 + 1 };
    low_water(slots, rate, true, policy) + (slots * rate * policy.grant_max.as_secs_f64()).ceil() as u64 + 1
}

/// Gives the node indexes until it has `amount` more, retries first.
fn give<'a>(
    work: &mut Work<'a>,
    hand: &Hand<'_>,
    amount: u64,
    pool: &mut Pool,
    prefers_others: bool,
    nodes: &Nodes<'a>,
    plan: &mut Plan,
) {
    if amount == 0 {
        return;
    }
    let given = work.draft(hand.node_uid).map_or(0, |draft| draft.outstanding_count() - hand.outstanding);
    let mut room = amount.saturating_sub(given);
    for (attempt, mut suited) in verify::suited(work, hand.node_uid, !prefers_others) {
        let taken = suited.take_first(room);
        room -= taken.count();
        check(work, hand.node_uid, attempt, &taken, nodes, plan);
    }
    let failed_here = work.draft(hand.node_uid).map(failed_here).unwrap_or_default();
    for attempt in pool.due.keys().rev().copied().collect::<Vec<u32>>() {
        let taken = pool.take(work, attempt, room, prefers_others.then_some(&failed_here));
        if !taken.is_empty() {
            room -= taken.count();
            hand_over(work, hand.node_uid, attempt, &taken, nodes, plan);
        }
    }
}

/// Lets a node compute what another one has delivered.
fn check<'a>(work: &mut Work<'a>, node_uid: &str, attempt: u32, taken: &IndexSet, nodes: &Nodes<'a>, plan: &mut Plan) {
    let (Some(node), false) = (nodes.get(node_uid), taken.is_empty()) else { return };
    let layout = work.layout;
    if let Some(verify) = &mut work.verify {
        verify.due -= taken;
    }
    plan.counts.checked_indexes += taken.count();
    let Some(draft) = work.draft_for(node) else { return };
    draft.is_granted = true;
    draft.spec.layout = layout;
    draft.checks |= taken;
    draft.grants.values_mut().for_each(|granted| *granted -= taken);
    *draft.grants.entry(attempt).or_default() |= taken;
    *draft.checking.entry(attempt).or_default() |= taken;
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
    let layout = work.layout;
    let Some(node) = nodes.get(node_uid) else { return };
    let Some(draft) = work.draft_for(node) else { return };
    plan.counts.grants += u64::from(!draft.is_granted);
    draft.is_granted = true;
    draft.spec.layout = layout;
    *draft.grants.entry(attempt).or_default() |= taken;
    *draft.outstanding.entry(attempt).or_default() |= taken;
}
