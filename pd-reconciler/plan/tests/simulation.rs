//! Random clusters against the plan: nodes that pause, die and come back, outcomes that fail, plans of which
//! only a part is written, a reconciler that restarts.
//!
//! Safety: every plan keeps the invariants, is the same twice, and comes to rest; what was accepted stays.
//! Liveness: once faults end, every job ends, and in the one way that its outcomes allow.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which clippy takes for production code

mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use pd_plan::{Action, JobFacts, Memory, NodeFacts, Plan, Policy, Readiness, Snapshot, apply, invariants, plan};
use proptest::prelude::*;
use schemas::{
    Assignment, AssignmentStatus, Digest, IndexSet, Job,
    assignment::{CallFailure, Failure, FailureOutcome, MergeReport, PlanReport, Running, Segment},
    condition,
    job::{JobResult, conditions},
};
use serde_json::json;
use written::{at, layout};

/// Steps with faults, and steps in all: back-offs and losses take time, progress is a few indexes a step.
const FAULTY_STEPS: usize = 60;
const STEPS_MAX: usize = 4000;
/// Further rounds until nothing changes any more.
const ROUNDS_MAX: usize = 2;

/// splitmix64: the one source of chance, seeded by proptest.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a kubelet knows of one assignment, whether it has reported it or not.
#[derive(Clone, Default)]
struct Kept {
    completed: IndexSet,
    failed: BTreeMap<u32, IndexSet>,
    started: BTreeMap<u64, u32>,
    plan: Option<PlanReport>,
    merge: Option<MergeReport>,
}

/// How the subtasks of the simulated jobs end.
#[derive(Clone, Debug)]
struct Outcomes {
    seed: u64,
    /// Per mille of indexes that always fail, and of attempts that fail.
    hopeless: u64,
    flaky: u64,
}

impl Outcomes {
    fn is_hopeless(&self, job: u64, index: u64) -> bool {
        Chance(self.seed ^ job.rotate_left(40) ^ index.rotate_left(17)).below(1000) < self.hopeless
    }

    /// An attempt below the last may fail; the last one does only if it is hopeless.
    fn fails(&self, job: u64, index: u64, attempt: u32) -> bool {
        let is_flaky =
            Chance(self.seed ^ job ^ index.rotate_left(23) ^ u64::from(attempt) << 50).below(1000) < self.flaky;
        self.is_hopeless(job, index) || (attempt <= 3 && is_flaky)
    }
}

struct Cluster {
    now: f64,
    chance: Chance,
    outcomes: Outcomes,
    totals: Vec<u64>,
    snapshot: Snapshot,
    /// By node: false while it is paused or cut off. It goes on computing.
    reachable: Vec<bool>,
    kept: BTreeMap<String, Kept>,
    accepted: BTreeMap<String, IndexSet>,
    policy: Policy,
}

#[derive(Clone, Debug)]
struct Setting {
    seed: u64,
    slots: Vec<u32>,
    totals: Vec<u64>,
    hopeless: u64,
    flaky: u64,
    parallelism: Option<u32>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let slots = prop::collection::vec(1_u32..4, 1..5);
    let totals = prop::collection::vec(0_u64..120, 1..4);
    (any::<u64>(), slots, totals, 0_u64..40, 0_u64..200, prop::option::of(1_u32..6)).prop_map(
        |(seed, slots, totals, hopeless, flaky, parallelism)| Setting {
            seed,
            slots,
            totals,
            hopeless,
            flaky,
            parallelism,
        },
    )
}

