//! The comparison of docs/simulation.md: makespan over its lower bound, for the plan as it runs and for simpler
//! policies, on random clusters of unequal machines.

mod baselines;
mod bound;

use jiff::Timestamp;
use pd_plan::Policy;
use schemas::{Job, condition, job::conditions};

pub use self::baselines::Baseline;
use self::bound::Machine;
use crate::{
    chance::Chance,
    events::{Micros, SECOND},
    load::{Load, Shape},
    scenario,
    trace::Trace,
    world::{Fault, Foretold, Stats, Times, World, micros_of},
};

/// What the cluster would need for the whole job if nothing were ever lost and nothing went wrong.
const IDEAL: Micros = 30 * SECOND;
/// Indexes for each slot; at least `INDEXES_MIN` in all. With 30 s of work for each slot an index takes some
/// 10 ms at speed 1: enough of them that no schedule is bound by a single one, save heavy tails.
const INDEXES_PER_SLOT: u64 = 2000;
const INDEXES_MIN: u64 = 20_000;
/// When the trouble comes, as shares of `IDEAL`.
const THROTTLED_AT: f64 = 0.3;
const DIES_AT: f64 = 0.5;
const JOINS_AT: f64 = 0.3;
/// One way on a LAN, and a durable group commit (6 to 10 ms were measured).
const LATENCY: Micros = 300;
const COMMIT: Micros = 8_000;
/// Whatever takes longer has failed.
const GIVE_UP: Micros = 100 * IDEAL;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    Nothing,
    /// One node works at 5 % of its speed from some moment on.
    Throttled,
    /// The biggest node dies half-way.
    BiggestDies,
    /// The biggest node joins late.
    BiggestJoins,
}

impl Trouble {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Throttled, Self::BiggestDies, Self::BiggestJoins];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing wrong",
            Self::Throttled => "one node at 5 %",
            Self::BiggestDies => "biggest node dies",
            Self::BiggestJoins => "biggest node joins late",
        }
    }
}

/// What one cluster has shown.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its seed.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// The lower bound of the makespan, in seconds.
    pub bound: f64,
    /// Makespan over the lower bound of the plan; infinite when the job did not end.
    pub ours: f64,
    /// The same for each of `Baseline::ALL`.
    pub baselines: [f64; Baseline::ALL.len()],
    /// Writes of the reconciler.
    pub writes: u64,
    /// Plans that were made.
    pub plans: u64,
    /// How far the estimated completion time was off, as a share of the makespan: by the first status after a tenth of
    /// the indexes, and by the worst one from then on; infinite when there was none.
    pub estimate: (f64, f64),
}

/// One random cluster with its job.
struct Case {
    machines: Vec<Machine>,
    troubled: usize,
    load: Load,
}

/// Runs one cell of the table on the cluster of `seed`.
pub fn sample(seed: u64, shape: Shape, trouble: Trouble, trace: Trace) -> Sample {
    let mut case = draw(seed, shape, trouble);
    let Shown { begun, ours, stats, foretold } = simulate(seed, &case, trouble, trace);
    // The plan's clock begins when the number of indexes is known; so does everybody else's.
    case.machines.iter_mut().for_each(|machine| machine.begin(begun));
    let bound = bound::least(&case.machines, &case.load.costs);
    let over = |makespan: Option<f64>| makespan.map_or(f64::INFINITY, |makespan| makespan / bound);
    Sample {
        seed,
        nodes: case.machines.len(),
        bound: bound / 1e6,
        ours: over(ours.map(|micros| micros as f64)),
        baselines: Baseline::ALL.map(|policy| over(policy.makespan(&case.machines, &case.load.costs))),
        writes: stats.writes,
        plans: stats.plans,
        estimate: ours.map_or((f64::INFINITY, f64::INFINITY), |ours| off(&foretold, begun, ours)),
    }
}

