//! Random scenarios: a cluster, its jobs, and what strikes them, all drawn from one seed. Faults end at a moment;
//! from then on every job has to come to its end within a bound.

mod jobs;
mod limits;
mod places;
mod strikes;

use std::time::Duration;

use pd_plan::{Policy, QueueFacts};

pub(crate) use self::jobs::{Wishes, job};
use crate::{
    bug::Bug,
    chance::Chance,
    checks::Violation,
    events::{Micros, SECOND},
    trace::Trace,
    world::{Fault, Stats, Times, World},
};

/// Attempts at one index that the jobs of scenarios allow.
const ATTEMPTS: u32 = 4;
/// How long faults strike, in seconds: from a minute to four hours. A subtask then takes from milliseconds to an
/// hour.
const STRUCK: (f64, f64) = (60.0, 14_400.0);
/// What may pass after the faults beyond the work itself: silence until a node is lost (15 s when most vanish
/// together), retries (0.1 + 0.2 + 0.4 s), a reconciler's longest back-off (5 s), a watch's (1 s), and twice that.
const SLACK: Micros = 60 * SECOND;

/// What came of a scenario.
#[derive(Debug)]
pub struct Outcome {
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// How long the cluster lived, in simulated time.
    pub lived: Micros,
    /// What was counted.
    pub stats: Stats,
    /// Hash of the trace, if it was hashed.
    pub digest: Option<u64>,
}

/// The cluster of one scenario.
struct Drawn {
    nodes: Vec<(usize, f64)>,
    heal_at: Micros,
    work_done_by: Micros,
    reconcilers: usize,
    jobs: u64,
    /// Nodes differ, and jobs may ask for some of them.
    has_places: bool,
    /// The reconcilers themselves are struck too.
    shakes_control: bool,
}

/// Lives through the scenario of `seed`.
pub fn run(seed: u64, bug: Option<Bug>, trace: Trace) -> Outcome {
    let mut chance = Chance::new(seed).fork(2);
    let policy = Policy { lost_after: Duration::from_secs(chance.pick(&[3, 5, 5, 8])), ..Policy::default() };
    let mut world = World::new(seed, policy, Times::default(), bug, trace);
    let drawn = draw(&mut world, &mut chance);
    let deadline = drawn.work_done_by + SLACK;
    let violation = world.run(deadline).err().or_else(|| world.check_over());
    Outcome { violation, lived: world.now(), stats: world.stats, digest: world.trace.digest() }
}

fn draw(world: &mut World, chance: &mut Chance) -> Drawn {
    let latency = chance.log_between(100.0, 20_000.0) as Micros;
    let count = chance.between(1, 6);
    let nodes: Vec<(usize, f64)> =
        (0..count).map(|_| (chance.between(1, 4) as usize, chance.log_between(0.25, 1.0))).collect();
    let heal_at = (chance.log_between(STRUCK.0, STRUCK.1) * 1e6) as Micros;
    let mut drawn = Drawn {
        nodes,
        heal_at,
        work_done_by: heal_at,
        reconcilers: 1,
        jobs: 0,
        has_places: false,
        shakes_control: false,
    };
    match chance.below(10) {
        0..=4 => {}
        5..=7 => drawn.shakes_control = true,
        _ => (drawn.reconcilers, drawn.shakes_control) = (2, true),
    }
    for (number, (slots, speed)) in drawn.nodes.iter().enumerate() {
        world.add_node(*slots, *speed, latency);
        let joins_late = number > 0 && chance.permille(150);
        world.strike(if joins_late { chance.below(heal_at) } else { 0 }, Fault::Start(number));
    }
    for number in 0..drawn.reconcilers {
        world.add_reconciler(latency);
        world.strike(0, Fault::StartReconciler(number));
    }
    world.queues = draw_queues(&mut chance.fork(6));
    let mut machines = chance.fork(12);
    drawn.has_places = machines.permille(400);
    if drawn.has_places {
        places::draw_machines(world, &drawn, &mut machines);
    }
    jobs::draw(world, &mut drawn, chance);
    strikes::draw_faults(world, &drawn, chance);
    // Its own stream, so that what people do moves nothing else of a seed.
    strikes::draw_people(world, &drawn, &mut chance.fork(5));
    strikes::draw_deaths(world, &drawn, &mut chance.fork(9));
    strikes::draw_spoilt(world, &mut drawn, &mut chance.fork(10));
    strikes::heal(world, &drawn);
    drawn
}

/// Queues that jobs may stand in beside the default one, which nobody made.
fn draw_queues(chance: &mut Chance) -> Vec<QueueFacts> {
    let queue = |name: &str, weight| QueueFacts { name: name.to_owned(), weight, slots: None, jobs: None };
    vec![
        queue("wide", chance.between(1, 5) as u32),
        QueueFacts { slots: Some(chance.between(1, 6) as u32), ..queue("narrow", 2) },
        QueueFacts { jobs: Some(1), ..queue("single", 1) },
    ]
}