impl Cluster {
    fn new(setting: &Setting) -> Self {
        let node = |(number, slots): (usize, &u32)| NodeFacts {
            name: format!("n{number}"),
            uid: format!("uid-n{number}"),
            labels: BTreeMap::new(),
            slots: *slots,
            ready: Readiness::True,
            schedulable: true,
            draining: false,
            seen: at(0.0),
            heard: Some(at(0.0)),
            ..NodeFacts::default()
        };
        let job = |number: usize| {
            let mut spec = serde_json::Map::new();
            if let Some(parallelism) = setting.parallelism {
                spec.insert("parallelism".into(), json!(parallelism));
            }
            let job = written::job(&format!("j{number}"), &spec, number as f64);
            JobFacts { job: Arc::new(job), assignments: vec![], memory: Memory::default() }
        };
        Self {
            now: 10.0,
            chance: Chance(setting.seed),
            outcomes: Outcomes { seed: setting.seed, hopeless: setting.hopeless, flaky: setting.flaky },
            totals: setting.totals.clone(),
            snapshot: Snapshot {
                watching_since: Some(at(0.0)),
                nodes: setting.slots.iter().enumerate().map(node).collect(),
                jobs: (0..setting.totals.len()).map(job).collect(),
                ..Snapshot::default()
            },
            reachable: vec![true; setting.slots.len()],
            kept: BTreeMap::new(),
            accepted: BTreeMap::new(),
            policy: Policy {
                lost_after: Duration::from_secs(2),
                mass_lost_after: Duration::from_secs(4),
                ..Policy::default()
            },
        }
    }

    fn time(&self) -> Timestamp {
        at(self.now)
    }

    /// One step of the reconciler. With faults, now and then only the first few writes are made.
    fn reconcile(&mut self, with_faults: bool) {
        let now = self.time();
        let plan = plan(&self.snapshot, now, &self.policy);
        let broken = invariants::check(&self.snapshot, &plan, &self.policy);
        assert!(broken.is_empty(), "{broken:#?}\n{plan:#?}");
        if with_faults && self.chance.percent(15) {
            let written = self.chance.below(plan.actions.len() as u64 + 1) as usize;
            let part = Plan { actions: plan.actions[..written].to_vec(), ..plan };
            self.snapshot = apply(&self.snapshot, &part);
            return;
        }
        self.snapshot = apply(&self.snapshot, &plan);
        self.comes_to_rest(now);
    }

    /// Planning on the result of a plan changes nothing, after the few rounds that withdrawing takes.
    fn comes_to_rest(&mut self, now: Timestamp) {
        let mut told = Vec::new();
        for _ in 0..=ROUNDS_MAX {
            let next = plan(&self.snapshot, now, &self.policy);
            if next.actions.is_empty() {
                return;
            }
            told.push(next.actions.iter().map(ToString::to_string).collect::<Vec<_>>());
            self.snapshot = apply(&self.snapshot, &next);
        }
        panic!("the plan does not come to rest: {told:#?}");
    }

    fn strike(&mut self) {
        for node in 0..self.reachable.len() {
            match self.chance.below(40) {
                0 => self.reachable[node] = false,
                1 | 2 => self.reachable[node] = true,
                3 => self.restart_kubelet(node),
                _ => {}
            }
        }
        if self.chance.percent(5) {
            self.snapshot.jobs.iter_mut().for_each(|facts| facts.memory = Memory::default());
            self.snapshot.watching_since = Some(self.time());
        }
    }

    /// What had not been reported is lost: the worst that a restart can do.
    fn restart_kubelet(&mut self, node: usize) {
        let uid = self.snapshot.nodes[node].uid.clone();
        for assignment in self.snapshot.jobs.iter().flat_map(|facts| &facts.assignments) {
            if assignment.spec.node_uid == uid {
                let kept = self.kept.entry(name(assignment)).or_default();
                let status = assignment.status.clone().unwrap_or_default();
                *kept =
                    Kept { completed: status.completed(), plan: status.plan, merge: status.merge, ..Kept::default() };
                for failure in status.failures {
                    *kept.failed.entry(failure.attempt).or_default() |= &failure.indexes;
                }
            }
        }
    }

