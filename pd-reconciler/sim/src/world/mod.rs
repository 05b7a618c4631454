//! The world: everything of one simulated cluster, and the loop that lets the next event happen. Handlers stand
//! in the rooms below: `calls` (requests, answers, watches), `node`, `set_up` and `runs` (the kubelets' shell), `report`,
//! `control` (the reconcilers' shell), `faults`, `people`.

mod calls;
mod control;
mod faults;
mod node;
mod people;
mod report;
mod runs;
mod set_up;

use std::{collections::BTreeMap, rc::Rc};

use jiff::{SignedDuration, Timestamp};
use pd_plan::{Policy, QueueFacts, Taint};
use schemas::{Job, condition, job::conditions};

pub use self::faults::{Fault, Whose};
pub(crate) use self::people::UPKEEP;
use crate::{
    bug::Bug,
    chance::Chance,
    checks::{Checks, Violation},
    events::{Events, Micros},
    kubelet::{Key, Kubelet},
    load::Load,
    network::Line,
    reconciler::Reconciler,
    server::{Answer, Object, Request, Server},
    trace::Trace,
};

/// Start of simulated time: any moment will do.
const EPOCH_SECONDS: i64 = 1_700_000_000;

/// Who talks to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Kubelet(usize),
    Reconciler(usize),
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Report { key: Key, version: u64 },
    Write { round: u64, number: usize },
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Arrive { from: Client, incarnation: u32, tag: Tag, request: Rc<Request>, is_doubled: bool },
    Answered { to: Client, incarnation: u32, tag: Tag, answer: Answer },
    List { to: Client, incarnation: u32 },
    Listed { to: Client, session: u32, objects: Rc<Vec<Object>>, version: u64 },
    News { to: Client, session: u32, object: Object },
    SetUp { kubelet: usize, incarnation: u32, key: Key, with_layout: bool },
    Forgive { kubelet: usize, incarnation: u32, key: Key },
    Parts { kubelet: usize, incarnation: u32, key: Key, attempt: u32 },
    RunEnd { kubelet: usize, slot: usize, number: u64 },
    Report { kubelet: usize, incarnation: u32, key: Key },
    Tick { kubelet: usize, incarnation: u32, key: Key },
    Plan { reconciler: usize, incarnation: u32 },
    Wake { reconciler: usize, incarnation: u32, number: u64 },
    LeaseNews,
    Sweep,
    Submit { job: Box<Job> },
    Fault(Fault),
}

/// How long things take that the simulation does not look into.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A durable write of the API server: one group commit.
    pub commit: Micros,
    /// Fetching and compiling a component.
    pub set_up: Micros,
    /// Handing a run to a slot.
    pub hand_over: Micros,
    /// A client's patience with one request.
    pub call_max: Micros,
}

impl Default for Times {
    fn default() -> Self {
        Self { commit: 5_000, set_up: 50_000, hand_over: 200, call_max: 2_000_000 }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that happened.
    pub events: u64,
    /// Calls of the real `plan`.
    pub plans: u64,
    /// Calls of the real `sync`.
    pub syncs: u64,
    /// Writes of reconcilers that changed something.
    pub writes: u64,
    /// Reports that changed something.
    pub reports: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Runs of indexes that were begun.
    pub runs: u64,
    /// Jobs that ended.
    pub jobs: u64,
    /// Plans that were looked at for whether planning again changes something.
    pub replans: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        let Self { events, plans, syncs, writes, reports, faults, runs, jobs, replans } = self;
        let pairs = [
            (events, other.events),
            (plans, other.plans),
            (syncs, other.syncs),
            (writes, other.writes),
            (reports, other.reports),
            (faults, other.faults),
            (runs, other.runs),
            (jobs, other.jobs),
            (replans, other.replans),
        ];
        for (sum, count) in pairs {
            *sum += count;
        }
    }
}

/// What one status of a job said of its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foretold {
    pub(crate) at: Micros,
    /// Share of the indexes that had succeeded.
    pub(crate) done: f64,
    pub(crate) end: Micros,
}

