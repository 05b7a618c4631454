//! Spreading: many jobs over many nodes. Where jobs of one kind take turns on every node there is an assignment for each
//! pair of them; with a hundred jobs on a thousand nodes their reports alone would be more than a server can store.
//! From so many pairs on each job is given nodes of its own: an equal part of the slots, first where it already is.
//! With more jobs than slots, as many as need be take turns on a slot. A job that is about to come has its part kept free.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    backoff::Due,
    job::{Stage, Work},
    nodes::{Node, Nodes},
    placement,
    policy::Policy,
    time::after,
};

/// Places of one kind of jobs: a slot, or the turns that a slot has.
pub(crate) struct Spread<'a> {
    /// By position of the job: places on each node, by its UID.
    pub(crate) rooms: Vec<BTreeMap<&'a str, u32>>,
    /// Jobs that share a slot at the most.
    pub(crate) turns: u32,
}

/// Of each job that is being planned and may soon want its part of the slots: until when it is waited for.
pub(crate) fn coming(jobs: &[Work<'_>], now: Timestamp, policy: &Policy) -> Vec<Timestamp> {
    let planned = jobs.iter().filter(|work| work.stage == Stage::Planning);
    let begun = planned.map(|work| work.job.status.as_ref().and_then(|status| status.start_time).unwrap_or(now));
    begun.map(|begun| after(begun, policy.planned_within)).filter(|until| now < *until).collect()
}

impl<'a> Spread<'a> {
    /// Divides the slots of all nodes among the jobs at the positions `wanting` and as many others as are `coming`.
    pub(crate) fn of(jobs: &[Work<'a>], dues: &[Due], wanting: &[usize], coming: usize, nodes: &Nodes<'a>) -> Self {
        let nodes: Vec<&Node<'a>> = nodes.values().filter(|node| node.takes_work()).collect();
        let slots: u64 = nodes.iter().map(|node| u64::from(node.facts.slots)).sum();
        let turns = ((wanting.len() + coming) as u64).div_ceil(slots.max(1)).clamp(1, u64::from(u32::MAX)) as u32;
        let most = |at: &usize| {
            let due: u64 = dues[*at].values().map(schemas::IndexSet::count).sum();
            let slots = u64::from(placement::parallelism_left(&jobs[*at]));
            (due + jobs[*at].fold.outstanding.count()).min(slots.saturating_mul(u64::from(turns)))
        };
        let most: Vec<u64> = wanting.iter().map(most).collect();
        let mut places = Places {
            jobs,
            turns,
            left: targets(slots * u64::from(turns), wanting, &most, coming, jobs.len()),
            free: nodes.iter().map(|node| node.facts.slots.saturating_mul(turns)).collect(),
            rooms: vec![BTreeMap::new(); jobs.len()],
            nodes,
        };
        places.keep(wanting);
        places.fill(wanting);
        if coming == 0 {
            // What is free yet did not suit those who should have had it.
            places.want_all(wanting, &most);
            places.fill(wanting);
        }
        Self { rooms: places.rooms, turns }
    }
}

/// Places, while they are given out.
struct Places<'j, 'a> {
    jobs: &'j [Work<'a>],
    /// Places that a slot has.
    turns: u32,
    nodes: Vec<&'j Node<'a>>,
    /// By position of the node.
    free: Vec<u32>,
    /// By position of the job: what it is still to get.
    left: Vec<u64>,
    rooms: Vec<BTreeMap<&'a str, u32>>,
}

impl Places<'_, '_> {
    /// Jobs stay where they are, with the slots that they had: first where they have most to do. What a job has left on a
    /// node that it has lost becomes less with time; on those that it keeps it is made up for, so it keeps the same ones
    /// with each plan.
    fn keep(&mut self, wanting: &[usize]) {
        let positions: BTreeMap<&str, usize> =
            self.nodes.iter().enumerate().map(|(at, node)| (node.facts.uid.as_str(), at)).collect();
        let mut held: Vec<(u64, usize, usize, u32)> = Vec::new();
        for job in wanting {
            for draft in self.jobs[*job].drafts.iter().filter(|draft| draft.is_live) {
                let Some(node) = positions.get(draft.spec.node_uid) else { continue };
                let had = draft.spec.slots.unwrap_or(self.nodes[*node].facts.slots);
                held.push((draft.outstanding_count(), *job, *node, had));
            }
        }
        // What is equal stays in the order of the jobs.
        held.sort_by_key(|(outstanding, ..)| std::cmp::Reverse(*outstanding));
        for (_, job, node, had) in held {
            self.give(job, node, u64::from(had) * u64::from(self.turns));
        }
    }

    /// What is free goes to the job that is to get most, a node as a whole as far as it goes.
    fn fill(&mut self, wanting: &[usize]) {
        for node in 0..self.nodes.len() {
            while self.free[node] > 0 {
                let fits = |job: &usize| self.left[*job] > 0 && self.jobs[*job].fits(self.nodes[node]);
                let most = wanting.iter().copied().filter(fits).max_by_key(|job| (self.left[*job], usize::MAX - job));
                let Some(job) = most else { break };
                self.give(job, node, u64::MAX);
            }
        }
    }

    /// From now on each job is to get as much as it can use.
    fn want_all(&mut self, wanting: &[usize], most: &[u64]) {
        for (job, most) in wanting.iter().zip(most) {
            self.left[*job] = most - self.rooms[*job].values().map(|places| u64::from(*places)).sum::<u64>();
        }
    }

    /// As much of a node as is free and as the job is to get, at most `most`.
    fn give(&mut self, job: usize, node: usize, most: u64) {
        let given = u64::from(self.free[node]).min(self.left[job]).min(most) as u32;
        if given == 0 || !self.jobs[job].fits(self.nodes[node]) {
            return;
        }
        self.free[node] -= given;
        self.left[job] -= u64::from(given);
        *self.rooms[job].entry(&self.nodes[node].facts.uid).or_default() += given;
    }
}

/// By position of the job, of `jobs` in all: an equal part of `places`, at most `most` of each that wants some. What one
/// does not want goes to the others, and to those that are `coming`.
fn targets(places: u64, wanting: &[usize], most: &[u64], coming: usize, jobs: usize) -> Vec<u64> {
    let mut modest: Vec<usize> = (0..wanting.len()).collect();
    modest.sort_by_key(|at| most[*at]);
    let mut targets = vec![0; jobs];
    let mut left = places;
    for (number, at) in modest.iter().enumerate() {
        let share = left.div_ceil((wanting.len() + coming - number) as u64).min(most[*at]);
        targets[wanting[*at]] = share;
        left -= share;
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn the_modest_get_what_they_want_and_the_others_the_rest() {
        assert_eq!(targets(10, &[0, 2, 3], &[100, 1, 100], 0, 4), [5, 0, 1, 4]);
        assert_eq!(targets(10, &[0, 1], &[3, 2], 0, 2), [3, 2]);
        assert_eq!(targets(2, &[0, 1, 2], &[9, 9, 9], 0, 3), [1, 1, 0]);
        assert_eq!(targets(10, &[0, 1], &[1, 100], 2, 2), [1, 3]);
        assert_eq!(targets(0, &[], &[], 0, 1), [0]);
    }
}
