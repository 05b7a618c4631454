//! Sharing: how jobs divide the slots, and how a number is divided by weights.
//!
//! Slots are the one resource that nodes offer, so the dominant share of a queue is its share of slots. Strict
//! priority comes first; among equals each further slot goes to the queue that has the least for its weight, and
//! within it to the job that has the least. What a queue does not want goes to the others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemas::{
    IndexSet,
    job::{Waiting, waiting},
};

use crate::{
    action::Plan,
    backoff::Due,
    job::{Draft, Stage, Work},
    nodes::{Node, Nodes},
    placement::{self, Allotment},
    policy::Policy,
    spread::{self, Spread},
};

/// How the jobs divide the slots.
pub(crate) struct Division<'a> {
    /// By position of the job: slots that it may use.
    pub(crate) allotments: Vec<Allotment<'a>>,
    /// By node UID: how many jobs want it now. Each counts on an equal share of its slots, so the windows of all of
    /// them together stay one window.
    contenders: BTreeMap<&'a str, u32>,
    /// The same for slots that were dealt out: those are nobody else's.
    turns: u32,
}

impl Division<'_> {
    /// How many jobs share the slots that one of them may use on a node.
    pub(crate) fn contenders(&self, node_uid: &str) -> u32 {
        self.contenders.get(node_uid).copied().unwrap_or(self.turns)
    }
}

/// Slots that each job may use, by node. While all jobs that want some are of one queue and priority, each may
/// use every slot, and they take turns, as long as that makes not too many pairs; else the slots are dealt out, also to
/// jobs that are about to come.
pub(crate) fn divide<'a>(
    jobs: &mut [Work<'a>],
    dues: &[Due],
    nodes: &Nodes<'a>,
    now: Timestamp,
    policy: &Policy,
    plan: &mut Plan,
) -> Division<'a> {
    let wanting: Vec<usize> = (0..jobs.len()).filter(|at| is_hungry(&jobs[*at], &dues[*at])).collect();
    let kinds: BTreeSet<(i32, &str)> = wanting.iter().map(|at| kind(&jobs[*at])).collect();
    let has_quota = wanting.iter().any(|at| jobs[*at].queue.is_some_and(|queue| queue.slots.is_some()));
    let coming = spread::coming(jobs, now, policy);
    let sharing = wanting.len() + coming.len();
    let is_spread = sharing > 1 && sharing * nodes.len() > policy.pairs_max;
    let (rooms, turns) = if kinds.len() > 1 || has_quota {
        (Deal::new(jobs, dues, nodes, wanting).deal(), 1)
    } else if is_spread {
        coming.iter().for_each(|until| plan.wake(*until));
        let spread = Spread::of(jobs, dues, &wanting, coming.len(), nodes);
        (spread.rooms, spread.turns)
    } else {
        (vec![], 1)
    };
    let is_dealt = !rooms.is_empty();
    let allot = |(at, work): (usize, &mut Work<'a>)| {
        work.is_rationed = is_dealt;
        match rooms.get(at) {
            _ if work.stage != Stage::Running => Allotment::new(),
            Some(room) => placement::allot_rooms(work, nodes, room, turns),
            None => placement::allot(work, nodes),
        }
    };
    let allotments: Vec<Allotment<'a>> = jobs.iter_mut().enumerate().map(allot).collect();
    let contenders = contenders(jobs, dues, &allotments);
    Division { allotments, contenders, turns }
}

/// Jobs of one kind share evenly.
fn kind<'a>(work: &Work<'a>) -> (i32, &'a str) {
    (work.job.spec.priority, &work.job.spec.queue)
}

fn is_hungry(work: &Work<'_>, due: &Due) -> bool {
    work.stage == Stage::Running
        && (due.values().any(|due| !due.is_empty()) || !work.fold.outstanding.is_empty() || work.checks_due() > 0)
}

/// Slots, dealt one by one.
struct Deal<'j, 'a> {
    jobs: &'j [Work<'a>],
    nodes: Vec<&'j Node<'a>>,
    /// By position of the job.
    wants: Vec<Want<'a>>,
    /// In the order of their names.
    queues: Vec<Share>,
}