/// One simulated cluster.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Micros,
    pub(crate) events: Events<Event>,
    pub(crate) chance: Chance,
    pub(crate) server: Server,
    pub(crate) server_is_up: bool,
    pub(crate) kubelets: Vec<Kubelet>,
    pub(crate) reconcilers: Vec<Reconciler>,
    /// By job UID.
    pub(crate) loads: BTreeMap<String, Load>,
    pub(crate) waiting_jobs: usize,
    /// They stay as they are.
    pub(crate) queues: Vec<QueueFacts>,
    pub(crate) policy: Policy,
    pub(crate) times: Times,
    pub(crate) bug: Option<Bug>,
    pub(crate) checks: Checks,
    pub(crate) segments: u64,
    /// What the statuses of jobs foretold; kept on request.
    pub(crate) foretold: Option<Vec<Foretold>>,
    /// What happened, in words, if anybody wants to know.
    pub trace: Trace,
    /// What was counted.
    pub stats: Stats,
}

impl World {
    /// A cluster without anything in it.
    pub fn new(seed: u64, policy: Policy, times: Times, bug: Option<Bug>, trace: Trace) -> Self {
        Self {
            now: 0,
            events: Events::default(),
            chance: Chance::new(seed).fork(1),
            server: Server::default(),
            server_is_up: true,
            kubelets: Vec::new(),
            reconcilers: Vec::new(),
            loads: BTreeMap::new(),
            waiting_jobs: 0,
            queues: Vec::new(),
            policy,
            times,
            bug,
            checks: Checks::default(),
            segments: 0,
            foretold: None,
            trace,
            stats: Stats::default(),
        }
    }

    /// Adds a machine. Its kubelet starts by `Fault::Start`.
    pub fn add_node(&mut self, slots: usize, speed: f64, latency: Micros) -> usize {
        let name = format!("n{:02}", self.kubelets.len());
        self.kubelets.push(Kubelet::new(name, slots, speed, Line::new(latency)));
        self.kubelets.len() - 1
    }

    /// With what a machine joins.
    pub(crate) fn furnish(&mut self, node: usize, labels: BTreeMap<String, String>, taints: Vec<Taint>) {
        let kubelet = &mut self.kubelets[node];
        (kubelet.labels, kubelet.taints) = (labels, taints);
    }

    /// Adds a reconciler. It starts by `Fault::StartReconciler`.
    pub fn add_reconciler(&mut self, latency: Micros) -> usize {
        self.reconcilers.push(Reconciler::new(Line::new(latency)));
        self.reconcilers.len() - 1
    }

    /// A user applies `job` at `at`.
    pub fn submit(&mut self, at: Micros, job: Job, load: Load) {
        self.loads.insert(job.metadata.uid.clone().unwrap_or_default(), load);
        self.waiting_jobs += 1;
        self.events.file(at, Event::Submit { job: Box::new(job) });
    }

    /// Most tries at the indexes of a scenario's job together.
    pub(crate) fn tries(&self, job: u64) -> u64 {
        let tries = |load: &Load| load.costs.count() * u64::from(load.outcomes.attempts);
        self.loads.get(&people::uid(job)).map_or(0, tries)
    }

    /// Lets a fault strike at `at`.
    pub fn strike(&mut self, at: Micros, fault: Fault) {
        self.events.file(at, Event::Fault(fault));
    }

    /// Simulated time.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// The same, as components see it.
    pub(crate) fn time(&self) -> Timestamp {
        time_of(self.now)
    }

    /// True when every job is Complete or Failed.
    pub fn is_over(&self) -> bool {
        self.waiting_jobs == 0 && self.server.jobs.values().all(|job| is_over(job))
    }

