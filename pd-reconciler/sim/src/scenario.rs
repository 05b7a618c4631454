//! Random scenarios: a cluster, its jobs, and what strikes them, all drawn from one seed. Faults end at a moment;
//! from then on every job has to come to its end within a bound.

use std::time::Duration;

use pd_plan::{Policy, QueueFacts};
use schemas::{Digest, Job, queue};
use serde_json::json;

use crate::{
    bug::Bug,
    chance::Chance,
    checks::Violation,
    events::{Micros, SECOND},
    load::{Costs, Load, Outcomes, Shape},
    trace::Trace,
    world::{Fault, Stats, Times, World},
};

/// Attempts at one index that the jobs of scenarios allow.
const ATTEMPTS: u32 = 4;
/// Most indexes of one job: enough for intervals to be split many times.
const INDEXES_MAX: f64 = 400.0;
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
    let mut drawn = Drawn { nodes, heal_at, work_done_by: heal_at, reconcilers: 1, jobs: 0, shakes_control: false };
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
    draw_jobs(world, &mut drawn, chance);
    draw_faults(world, &drawn, chance);
    // Its own stream, so that what people do moves nothing else of a seed.
    draw_people(world, &drawn, &mut chance.fork(5));
    draw_deaths(world, &drawn, &mut chance.fork(9));
    heal(world, &drawn);
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

/// What a user asks for beside the work: in half of the scenarios nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    parallelism: Option<u32>,
    priority: i32,
    queue: &'static str,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { parallelism: None, priority: 0, queue: queue::DEFAULT }
    }
}

impl Wishes {
    fn draw(parallelism: Option<u32>, chance: &mut Chance) -> Self {
        let priority = chance.pick(&[0, 0, 0, -10, 10]);
        let queue = chance.pick(&[queue::DEFAULT, "wide", "narrow", "single", "single"]);
        Self { parallelism, priority, queue }
    }
}

fn draw_jobs(world: &mut World, drawn: &mut Drawn, chance: &mut Chance) {
    // Its own stream, so that what users ask for moves nothing else of a seed.
    let mut wishes = chance.fork(7);
    let has_wishes = wishes.permille(500);
    let mut deadly = chance.fork(8);
    let capacity: f64 = drawn.nodes.iter().map(|(slots, speed)| *slots as f64 * speed).sum();
    let slowest = drawn.nodes.iter().map(|(_, speed)| *speed).fold(1.0, f64::min);
    let jobs = chance.between(1, 3);
    drawn.jobs = jobs;
    let mut bound = 0.0;
    for number in 0..jobs {
        let share = drawn.heal_at as f64 * capacity / jobs as f64 * (0.2 + chance.unit());
        let count = if chance.permille(30) { chance.below(2) } else { chance.log_between(2.0, INDEXES_MAX) as u64 };
        let mean = share / count.max(1) as f64 * chance.pick(&[0.02, 0.3, 1.0]);
        let costs = Costs::new(chance.pick(&Shape::ALL), count, mean, chance.bits());
        let outcomes = Outcomes {
            seed: chance.bits(),
            hopeless: chance.pick(&[0, 0, 0, 5]),
            flaky: chance.pick(&[0, 0, 0, 100]),
            deadly: deadly.pick(&[0, 0, 0, 10]),
            attempts: ATTEMPTS,
        };
        bound += 3.0 * costs.total() / (slowest.min(capacity)) + f64::from(ATTEMPTS) * 2.0 * costs.longest() / slowest;
        let parallelism = chance.permille(150).then(|| chance.between(1, 4) as u32);
        let at = if number == 0 { 0 } else { chance.below(drawn.heal_at) };
        let asked = Wishes { parallelism, ..Wishes::default() };
        let asked = if has_wishes { Wishes::draw(parallelism, &mut wishes) } else { asked };
        world.submit(at, job(number, asked), Load { costs, outcomes, call_cost: 20_000.0 });
    }
    drawn.work_done_by += bound as Micros;
}

/// A job of simulated work.
pub(crate) fn job(number: u64, wishes: Wishes) -> Job {
    let mut spec = json!({
        "task": {"name": "simulated", "module": Digest::of(b"simulated").to_string(), "params": {}},
        "backoffLimitPerIndex": ATTEMPTS - 1,
        // No attempt is cut short: a frozen node's time is simulated, its watchdog's is not.
        "subtaskTimeout": "1000days",
        "priority": wishes.priority,
        "queue": wishes.queue,
    });
    if let Some(parallelism) = wishes.parallelism {
        spec["parallelism"] = json!(parallelism);
    }
    let object = json!({
        "apiVersion": "processdistro.dev/v1",
        "kind": "Job",
        "metadata": {"name": format!("j{number}"), "namespace": "default", "uid": format!("j{number}")},
        "spec": spec,
    });
    serde_json::from_value(object).expect("invariant: the job is written as the schema has it")
}