/// What one job wants.
#[derive(Default)]
struct Want<'a> {
    /// Position of its queue.
    queue: usize,
    /// By node UID: slots that what is out there can use.
    here: BTreeMap<&'a str, u64>,
    /// Slots that what is not given out can use, on whatever node.
    anywhere: u64,
    /// Slots that its parallelism leaves.
    limit: u64,
    given: u64,
    room: BTreeMap<&'a str, u32>,
}

/// What one queue has.
struct Share {
    weight: f64,
    quota: u64,
    given: u64,
}

impl Share {
    /// Slots for its weight that it would have with one more.
    fn next(&self) -> f64 {
        (self.given + 1) as f64 / self.weight
    }
}

impl<'j, 'a> Deal<'j, 'a> {
    fn new(jobs: &'j [Work<'a>], dues: &[Due], nodes: &'j Nodes<'a>, wanting: Vec<usize>) -> Self {
        let names: BTreeSet<&str> = jobs.iter().map(|work| kind(work).1).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let share = |name: &&str| {
            let queue = jobs.iter().find(|work| kind(work).1 == *name).and_then(|work| work.queue);
            let quota = queue.and_then(|queue| queue.slots).map_or(u64::MAX, u64::from);
            Share { weight: f64::from(queue.map_or(1, |queue| queue.weight.max(1))), quota, given: 0 }
        };
        let mut wants: Vec<Want<'a>> = jobs.iter().map(|_| Want::default()).collect();
        for at in wanting {
            let queue = names.binary_search(&kind(&jobs[at]).1).unwrap_or_default();
            wants[at] = Want { queue, ..Want::of(&jobs[at], &dues[at]) };
        }
        let mut nodes: Vec<&Node<'a>> = nodes.values().filter(|node| node.takes_work()).collect();
        nodes.sort_by(|a, b| a.facts.name.cmp(&b.facts.name));
        Self { jobs, nodes, wants, queues: names.iter().map(share).collect() }
    }

    /// By position of the job: slots on each node, by its UID.
    fn deal(mut self) -> Vec<BTreeMap<&'a str, u32>> {
        let mut free: Vec<u32> = self.nodes.iter().map(|node| node.facts.slots).collect();
        let levels: BTreeSet<i32> = self.jobs.iter().map(|work| work.job.spec.priority).collect();
        for level in levels.into_iter().rev() {
            for (at, free) in free.iter_mut().enumerate().filter(|(_, free)| **free > 0) {
                let node = self.nodes[at];
                let is_fit = |job: &usize| self.jobs[*job].job.spec.priority == level && self.jobs[*job].fits(node);
                let fitting: Vec<usize> = (0..self.jobs.len()).filter(is_fit).collect();
                while *free > 0
                    && let Some(job) = self.choose(&fitting, &node.facts.uid)
                {
                    self.give(job, &node.facts.uid);
                    *free -= 1;
                }
            }
        }
        self.wants.into_iter().map(|want| want.room).collect()
    }

    /// Who gets the next slot of a node: the queue with the least for its weight, and of its jobs the one with the
    /// least; the older among equals, as `jobs` stand.
    fn choose(&self, fitting: &[usize], node_uid: &str) -> Option<usize> {
        let wanting = fitting.iter().copied().filter(|at| {
            let (want, queue) = (&self.wants[*at], &self.queues[self.wants[*at].queue]);
            let is_within = queue.given < queue.quota && want.given < want.limit;
            is_within && (want.anywhere > 0 || want.here.get(node_uid).is_some_and(|here| *here > 0))
        });
        wanting.min_by(|a, b| {
            let (a, b) = (&self.wants[*a], &self.wants[*b]);
            let by_queue = self.queues[a.queue].next().total_cmp(&self.queues[b.queue].next());
            by_queue.then(a.queue.cmp(&b.queue)).then(a.given.cmp(&b.given))
        })
    }

    fn give(&mut self, at: usize, node_uid: &'a str) {
        let want = &mut self.wants[at];
        self.queues[want.queue].given += 1;
        want.given += 1;
        *want.room.entry(node_uid).or_default() += 1;
        match want.here.get_mut(node_uid) {
            Some(here) if *here > 0 => *here -= 1,
            _ => want.anywhere -= 1,
        }
    }
}