    fn work(&mut self, with_faults: bool) {
        for node in 0..self.reachable.len() {
            if self.reachable[node] {
                self.snapshot.nodes[node].heard = Some(self.time());
            }
            let uid = self.snapshot.nodes[node].uid.clone();
            for job in 0..self.snapshot.jobs.len() {
                let assignments = self.snapshot.jobs[job].assignments.clone();
                let Some(position) = assignments.iter().position(|a| a.spec.node_uid == uid) else { continue };
                let mut kept = self.kept.remove(&name(&assignments[position])).unwrap_or_default();
                self.execute(job as u64, &assignments[position], &mut kept, with_faults);
                // A cut-off node cannot report; others do it with some delay.
                if self.reachable[node] && self.chance.percent(70) {
                    let mut reported = (*assignments[position]).clone();
                    reported.status = Some(self.report(&reported, &kept));
                    self.snapshot.jobs[job].assignments[position] = Arc::new(reported);
                }
                self.kept.insert(name(&assignments[position]), kept);
            }
        }
    }

    fn execute(&mut self, job: u64, assignment: &Assignment, kept: &mut Kept, with_faults: bool) {
        let spec = &assignment.spec;
        if spec.slots == Some(0) {
            kept.started.clear();
        }
        for (index, attempt) in std::mem::take(&mut kept.started) {
            if self.chance.percent(40) {
                kept.started.insert(index, attempt);
            } else if self.outcomes.fails(job, index, attempt) {
                kept.failed.entry(attempt).or_default().insert(index);
            } else {
                kept.completed.insert(index);
            }
        }
        for grant in &spec.grants {
            let mut due = &grant.indexes - &kept.completed;
            kept.failed.range(grant.attempt..).for_each(|(_, failed)| due -= failed);
            for index in due.iter().take(self.chance.below(6) as usize).collect::<Vec<_>>() {
                if kept.started.len() < 4 && !kept.started.contains_key(&index) {
                    kept.started.insert(index, grant.attempt);
                }
            }
        }
        if spec.plan && kept.plan.is_none() {
            kept.plan = Some(PlanReport::Layout(layout(self.totals[job as usize], None)));
        }
        if let Some(order) = &spec.merge
            && kept.merge.as_ref().is_none_or(|report| report.attempt < order.attempt)
        {
            self.check_parts(job as usize, order);
            let fails = with_faults && order.attempt < 3 && self.chance.percent(30);
            let result = JobResult { artifact: Digest::of(b"r"), size: 1, media_type: "text/plain".into() };
            let failure = CallFailure { outcome: FailureOutcome::Trap, message: "m".into(), log: String::new() };
            kept.merge = Some(MergeReport {
                attempt: order.attempt,
                result: (!fails).then_some(result),
                failure: fails.then_some(failure),
            });
        }
    }

    /// The parts tile all indexes, each once, and nobody merges what a segment does not hold.
    fn check_parts(&self, job: usize, order: &schemas::assignment::MergeOrder) {
        let count: u64 = order.parts.iter().map(|part| part.indexes.count()).sum();
        let all = order.parts.iter().fold(IndexSet::new(), |all, part| &all | &part.indexes);
        assert_eq!((count, all), (self.totals[job], IndexSet::first(self.totals[job])));
        let assignments = &self.snapshot.jobs[job].assignments;
        let segments = assignments.iter().filter_map(|a| a.status.as_ref()).flat_map(|status| &status.segments);
        let segments: Vec<&Segment> = segments.collect();
        for part in &order.parts {
            assert!(segments.iter().any(|s| s.digest == part.segment && s.indexes.is_superset(&part.indexes)));
        }
    }

