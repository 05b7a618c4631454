//! Random jobs of random queues and priorities: how they share the slots of random nodes.
//!
//! Safety: no slot is given twice, no quota is exceeded, a lower priority takes nothing from a higher one, and the
//! plan comes to rest. Liveness: no slot is left free that a waiting job may use.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy takes for production code

mod written;

use std::{collections::BTreeMap, sync::Arc};

use pd_plan::{JobFacts, Memory, NodeFacts, Policy, QueueFacts, Readiness, Snapshot, apply, plan};
use proptest::prelude::*;
use schemas::{JobStatus, condition::Condition};
use serde_json::json;
use written::{at, job, layout};

const NOW: f64 = 100.0;
/// Plans follow each other at most this often before nothing changes any more.
const ROUNDS_MAX: usize = 3;

#[derive(Clone, Debug)]
struct Setting {
    slots: Vec<u32>,
    /// Weight and quota of slots.
    queues: Vec<(u32, Option<u32>)>,
    jobs: Vec<Wish>,
}

#[derive(Clone, Debug)]
struct Wish {
    queue: usize,
    priority: i32,
    subtasks: u64,
    parallelism: Option<u32>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let wish = (0..3_usize, -1..2_i32, 1..60_u64, prop::option::of(1..6_u32));
    let wish =
        wish.prop_map(|(queue, priority, subtasks, parallelism)| Wish { queue, priority, subtasks, parallelism });
    let queues = prop::collection::vec((1..5_u32, prop::option::weighted(0.3, 1..6_u32)), 3);
    (prop::collection::vec(1..6_u32, 1..6), queues, prop::collection::vec(wish, 1..6))
        .prop_map(|(slots, queues, jobs)| Setting { slots, queues, jobs })
}

fn snapshot(setting: &Setting) -> Snapshot {
    let node = |(number, slots): (usize, &u32)| NodeFacts {
        name: format!("n{number}"),
        uid: format!("uid-n{number}"),
        slots: *slots,
        ready: Readiness::True,
        schedulable: true,
        seen: at(0.0),
        heard: Some(at(NOW)),
        ..NodeFacts::default()
    };
    let queue = |(number, (weight, slots)): (usize, &(u32, Option<u32>))| QueueFacts {
        name: format!("q{number}"),
        weight: *weight,
        slots: *slots,
        jobs: None,
    };
    Snapshot {
        watching_since: Some(at(0.0)),
        nodes: setting.slots.iter().enumerate().map(node).collect(),
        queues: setting.queues.iter().enumerate().map(queue).collect(),
        jobs: setting.jobs.iter().enumerate().map(planned).collect(),
        ..Snapshot::default()
    }
}

/// A job whose plan call has answered and of which nothing is given out.
fn planned((number, wish): (usize, &Wish)) -> JobFacts {
    let mut spec = serde_json::Map::new();
    spec.insert("queue".into(), format!("q{}", wish.queue).into());
    spec.insert("priority".into(), wish.priority.into());
    spec.insert("parallelism".into(), json!(wish.parallelism));
    let mut job = job(&format!("j{number}"), &spec, number as f64);
    let planned = Condition {
        type_: "Planned".into(),
        status: "True".into(),
        reason: "Planned".into(),
        message: String::new(),
        last_transition_time: at(0.0),
        observed_generation: Some(1),
    };
    job.status = Some(JobStatus {
        observed_generation: Some(1),
        task_digest: Some(job.spec.task.digest()),
        conditions: vec![planned],
        layout: Some(layout(wish.subtasks, None)),
        start_time: Some(at(0.0)),
        ..JobStatus::default()
    });
    JobFacts { job: Arc::new(job), assignments: vec![], memory: Memory::default() }
}

/// Slots by job and node.
fn given(snapshot: &Snapshot) -> BTreeMap<(usize, String), u32> {
    let mut given = BTreeMap::new();
    for facts in &snapshot.jobs {
        let number = facts.job.metadata.name.as_ref().unwrap()[1..].parse().unwrap();
        for assignment in facts.assignments.iter().filter(|assignment| !assignment.spec.grants.is_empty()) {
            let node = snapshot.nodes.iter().find(|node| node.uid == assignment.spec.node_uid).unwrap();
            given.insert((number, node.name.clone()), assignment.spec.slots.unwrap_or(node.slots));
        }
    }
    given
}

proptest! {
    #[test]
    fn slots_are_shared_as_queues_and_priorities_say(setting in settings(), spreads in any::<bool>()) {
        let pairs_max = if spreads { 0 } else { Policy::default().pairs_max };
        let (policy, now) = (Policy { pairs_max, ..Policy::default() }, at(NOW));
        let mut after = snapshot(&setting);
        for round in 0.. {
            let planned = plan(&after, now, &policy);
            if planned.actions.is_empty() {
                break;
            }
            prop_assert!(round < ROUNDS_MAX, "no rest: {:#?}", planned.actions);
            after = apply(&after, &planned);
        }
        let given = given(&after);
        let is_one_kind = setting.jobs.windows(2).all(|two| (two[0].queue, two[0].priority) == (two[1].queue, two[1].priority));
        let has_quota = setting.jobs.iter().any(|wish| setting.queues[wish.queue].1.is_some());
        let all_slots = setting.slots.iter().sum::<u32>() as usize;
        let takes_turns = !spreads || setting.jobs.len() > all_slots;
        if is_one_kind && !has_quota && takes_turns {
            // They take turns on the same slots.
            return Ok(());
        }
        let mut free = 0;
        for (number, slots) in setting.slots.iter().enumerate() {
            let used: u32 = given.iter().filter(|((_, node), _)| *node == format!("n{number}")).map(|(_, n)| n).sum();
            prop_assert!(used <= *slots, "node n{number}: {used} of {slots} slots: {given:?}");
            free += slots - used;
        }
        let used = |job: usize| given.iter().filter(|((number, _), _)| *number == job).map(|(_, n)| n).sum::<u32>();
        for (number, (_, quota)) in setting.queues.iter().enumerate() {
            let all: u32 = (0..setting.jobs.len()).filter(|job| setting.jobs[*job].queue == number).map(used).sum();
            prop_assert!(quota.is_none_or(|quota| all <= quota), "queue q{number}: {all} slots: {given:?}");
        }
        for (job, wish) in setting.jobs.iter().enumerate() {
            prop_assert!(wish.parallelism.is_none_or(|limit| used(job) <= limit), "job j{job}: {given:?}");
            if used(job) > 0 || setting.queues[wish.queue].1.is_some() {
                continue;
            }
            prop_assert_eq!(free, 0, "slots are free and job j{} has none: {:?}", job, &given);
            let lower = (0..setting.jobs.len()).filter(|other| setting.jobs[*other].priority < wish.priority).map(used);
            prop_assert_eq!(lower.sum::<u32>(), 0, "a lower priority has slots and job j{} has none", job);
        }
    }
}