impl<'a> Want<'a> {
    fn of(work: &Work<'a>, due: &Due) -> Self {
        let used = |draft: &Draft<'a>| {
            let node = draft.node.filter(|node| draft.is_live && work.fits(node))?;
            let slots = draft.outstanding_count().min(u64::from(node.facts.slots));
            (slots > 0).then_some((node.facts.uid.as_str(), slots))
        };
        let here: BTreeMap<&str, u64> = work.drafts.iter().filter_map(used).collect();
        let limit = u64::from(placement::parallelism_left(work));
        let anywhere = due.values().map(IndexSet::count).sum::<u64>() + work.checks_due();
        Self { here, anywhere, limit, ..Self::default() }
    }
}

/// Why a job that may run has no slot on any node.
pub(crate) fn why_none(work: &Work<'_>, nodes: &Nodes<'_>) -> Waiting {
    let fitting = work.eligible(nodes).count();
    if !work.is_rationed || fitting == 0 {
        return placement::why_none(work, nodes);
    }
    let slots: u32 = work.eligible(nodes).map(|node| node.facts.slots).sum();
    let quota = work.queue.and_then(|queue| queue.slots);
    let quota =
        quota.map_or_else(String::new, |quota| format!(", or the quota of {quota} slots of its queue is used up"));
    let message = format!(
        "the {slots} slots of the {fitting} nodes that can take it go to jobs of higher priority or other queues{quota}"
    );
    Waiting { reason: waiting::NO_SLOT.into(), message }
}

/// How many jobs want each node now, unless the slots were dealt out.
fn contenders<'a>(jobs: &[Work<'a>], dues: &[Due], allotments: &[Allotment<'a>]) -> BTreeMap<&'a str, u32> {
    let mut contenders = BTreeMap::new();
    for ((work, due), allotment) in jobs.iter().zip(dues).zip(allotments) {
        if is_hungry(work, due) && !work.is_rationed {
            for node_uid in allotment.keys() {
                *contenders.entry(*node_uid).or_default() += 1;
            }
        }
    }
    contenders
}

/// Positions of the jobs: the highest priority first, then the one with the fewest slot-seconds out, then the
/// older one (`jobs` stand in that order).
pub(crate) fn order(jobs: &[Work<'_>]) -> Vec<usize> {
    let seconds: Vec<f64> = jobs.iter().map(slot_seconds).collect();
    let priority = |at: usize| jobs[at].job.spec.priority;
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|a, b| priority(*b).cmp(&priority(*a)).then(seconds[*a].total_cmp(&seconds[*b])));
    order
}

/// Work that is out, in slot-seconds; a second for an index of unknown cost.
fn slot_seconds(work: &Work<'_>) -> f64 {
    let out = |draft: &Draft<'_>| {
        let count: u64 = draft.outstanding.values().map(IndexSet::count).sum();
        count as f64 / draft.rate().unwrap_or(1.0)
    };
    work.drafts.iter().map(out).sum()
}

/// Splits `total` in proportion to `weights`; the parts add up to it. The largest remainders get what is
/// left over, the first among equals.
pub(crate) fn split(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let exact = |weight: u64| u128::from(total) * u128::from(weight);
    let mut parts: Vec<u64> = weights.iter().map(|weight| (exact(*weight) / sum) as u64).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(exact(weights[*at]) % sum));
    let left_over = total - parts.iter().sum::<u64>();
    by_remainder.into_iter().cycle().take(left_over as usize).for_each(|at| parts[at] += 1);
    parts
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn parts_follow_the_weights_and_add_up() {
        assert_eq!(split(16, &[2, 2, 2]), [6, 5, 5]);
        assert_eq!(split(10, &[4, 1, 0]), [8, 2, 0]);
        assert_eq!(split(1, &[1, 3]), [0, 1]);
        assert_eq!(split(5, &[0, 0]), [0, 0]);
    }
}
