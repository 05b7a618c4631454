//! Verification in a small simulated cluster: one node lies in some of its outputs, repacks segments with other bytes
//! than were compared, or lies about the plan and the merge. The real plan has to find it, blame nobody else, and end
//! with the right result.

#![allow(clippy::unwrap_used, clippy::panic)] // the simulation is a helper of tests

mod written;

use std::{collections::BTreeMap, sync::Arc};

use pd_plan::{Action, Compared, JobFacts, Memory, NodeFacts, Policy, Readiness, Snapshot, apply, invariants, plan};
use schemas::{
    Assignment, AssignmentStatus, Digest, IndexSet, Job,
    assignment::{MergeOrder, MergeReport, PlanReport, Segment},
    condition,
    job::{JobResult, conditions},
};
use serde_json::json;
use written::{at, job, layout};

/// Rounds after which a job that has not ended never will.
const ROUNDS_MAX: usize = 600;
/// Seconds between two rounds.
const ROUND: f64 = 0.25;

/// How the liar lies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// In one of so many outputs.
    Outputs(u64),
    /// It delivers right outputs, and exchanges them when it repacks.
    Repacked,
    Plan,
    Merge,
}

/// A cluster of which the first node lies.
struct Cluster {
    snapshot: Snapshot,
    /// The stored segments: index and output.
    segments: BTreeMap<Digest, BTreeMap<u64, u64>>,
    lie: Option<Lie>,
    /// Whether the reconciler is replaced now and then, which forgets what is not stored.
    restarts: bool,
    now: f64,
    state: u64,
}

impl Cluster {
    fn new(nodes: usize, subtasks: u64, spec: &serde_json::Value, lie: Option<Lie>, restarts: bool, seed: u64) -> Self {
        let facts = |number: usize| NodeFacts {
            name: format!("n{number}"),
            uid: format!("u{number}"),
            slots: 2,
            ready: Readiness::True,
            schedulable: true,
            seen: at(0.0),
            ..NodeFacts::default()
        };
        let mut job = job("j", spec.as_object().unwrap(), 0.0);
        job.spec.task.params.clone_from(json!({"count": subtasks}).as_object().unwrap());
        let jobs = vec![JobFacts { job: Arc::new(job), assignments: vec![], memory: Memory::default() }];
        let nodes = (0..nodes).map(facts).collect();
        let snapshot =
            Snapshot { watching_since: Some(at(0.0)), nodes, jobs, sample_seed: seed, ..Snapshot::default() };
        Self { snapshot, segments: BTreeMap::new(), lie, restarts, now: 1.0, state: seed | 1 }
    }

    /// A number below `bound`, from xorshift.
    fn random(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % bound
    }

    fn job(&self) -> &Job {
        &self.snapshot.jobs[0].job
    }