fn draw(seed: u64, shape: Shape, trouble: Trouble) -> Case {
    let mut chance = Chance::new(seed).fork(3);
    let count = chance.log_between(2.0, 64.999) as usize;
    let mut machines: Vec<Machine> =
        (0..count).map(|_| Machine::new(chance.pick(&[1, 2, 4, 8]), chance.log_between(0.25, 1.0))).collect();
    let slots: u64 = machines.iter().map(|machine| machine.slots as u64).sum();
    let power: f64 = machines.iter().map(Machine::power).sum();
    let indexes = INDEXES_MIN.max(slots * INDEXES_PER_SLOT);
    let load = Load::sound(shape, indexes, power * IDEAL as f64 / indexes as f64, &mut chance);
    let biggest = (0..count).max_by(|a, b| machines[*a].power().total_cmp(&machines[*b].power())).unwrap_or(0);
    let at = |share: f64| (IDEAL as f64 * share) as Micros;
    let troubled = match trouble {
        Trouble::Throttled => chance.below(count as u64) as usize,
        _ => biggest,
    };
    match trouble {
        Trouble::Nothing => {}
        Trouble::Throttled => machines[troubled].change(at(THROTTLED_AT), 0.05),
        Trouble::BiggestDies => machines[troubled].change(at(DIES_AT), 0.0),
        Trouble::BiggestJoins => machines[troubled].join(at(JOINS_AT)),
    }
    Case { machines, troubled, load }
}

/// What one run has shown.
struct Shown {
    /// When the job was planned.
    begun: Micros,
    /// From there until every index was accepted.
    ours: Option<Micros>,
    stats: Stats,
    foretold: Vec<Foretold>,
}

/// How far estimates were off, as shares of the makespan: the first after a tenth of the indexes, and the worst from then
/// on.
fn off(foretold: &[Foretold], begun: Micros, ours: Micros) -> (f64, f64) {
    let late = foretold.iter().filter(|foretold| foretold.done >= 0.1 && foretold.at < begun + ours);
    let mut off = late.map(|foretold| foretold.end.abs_diff(begun + ours) as f64 / ours as f64);
    let first = off.next().unwrap_or(f64::INFINITY);
    (first, off.fold(first, f64::max))
}

fn simulate(seed: u64, case: &Case, trouble: Trouble, trace: Trace) -> Shown {
    let times = Times { commit: COMMIT, ..Times::default() };
    let mut world = World::new(seed, Policy::default(), times, None, trace);
    world.checks.are_on = false;
    world.foretold = Some(Vec::new());
    for (number, machine) in case.machines.iter().enumerate() {
        world.add_node(machine.slots, machine.speed, LATENCY);
        let at = if trouble == Trouble::BiggestJoins && number == case.troubled { machine.joins_at() } else { 0 };
        world.strike(at, Fault::Start(number));
    }
    let at = |share: f64| (IDEAL as f64 * share) as Micros;
    match trouble {
        Trouble::Throttled => world.strike(at(THROTTLED_AT), Fault::Throttle(case.troubled, 0.05)),
        Trouble::BiggestDies => world.strike(at(DIES_AT), Fault::Die(case.troubled)),
        Trouble::Nothing | Trouble::BiggestJoins => {}
    }
    let reconciler = world.add_reconciler(LATENCY);
    world.strike(0, Fault::StartReconciler(reconciler));
    world.submit(SECOND, scenario::job(0, &scenario::Wishes::default()), case.load.clone());
    let _ = world.run(GIVE_UP);
    let since = |job: &Job, type_: &str| transition(job, type_).map(micros_of);
    let job = world.job("j0");
    let begun = job.and_then(|job| since(job, conditions::PLANNED)).unwrap_or(SECOND);
    let ended = job.and_then(|job| since(job, conditions::SUCCESS_CRITERIA_MET));
    let (stats, foretold) = (world.stats, world.foretold.take().unwrap_or_default());
    Shown { begun, ours: ended.map(|ended| ended - begun), stats, foretold }
}

/// When a condition became true.
fn transition(job: &Job, type_: &str) -> Option<Timestamp> {
    let conditions = &job.status.as_ref()?.conditions;
    let is_true = condition::is_true(conditions, type_);
    let found = conditions.iter().find(|condition| is_true && condition.type_ == type_);
    found.map(|condition| condition.last_transition_time)
}