fn draw_faults(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    let count = chance.between(2, 24);
    let nodes = drawn.nodes.len();
    let mut dead = 0;
    if chance.permille(400) {
        world.strike(0, Fault::Weather(chance.pick(&[5, 50, 200]), chance.pick(&[0, 50, 300])));
        // Whoever loses messages decides on old news.
        world.checks.is_strict = false;
    }
    for _ in 0..count {
        let at = chance.below(drawn.heal_at);
        let until = at + (chance.log_between(0.3, 60.0) * 1e6) as Micros;
        let node = chance.below(nodes as u64) as usize;
        match chance.below(if drawn.shakes_control { 12 } else { 9 }) {
            0 | 1 => strike_for(world, drawn, (at, until), Fault::Kill(node), Fault::Start(node)),
            2 => strike_for(world, drawn, (at, until), Fault::Freeze(node), Fault::Thaw(node)),
            3 => strike_for(world, drawn, (at, until), Fault::Cut(node, true, true), Fault::Mend(node)),
            4 => {
                let out = chance.permille(500);
                strike_for(world, drawn, (at, until), Fault::Cut(node, out, !out), Fault::Mend(node));
            }
            5 => strike_for(world, drawn, (at, until), Fault::Throttle(node, 0.05), Fault::Throttle(node, 1.0)),
            6 => strike_for(world, drawn, (at, until), Fault::Throttle(node, chance.unit() + 0.1), Fault::Mend(node)),
            7 => strike_for(world, drawn, (at, until), Fault::Wipe(node), Fault::Start(node)),
            8 if dead + 1 < nodes && chance.permille(300) => {
                // The first ones die, so that they are different ones.
                world.strike(at, Fault::Die(nodes - 1 - dead));
                dead += 1;
            }
            9 => strike_for(world, drawn, (at, until), Fault::StopServer, Fault::StartServer),
            10 => {
                let number = chance.below(drawn.reconcilers as u64) as usize;
                let (cut, mend) = (Fault::CutReconciler(number), Fault::MendReconciler(number));
                world.checks.is_strict = false;
                strike_for(world, drawn, (at, until), cut, mend);
            }
            11 => {
                let number = chance.below(drawn.reconcilers as u64) as usize;
                let (kill, start) = (Fault::KillReconciler(number), Fault::StartReconciler(number));
                strike_for(world, drawn, (at, at + (until - at) / 10), kill, start);
            }
            _ => {}
        }
    }
}

/// In half of the scenarios people suspend jobs and resume them, change their parallelism, cordon and drain nodes.
fn draw_people(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    if chance.permille(500) {
        return;
    }
    for _ in 0..chance.between(1, 6) {
        let at = chance.below(drawn.heal_at);
        let span = (at, at + (chance.log_between(0.1, 120.0) * 1e6) as Micros);
        let (job, node) = (chance.below(drawn.jobs), chance.below(drawn.nodes.len() as u64) as usize);
        match chance.below(4) {
            0 => strike_for(world, drawn, span, Fault::Suspend(job, true), Fault::Suspend(job, false)),
            1 => {
                let slots = chance.between(1, 4) as u32;
                strike_for(world, drawn, span, Fault::Parallelism(job, Some(slots)), Fault::Parallelism(job, None));
            }
            drains => strike_for(world, drawn, span, Fault::Cordon(node, drains == 3), Fault::Uncordon(node)),
        }
    }
}

/// In a third of the scenarios executors die; in a quarter of those with several jobs a user deletes one.
fn draw_deaths(world: &mut World, drawn: &Drawn, chance: &mut Chance) {
    let times = if chance.permille(333) { chance.between(1, 6) } else { 0 };
    for _ in 0..times {
        let node = chance.below(drawn.nodes.len() as u64) as usize;
        world.strike(chance.below(drawn.heal_at), Fault::KillExecutors(node));
    }
    if drawn.jobs > 1 && chance.permille(250) {
        world.strike(chance.below(drawn.heal_at), Fault::Delete(chance.below(drawn.jobs)));
    }
}

fn strike_for(world: &mut World, drawn: &Drawn, span: (Micros, Micros), start: Fault, end: Fault) {
    world.strike(span.0, start);
    world.strike(span.1.min(drawn.heal_at), end);
}

/// Everything that can be well is well from now on.
fn heal(world: &mut World, drawn: &Drawn) {
    let at = drawn.heal_at + 1;
    for node in 0..drawn.nodes.len() {
        for end in [
            Fault::Start(node),
            Fault::Thaw(node),
            Fault::Mend(node),
            Fault::Throttle(node, 1.0),
            Fault::Uncordon(node),
        ] {
            world.strike(at, end);
        }
    }
    world.strike(at, Fault::Weather(0, 0));
    world.strike(at, Fault::StartServer);
    (0..drawn.jobs).for_each(|job| world.strike(at, Fault::Suspend(job, false)));
    for number in 0..drawn.reconcilers {
        world.strike(at, Fault::StartReconciler(number));
        world.strike(at, Fault::MendReconciler(number));
    }
}