    fn is(&self, type_: &str) -> bool {
        self.job().status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, type_))
    }

    fn untrusted(&self) -> Vec<String> {
        let verification = self.job().status.iter().find_map(|status| status.verification.clone()).unwrap_or_default();
        verification.untrusted.into_iter().map(|node| node.name).collect()
    }

    /// Plans, applies and lets the nodes work until the job has ended.
    fn run(mut self) -> Self {
        for _ in 0..ROUNDS_MAX {
            self.now += ROUND;
            let now = at(self.now);
            self.snapshot.nodes.iter_mut().for_each(|node| node.heard = Some(now));
            let planned = plan(&self.snapshot, now, &Policy::default());
            let broken = invariants::check(&self.snapshot, &planned, &Policy::default());
            assert!(broken.is_empty(), "{broken:#?}");
            self.snapshot = apply(&self.snapshot, &planned);
            self.compare(&planned.actions);
            if self.is(conditions::COMPLETE) || self.is(conditions::FAILED) {
                return self;
            }
            for at in 0..self.snapshot.jobs[0].assignments.len() {
                self.work(at);
            }
            if self.restarts && self.random(10) == 0 {
                self.snapshot.jobs[0].memory = Memory::default();
            }
        }
        panic!("the job has not ended: {:#?}", self.job().status);
    }

    /// Puts the truth in the place of the answers that `apply` makes up.
    fn compare(&mut self, actions: &[Action]) {
        let ordered = actions.iter().filter(|action| matches!(action, Action::CompareOutputs { .. })).count();
        let known = &mut self.snapshot.jobs[0].memory.compared;
        let from = known.len() - ordered;
        for compared in &mut known[from..] {
            let (left, right) = (&self.segments[&compared.left], &self.segments[&compared.right]);
            let (same, differ) = compared.same.iter().partition::<Vec<u64>, _>(|index| left[index] == right[index]);
            *compared =
                Compared { same: same.into_iter().collect(), differ: differ.into_iter().collect(), ..*compared };
        }
    }

    /// One node does some of what it was told.
    fn work(&mut self, at: usize) {
        let mut assignment = Assignment::clone(&self.snapshot.jobs[0].assignments[at]);
        let is_liar = assignment.spec.node_name == "n0";
        let lie = self.lie.filter(|_| is_liar);
        let mut status = assignment.status.take().unwrap_or_default();
        status.node_uid.clone_from(&assignment.spec.node_uid);
        status.observed_generation = assignment.metadata.generation.unwrap_or_default();
        status.rate = 20.0;
        if assignment.spec.plan && status.plan.is_none() {
            let honest = assignment.spec.work.params["count"].as_u64().unwrap();
            let count = if lie == Some(Lie::Plan) { 0 } else { honest };
            status.plan = Some(PlanReport::Layout(layout(count, None)));
        }
        let amount = 1 + self.random(12);
        let open = (&assignment.spec.granted() - &status.completed()).take_first(amount);
        if !open.is_empty() && assignment.spec.slots != Some(0) {
            let outputs = open.iter().map(|index| (index, self.output(index, lie)));
            let outputs = outputs.collect::<Vec<_>>().into_iter().collect();
            self.store(outputs, &mut status);
        }
        if status.segments.len() > 1 && self.random(6) == 0 {
            self.repack(&mut status, lie);
        }
        if let Some(order) = assignment.spec.merge.clone() {
            status.merge = Some(self.merge(&order, lie));
        }
        assignment.status = Some(status);
        self.snapshot.jobs[0].assignments[at] = Arc::new(assignment);
    }

    fn output(&mut self, index: u64, lie: Option<Lie>) -> u64 {
        match lie {
            Some(Lie::Outputs(every)) if self.random(every) == 0 => index + 1_000_000 + self.random(1000),
            _ => index,
        }
    }

    fn store(&mut self, outputs: BTreeMap<u64, u64>, status: &mut AssignmentStatus) {
        let digest = Digest::of(format!("{outputs:?}").as_bytes());
        let indexes: IndexSet = outputs.keys().copied().collect();
        status.segments.push(Segment { digest, size: indexes.count(), indexes, logs: None });
        status.succeeded = status.completed().count();
        status.started = status.started.max(status.succeeded);
        self.segments.insert(digest, outputs);
    }

    /// Joins all segments of a node into one.
    fn repack(&mut self, status: &mut AssignmentStatus, lie: Option<Lie>) {
        let old = std::mem::take(&mut status.segments);
        let mut outputs: BTreeMap<u64, u64> =
            old.iter().flat_map(|segment| self.segments[&segment.digest].clone()).collect();
        if let (Some(Lie::Repacked), Some(mut first)) = (lie, outputs.first_entry()) {
            first.insert(13_000_000);
        }
        self.store(outputs, status);
    }

    fn merge(&self, order: &MergeOrder, lie: Option<Lie>) -> MergeReport {
        let take = |part: &schemas::assignment::Part| {
            let outputs = &self.segments[&part.segment];
            part.indexes.iter().map(|index| (index, outputs[&index])).collect::<Vec<_>>()
        };
        let merged: BTreeMap<u64, u64> = order.parts.iter().flat_map(take).collect();
        let artifact = if lie == Some(Lie::Merge) { Digest::of(b"a lie") } else { result_of(&merged) };
        let result = JobResult { artifact, size: 1, media_type: "text/plain".into() };
        MergeReport { attempt: order.attempt, result: Some(result), failure: None }
    }
}