    fn report(&mut self, assignment: &Assignment, kept: &Kept) -> AssignmentStatus {
        let segment = Segment {
            digest: Digest::of(name(assignment).as_bytes()),
            size: kept.completed.count(),
            indexes: kept.completed.clone(),
            logs: None,
        };
        let failures = kept.failed.iter().map(|(attempt, indexes)| Failure {
            attempt: *attempt,
            outcome: FailureOutcome::Trap,
            message: "boom".into(),
            indexes: indexes.clone(),
            logs: vec![],
        });
        let started: IndexSet = kept.started.keys().copied().collect();
        let running = kept.started.iter().map(|(index, attempt)| Running {
            index: *index,
            attempt: *attempt,
            started_at: at(0.0),
            progress: None,
        });
        let ended = kept.completed.count() + kept.failed.values().map(IndexSet::count).sum::<u64>();
        AssignmentStatus {
            node_uid: assignment.spec.node_uid.clone(),
            observed_generation: assignment.metadata.generation.unwrap_or(0),
            plan: kept.plan.clone(),
            segments: if kept.completed.is_empty() { vec![] } else { vec![segment] },
            succeeded: kept.completed.count(),
            failures: failures.collect(),
            retained: &(&started - &assignment.spec.granted()) - &kept.completed,
            running: running.collect(),
            merge: kept.merge.clone(),
            started: ended,
            rate: if ended > 0 { 3.0 + self.chance.below(40) as f64 } else { 0.0 },
            busy_seconds: ended as f64 * 0.05,
            ..AssignmentStatus::default()
        }
    }

    /// What was once accepted stays accepted.
    fn check_accepted(&mut self) {
        for facts in &self.snapshot.jobs {
            let Some(status) = &facts.job.status else { continue };
            let known = self.accepted.entry(facts.job.metadata.uid.clone().unwrap()).or_default();
            assert!(status.completed_indexes.is_superset(known), "an accepted index is not accepted any more");
            known.clone_from(&status.completed_indexes);
        }
    }

    fn is_over(&self) -> bool {
        let ended = |job: &Job| {
            let conditions = &job.status.clone().unwrap_or_default().conditions;
            condition::is_true(conditions, conditions::COMPLETE) || condition::is_true(conditions, conditions::FAILED)
        };
        self.snapshot.jobs.iter().all(|facts| ended(&facts.job))
    }

    fn check_end(&self) {
        for (number, facts) in self.snapshot.jobs.iter().enumerate() {
            let status = facts.job.status.as_ref().unwrap();
            let hopeless: BTreeSet<u64> =
                (0..self.totals[number]).filter(|index| self.outcomes.is_hopeless(number as u64, *index)).collect();
            let hopeless: IndexSet = hopeless.into_iter().collect();
            assert_eq!(status.failed_indexes, hopeless, "job {number}");
            let is_complete = condition::is_true(&status.conditions, conditions::COMPLETE);
            assert_eq!(is_complete, hopeless.is_empty(), "job {number}: {:#?}", status.conditions);
            assert_eq!(status.subtasks.succeeded + status.subtasks.failed, self.totals[number]);
        }
    }
}

fn name(assignment: &Assignment) -> String {
    assignment.metadata.name.clone().unwrap()
}

/// Drives one cluster to the end of its jobs.
fn run(setting: &Setting) {
    let mut cluster = Cluster::new(setting);
    for step in 0..STEPS_MAX {
        let with_faults = step < FAULTY_STEPS;
        if with_faults {
            cluster.strike();
        } else {
            // One node may stay away for good, if there is another.
            cluster.reachable.fill(true);
            cluster.reachable[0] = setting.slots.len() == 1 || setting.seed.is_multiple_of(2);
        }
        cluster.work(with_faults);
        cluster.reconcile(with_faults);
        cluster.check_accepted();
        cluster.now += 0.02 + cluster.chance.below(20) as f64 * 0.02;
        if cluster.is_over() {
            break;
        }
    }
    assert!(cluster.is_over(), "not over after {STEPS_MAX} steps: {:#?}", cluster.snapshot);
    cluster.check_end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_as_its_outcomes_allow(setting in settings()) {
        run(&setting);
    }
}