    /// Lets things happen until every job is over, or until `deadline`.
    pub fn run(&mut self, deadline: Micros) -> Result<(), Violation> {
        while !self.is_over() {
            let Some((at, event)) = self.events.next() else { break };
            if at > deadline {
                self.events.file(at, event);
                break;
            }
            self.now = at;
            self.stats.events += 1;
            self.handle(event);
            if let Some(violation) = self.checks.found() {
                return Err(violation);
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { from, incarnation, tag, request, is_doubled } => {
                self.arrive(from, incarnation, tag, &request, is_doubled);
            }
            Event::List { to, incarnation } => self.list(to, incarnation),
            Event::Plan { reconciler, incarnation } => self.plan(reconciler, incarnation),
            Event::Wake { reconciler, incarnation, number } => self.wake(reconciler, incarnation, number),
            Event::LeaseNews => (0..self.reconcilers.len()).for_each(|number| self.make_stale(number)),
            Event::RunEnd { kubelet, slot, number } => self.end_run(kubelet, slot, number),
            Event::Sweep => self.sweep(),
            Event::Submit { job } => self.accept_job(*job),
            Event::Fault(fault) => self.apply_fault(fault),
            event => self.deliver(event),
        }
    }

    /// What waits while its receiver is frozen.
    fn deliver(&mut self, event: Event) {
        let kubelet = match &event {
            Event::Answered { to: Client::Kubelet(number), .. }
            | Event::Listed { to: Client::Kubelet(number), .. }
            | Event::News { to: Client::Kubelet(number), .. } => Some(*number),
            Event::SetUp { kubelet, .. }
            | Event::Forgive { kubelet, .. }
            | Event::Parts { kubelet, .. }
            | Event::Report { kubelet, .. }
            | Event::Tick { kubelet, .. } => Some(*kubelet),
            _ => None,
        };
        if let Some(number) = kubelet.filter(|number| self.kubelets[*number].is_frozen) {
            self.kubelets[number].held.push(event);
            return;
        }
        match event {
            Event::Answered { to, incarnation, tag, answer } => self.answered(to, incarnation, tag, answer),
            Event::Listed { to, session, objects, version } => self.listed(to, session, &objects, version),
            Event::News { to, session, object } => self.news(to, session, object),
            Event::SetUp { kubelet, incarnation, key, with_layout } => {
                self.set_up(kubelet, incarnation, key, with_layout);
            }
            Event::Forgive { kubelet, incarnation, key } => self.forgive(kubelet, incarnation, key),
            Event::Parts { kubelet, incarnation, key, attempt } => self.parts(kubelet, incarnation, key, attempt),
            Event::Report { kubelet, incarnation, key } => self.report_if_due(kubelet, incarnation, key),
            Event::Tick { kubelet, incarnation, key } => self.tick(kubelet, incarnation, key),
            _ => {}
        }
    }

    /// Keeps what a job's status says of its end.
    pub(crate) fn keep_foretold(&mut self, object: &Object) {
        let (Some(foretold), Object::Job(job)) = (&mut self.foretold, object) else { return };
        let Some(status) = &job.status else { return };
        if let Some(end) = status.estimated_completion_time {
            let counts = status.subtasks;
            let done = counts.succeeded as f64 / counts.total.max(1) as f64;
            foretold.push(Foretold { at: self.now, done, end: micros_of(end) });
        }
    }

    fn accept_job(&mut self, job: Job) {
        self.waiting_jobs -= 1;
        let at = self.time();
        let object = self.server.submit(job, at);
        self.announce(&object);
    }

    /// The job with that UID, as stored.
    pub fn job(&self, uid: &str) -> Option<&Job> {
        self.server.jobs.get(uid).map(|job| &**job)
    }
}

/// A moment of simulated time as components see it.
pub(crate) fn time_of(at: Micros) -> Timestamp {
    let start = Timestamp::from_second(EPOCH_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
    start.saturating_add(SignedDuration::from_micros(at as i64)).unwrap_or(Timestamp::MAX)
}

/// The moment of simulated time, rounded up.
pub(crate) fn micros_of(at: Timestamp) -> Micros {
    let nanos = at.duration_since(time_of(0)).as_nanos().max(0);
    (nanos as u128).div_ceil(1000) as Micros
}

/// True when it is Complete or Failed.
pub(crate) fn is_over(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| {
        condition::is_true(&status.conditions, conditions::COMPLETE)
            || condition::is_true(&status.conditions, conditions::FAILED)
    })
}
