//! The jobs of a scenario: what users ask for, and what is true of the work.

use schemas::{
    Digest, Job,
    job::{InputFrom, Placement},
    queue,
};
use serde_json::json;

use super::{ATTEMPTS, Drawn, limits::Limits, places};
use crate::{
    chance::Chance,
    events::Micros,
    load::{Costs, Load, Shape},
    outcomes::Outcomes,
    world::World,
};

/// Most indexes of one job: enough for intervals to be split many times.
const INDEXES_MAX: f64 = 400.0;

/// What a user asks for beside the work.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    parallelism: Option<u32>,
    priority: i32,
    queue: &'static str,
    limits: Option<Limits>,
    placement: Option<Placement>,
    /// The number of a job that must be complete before.
    after: Option<u64>,
    /// The number of a job whose result is an input.
    input: Option<u64>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            parallelism: None,
            priority: 0,
            queue: queue::DEFAULT,
            limits: None,
            placement: None,
            after: None,
            input: None,
        }
    }
}

impl Wishes {
    /// A place in a queue.
    fn stand(&mut self, chance: &mut Chance) {
        self.priority = chance.pick(&[0, 0, 0, -10, 10]);
        self.queue = chance.pick(&[queue::DEFAULT, "wide", "narrow", "single", "single"]);
    }

    /// Others to wait for, of those with a lower number.
    fn depend(&mut self, number: u64, chance: &mut Chance) {
        let mut earlier = |permille| (number > 0 && chance.permille(permille)).then(|| chance.below(number));
        (self.after, self.input) = (earlier(500), earlier(500));
    }
}

/// Each kind of wish has its own stream, so that it moves nothing else of a seed, and is made in some scenarios only.
struct Streams {
    queues: Option<Chance>,
    limits: Option<Chance>,
    places: Option<Chance>,
    dependencies: Option<Chance>,
}

impl Streams {
    fn of(chance: &Chance, drawn: &Drawn) -> Self {
        let stream = |purpose| {
            let mut stream = chance.fork(purpose);
            stream.permille(500).then_some(stream)
        };
        Self {
            queues: stream(7),
            limits: stream(11),
            places: drawn.has_places.then(|| chance.fork(13)),
            dependencies: stream(14),
        }
    }
}

pub(super) fn draw(world: &mut World, drawn: &mut Drawn, chance: &mut Chance) {
    let mut streams = Streams::of(chance, drawn);
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
        let mut outcomes = Outcomes {
            seed: chance.bits(),
            hopeless: chance.pick(&[0, 0, 0, 5]),
            flaky: chance.pick(&[0, 0, 0, 100]),
            deadly: deadly.pick(&[0, 0, 0, 10]),
            attempts: ATTEMPTS,
            ..Outcomes::default()
        };
        let parallelism = chance.permille(150).then(|| chance.between(1, 4) as u32);
        let at = if number == 0 { 0 } else { chance.below(drawn.heal_at) };
        let mut wishes = Wishes { parallelism, ..Wishes::default() };
        if let Some(chance) = &mut streams.queues {
            wishes.stand(chance);
        }
        if let Some(chance) = &mut streams.limits {
            let limits = Limits::draw(count, chance);
            outcomes = limits.outcomes(chance);
            wishes.limits = Some(limits);
        }
        if let Some(chance) = &mut streams.dependencies {
            wishes.depend(number, chance);
        }
        wishes.placement = streams.places.as_mut().map(places::draw_placement);
        let tries = f64::from(outcomes.attempts);
        bound += 3.0 * costs.total() / (slowest.min(capacity)) + tries * 2.0 * costs.longest() / slowest;
        world.submit(at, job(number, &wishes), Load { costs, outcomes, call_cost: 20_000.0 });
    }
    drawn.work_done_by += bound as Micros;
}

/// A job of simulated work.
pub(crate) fn job(number: u64, wishes: &Wishes) -> Job {
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
    let mut job: Job = serde_json::from_value(object).expect("invariant: the job is written as the schema has it");
    if let Some(limits) = &wishes.limits {
        limits.write(&mut job);
    }
    job.spec.depends_on = wishes.after.iter().map(|other| format!("j{other}")).collect();
    let input = |other: &u64| ("base".to_owned(), InputFrom { job: format!("j{other}") });
    job.spec.task.inputs_from = wishes.input.iter().map(input).collect();
    job.spec.placement.clone_from(&wishes.placement);
    job
}