/// Clusters that once broke something.
#[test]
fn what_once_failed_does_not_fail_again() {
    let setting = |seed, slots: &[u32], totals: &[u64], hopeless, flaky| Setting {
        seed,
        slots: slots.to_vec(),
        totals: totals.to_vec(),
        hopeless,
        flaky,
        parallelism: None,
    };
    run(&setting(10_258_531_036_902_695_031, &[1, 1, 2], &[50, 33], 16, 153));
    run(&setting(3_768_440_816_679_633_771, &[3, 2, 2, 1], &[62, 57], 7, 72));
    run(&setting(15_367_313_087_516_843_919, &[3, 2, 2], &[116, 14], 0, 83));
}

#[test]
fn a_million_subtasks_flow_in_few_writes_and_small_objects() {
    let setting =
        Setting { seed: 1, slots: vec![2, 2], totals: vec![1_000_000], hopeless: 0, flaky: 0, parallelism: None };
    let mut cluster = Cluster::new(&setting);
    let (mut writes, mut largest, mut estimates) = (0, 0, BTreeMap::new());
    while !cluster.is_over() {
        assert!(cluster.now < 120.0, "not over: {:#?}", cluster.snapshot.jobs[0].job.status);
        let now = cluster.time();
        let planned = plan(&cluster.snapshot, now, &cluster.policy);
        writes += planned.actions.iter().filter(|action| !matches!(action, Action::EmitEvent(_))).count();
        cluster.snapshot = apply(&cluster.snapshot, &planned);
        let status = cluster.snapshot.jobs[0].job.status.clone().unwrap_or_default();
        if status.subtasks.succeeded * 10 >= status.subtasks.total.max(1) {
            estimates.extend(status.estimated_completion_time.map(|estimate| (status.subtasks.succeeded, estimate)));
        }
        // Two slots of 40,000 subtasks a second each, reported ten times a second.
        for facts in &mut cluster.snapshot.jobs {
            for assignment in &mut facts.assignments {
                *assignment = Arc::new(run_fast(assignment, 8_000));
            }
        }
        cluster.snapshot.nodes.iter_mut().for_each(|node| node.heard = Some(now));
        largest = largest.max(serde_json::to_vec(&*cluster.snapshot.jobs[0].job).unwrap().len());
        cluster.now += 0.1;
    }
    let seconds = cluster.now - 10.0;
    assert!(writes < 300, "{writes} writes");
    assert!(largest < 100_000, "{largest} bytes");
    assert!(seconds < 1.15 * 1_000_000.0 / 160_000.0 + 1.0, "{seconds} s");
    assert!(estimates.len() > 5, "{estimates:?}");
    for (done, estimate) in estimates {
        let wrong = estimate.duration_since(cluster.time()).as_secs_f64().abs();
        assert!(wrong < 0.2 * seconds, "{wrong} s of {seconds} s wrong when {done} were done");
    }
}

/// A node that ends `count` indexes of what it was given, lowest first.
fn run_fast(assignment: &Assignment, count: u64) -> Assignment {
    let mut after = assignment.clone();
    let mut status = after.status.take().unwrap_or_default();
    status.node_uid.clone_from(&after.spec.node_uid);
    if after.spec.plan {
        status.plan = Some(PlanReport::Layout(layout(1_000_000, None)));
    }
    if let Some(order) = &after.spec.merge {
        let result = JobResult { artifact: Digest::of(b"r"), size: 1, media_type: "text/plain".into() };
        status.merge = Some(MergeReport { attempt: order.attempt, result: Some(result), failure: None });
    }
    let done = status.completed();
    let ended = (&after.spec.granted() - &done).take_first(count);
    if !ended.is_empty() {
        status.rate = 40_000.0;
        status.started += ended.count();
        status.busy_seconds += ended.count() as f64 / 40_000.0;
        let digest = Digest::of(format!("{ended}").as_bytes());
        status.segments.push(Segment { digest, size: ended.count(), indexes: ended, logs: None });
    }
    after.status = Some(status);
    after
}
