//! Many jobs on many nodes: how long they take over what they need, and how many objects that makes.

use crate::{
    chance::Chance,
    events::{Micros, SECOND},
    load::{Load, Shape},
    scenario,
    trace::Trace,
    world::{Fault, Times, World},
};
use pd_plan::Policy;

/// One way on a LAN.
const LATENCY: Micros = 300;
/// Whatever takes so many times as long as it needs has failed.
const GIVE_UP: u64 = 20;

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Nodes of one slot.
    pub nodes: usize,
    /// Jobs, one after another.
    pub jobs: u64,
    /// Indexes of each.
    pub indexes: u64,
    /// Time of one, in microseconds.
    pub cost: Micros,
    /// Time from one job to the next, in microseconds. Where it is long, the first jobs have nodes before the last ones come.
    pub apart: Micros,
}

/// What they have shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// From the first job to the end of the last, over the work of all by the slots of all.
    pub over: f64,
    /// Pairs of a job and a node, when half of that time was over and at the end.
    pub pairs: (usize, usize),
    /// Writes of the reconciler.
    pub writes: u64,
}

impl Crowd {
    /// Lets them work.
    pub fn run(self, seed: u64) -> Shown {
        let mut chance = Chance::new(seed).fork(4);
        let mut world = World::new(seed, Policy::default(), Times::default(), None, Trace::default());
        world.checks.are_on = false;
        for _ in 0..self.nodes {
            let node = world.add_node(1, 1.0, LATENCY);
            world.strike(0, Fault::Start(node));
        }
        let reconciler = world.add_reconciler(LATENCY);
        world.strike(0, Fault::StartReconciler(reconciler));
        for job in 0..self.jobs {
            let load = Load::sound(Shape::Uniform, self.indexes, self.cost as f64, &mut chance);
            world.submit(SECOND + job * self.apart, scenario::job(job, &scenario::Wishes::default()), load);
        }
        let needed = self.jobs * self.indexes * self.cost / self.nodes as u64;
        let _ = world.run(SECOND + needed / 2);
        let halfway = world.server.assignments.len();
        let _ = world.run(SECOND + needed * GIVE_UP);
        let over = if world.is_over() { (world.now() - SECOND) as f64 / needed as f64 } else { f64::INFINITY };
        Shown { over, pairs: (halfway, world.server.assignments.len()), writes: world.stats.writes }
    }
}