fn result_of(outputs: &BTreeMap<u64, u64>) -> Digest {
    Digest::of(format!("result {outputs:?}").as_bytes())
}

fn right_result(subtasks: u64) -> Digest {
    result_of(&(0..subtasks).map(|index| (index, index)).collect())
}

fn quorum(agree: u32, of: u32) -> serde_json::Value {
    json!({"verification": {"quorum": {"agree": agree, "of": of}}})
}

#[test]
fn a_quorum_ends_with_the_right_result_whatever_one_node_does() {
    let lies =
        [None, Some(Lie::Outputs(3)), Some(Lie::Outputs(1)), Some(Lie::Repacked), Some(Lie::Plan), Some(Lie::Merge)];
    for seed in 1..=4 {
        for lie in lies {
            for (nodes, agree, of) in [(3, 2, 3), (4, 2, 2), (6, 3, 5)] {
                let told = format!("seed {seed}, {nodes} nodes, {agree} of {of}, {lie:?}");
                let cluster = Cluster::new(nodes, 60, &quorum(agree, of), lie, seed % 2 == 0, seed).run();
                let status = cluster.job().status.clone().unwrap_or_default();
                let is_undecidable = agree == of && lie.is_some();
                if is_undecidable && cluster.is(conditions::FAILED) {
                    assert_eq!(
                        cluster.untrusted(),
                        Vec::<String>::new(),
                        "{told}: two against each other blame nobody"
                    );
                    continue;
                }
                assert!(cluster.is(conditions::COMPLETE), "{told}: {:?}", status.conditions);
                assert_eq!(status.result.unwrap().artifact, right_result(60), "{told}");
                assert_eq!(status.completed_indexes, IndexSet::first(60), "{told}");
                let untrusted = cluster.untrusted();
                assert!(untrusted.iter().all(|name| name == "n0"), "{told}: {untrusted:?} was blamed");
            }
        }
    }
}

#[test]
fn a_liar_that_others_check_is_found() {
    for seed in 1..=10 {
        let cluster = Cluster::new(3, 60, &quorum(2, 3), Some(Lie::Outputs(2)), false, seed).run();
        assert_eq!(cluster.untrusted(), ["n0"], "seed {seed}");
        assert!(cluster.snapshot.nodes[0].taints.iter().any(|taint| taint.key.ends_with("untrusted")));
    }
}

#[test]
fn a_sample_finds_a_node_that_lies_often_and_has_its_work_done_again() {
    let spec = json!({"verification": {"sample": {"fraction": "0.3"}}});
    for seed in 1..=10 {
        let cluster = Cluster::new(4, 200, &spec, Some(Lie::Outputs(1)), false, seed).run();
        assert_eq!(cluster.untrusted(), ["n0"], "seed {seed}");
        assert!(cluster.is(conditions::COMPLETE), "seed {seed}");
        assert_eq!(cluster.job().status.as_ref().unwrap().result.as_ref().unwrap().artifact, right_result(200));
        let honest = Cluster::new(4, 200, &spec, None, seed % 2 == 0, seed).run();
        assert_eq!(honest.untrusted(), Vec::<String>::new());
        let computed: u64 =
            honest.snapshot.jobs[0].assignments.iter().filter_map(|a| a.status.as_ref()).map(|s| s.succeeded).sum();
        assert!((240..=330).contains(&computed), "{computed} outputs for 200 indexes and a sample of 60");
    }
}
