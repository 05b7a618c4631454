use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::assignment::{Grant, JobRef, MergeOrder, Work};
use schemas::{ByteSize, Digest, Duration, job::Layout};

use super::*;

fn spec(grants: &[(u32, &str)]) -> AssignmentSpec {
    AssignmentSpec {
        job: JobRef { name: "j".into(), uid: "u".into() },
        node_name: "n".into(),
        node_uid: "nu".into(),
        work: Work {
            module: Digest::of(b"module"),
            params: serde_json::Map::new(),
            inputs: BTreeMap::new(),
            memory: ByteSize(1 << 20),
            subtask_timeout: Duration::from_millis(1000),
            cpu_time: None,
            isolation: schemas::job::Isolation::Subtask,
            bitwise: false,
            host_kernels: true,
        },
        plan: false,
        plan_attempt: 0,
        layout: Some(Layout { subtasks: 100, media_type: "x/y".into(), goal: None, state: None }),
        grants: grants
            .iter()
            .map(|(attempt, indexes)| Grant { attempt: *attempt, indexes: indexes.parse().expect("a set") })
            .collect(),
        recalled: IndexSet::new(),
        copies: IndexSet::new(),
        checks: IndexSet::new(),
        check_parts: vec![],
        slots: None,
        merge: None,
    }
}

fn set(text: &str) -> IndexSet {
    text.parse().expect("a set")
}

const READY: Setup = Setup::Ready { with_layout: true };

fn queued(next: &Next) -> Vec<(u32, u64, u64)> {
    next.queue.iter().map(|s| (s.attempt, s.first, s.last)).collect()
}

#[test]
fn a_new_assignment_is_set_up_before_anything_is_granted() {
    let mut spec = spec(&[]);
    spec.layout = None;
    spec.plan = true;
    let next = sync(&spec, &Have::default());
    assert_eq!(next.steps, [Step::SetUp { with_layout: false }]);
    let next = sync(&spec, &Have { setup: Setup::Ready { with_layout: false }, ..Have::default() });
    assert_eq!(next.steps, [Step::Plan]);
    let underway = Have { setup: Setup::Ready { with_layout: false }, plan: Stage::Underway, ..Have::default() };
    assert_eq!(sync(&spec, &underway), Next::default());
}

#[test]
fn a_failed_plan_call_is_tried_again_only_when_asked() {
    let mut spec = spec(&[]);
    (spec.layout, spec.plan) = (None, true);
    let have = Have { setup: Setup::Ready { with_layout: false }, plan: Stage::Done, ..Have::default() };
    assert_eq!(sync(&spec, &have), Next::default());
    spec.plan_attempt = 1;
    assert_eq!(sync(&spec, &have).steps, [Step::Plan]);
    assert_eq!(sync(&spec, &Have { plan_attempt: 1, ..have }), Next::default());
}

#[test]
fn work_is_what_is_granted_and_has_not_ended_nor_started() {
    let spec = spec(&[(1, "0-9,20-29"), (2, "10-12")]);
    let completed = set("0-3");
    let failed = BTreeMap::from([(1, set("10-12,25")), (2, set("11"))]);
    let have = Have {
        completed: Some(&completed),
        failed: Some(&failed),
        started: vec![Stretch { attempt: 1, first: 5, last: 6 }],
        setup: READY,
        ..Have::default()
    };
    let next = sync(&spec, &have);
    assert_eq!(
        queued(&next),
        [(2, 10, 10), (2, 12, 12), (1, 4, 4), (1, 7, 9), (1, 20, 24), (1, 26, 29)],
        "later attempts first; an index that failed in this attempt waits for the next one"
    );
    assert!(next.retained.is_empty() && next.steps.is_empty());
}

#[test]
fn a_try_that_was_granted_while_an_earlier_one_ran_waits_for_its_failure() {
    let spec = spec(&[(1, "0-9"), (4, "12")]);
    let running = Have { started: vec![Stretch { attempt: 3, first: 12, last: 12 }], setup: READY, ..Have::default() };
    assert_eq!(queued(&sync(&spec, &running)), [(1, 0, 9)], "it runs");
    assert!(is_owed(&spec, 3, &set("11-12")) && !is_owed(&spec, 3, &set("0-11")) && !is_owed(&spec, 4, &set("12")));
    let failed = BTreeMap::from([(3, set("12"))]);
    let next = sync(&spec, &Have { failed: Some(&failed), setup: READY, ..Have::default() });
    assert_eq!(queued(&next), [(4, 12, 12), (1, 0, 9)]);
}

#[test]
fn what_was_withdrawn_is_dropped_unless_it_has_started() {
    let have = Have { started: vec![Stretch { attempt: 1, first: 0, last: 4 }], setup: READY, ..Have::default() };
    let mut shrunk = spec(&[(1, "0-2")]);
    shrunk.recalled = set("3-9");
    let next = sync(&shrunk, &have);
    assert_eq!((next.retained, next.stop), (set("3-4"), IndexSet::new()), "recalled: what has started is finished");
    assert!(next.queue.is_empty());
    let next = sync(&spec(&[(1, "0-2")]), &have);
    assert_eq!((next.retained, next.stop), (IndexSet::new(), set("3-4")), "not wanted any more");
    assert!(next.queue.is_empty());
}

#[test]
fn a_layout_that_arrives_later_is_set_up_too() {
    let have = Have { setup: Setup::Ready { with_layout: false }, plan: Stage::Done, ..Have::default() };
    assert_eq!(sync(&spec(&[(1, "0-5")]), &have).steps, [Step::SetUp { with_layout: true }]);
}

#[test]
fn what_is_finished_is_not_set_up_again() {
    let completed = set("0-5");
    let have = Have { completed: Some(&completed), plan: Stage::Done, ..Have::default() };
    assert_eq!(sync(&spec(&[(1, "0-5")]), &have), Next::default());
    assert_eq!(sync(&spec(&[(1, "0-6")]), &have).steps, [Step::SetUp { with_layout: true }]);
    let mut spec = spec(&[(1, "0-5")]);
    spec.merge = Some(MergeOrder { parts: vec![], attempt: 1 });
    assert_eq!(sync(&spec, &have).steps, [Step::SetUp { with_layout: true }]);
}

#[test]
fn each_merge_order_is_answered_once() {
    let mut spec = spec(&[]);
    spec.merge = Some(MergeOrder { parts: vec![], attempt: 2 });
    let have = |merge| Have { setup: READY, merge, ..Have::default() };
    assert_eq!(sync(&spec, &have(None)).steps, [Step::Merge { attempt: 2 }]);
    assert_eq!(sync(&spec, &have(Some((1, Stage::Done)))).steps, [Step::Merge { attempt: 2 }]);
    assert_eq!(sync(&spec, &have(Some((1, Stage::Underway)))).steps, [Step::StopMerge]);
    assert_eq!(sync(&spec, &have(Some((2, Stage::Underway)))).steps, []);
    assert_eq!(sync(&spec, &have(Some((2, Stage::Done)))).steps, []);
}

#[test]
fn a_call_that_nobody_waits_for_is_stopped() {
    let mut spec = spec(&[]);
    let underway = Have { setup: READY, plan: Stage::Underway, merge: Some((1, Stage::Underway)), ..Have::default() };
    assert_eq!(sync(&spec, &underway).steps, [Step::StopPlan, Step::StopMerge]);
    spec.plan = true;
    spec.merge = Some(MergeOrder { parts: vec![], attempt: 1 });
    assert_eq!(sync(&spec, &underway).steps, []);
}

#[test]
fn no_slots_at_all_interrupts_what_runs() {
    let mut spec = spec(&[(1, "0-5")]);
    spec.slots = Some(0);
    let have = Have { started: vec![Stretch { attempt: 1, first: 0, last: 0 }], setup: READY, ..Have::default() };
    assert_eq!(sync(&spec, &have).steps, [Step::Interrupt]);
    (spec.grants, spec.recalled) = (vec![], set("0-5"));
    let next = sync(&spec, &have);
    assert_eq!((next.retained, next.stop), (IndexSet::new(), set("0")), "recalled as well: it is not finished");
}

proptest! {
    /// Safety: nothing that ended or runs is queued, nothing is queued twice, nothing that was not granted.
    #[test]
    fn the_queue_holds_exactly_what_is_due(
        granted in proptest::collection::btree_set(0_u64..60, 0..40),
        completed in proptest::collection::btree_set(0_u64..60, 0..40),
        failed in proptest::collection::btree_set(0_u64..60, 0..20),
        running in 0_u64..60,
    ) {
        let granted: IndexSet = granted.into_iter().collect();
        let completed: IndexSet = completed.into_iter().collect();
        let failed = BTreeMap::from([(1, failed.into_iter().collect::<IndexSet>())]);
        let mut spec = spec(&[]);
        spec.grants = vec![Grant { attempt: 1, indexes: granted.clone() }];
        let have = Have {
            completed: Some(&completed),
            failed: Some(&failed),
            started: vec![Stretch { attempt: 1, first: running, last: running }],
            setup: READY,
            ..Have::default()
        };
        let next = sync(&spec, &have);
        let mut due = &(&granted - &completed) - &failed[&1];
        due.remove(running);
        let queue: IndexSet = next.queue.iter().map(|s| s.first..=s.last).collect();
        prop_assert_eq!(next.queue.iter().map(Stretch::count).sum::<u64>(), due.count());
        prop_assert_eq!(queue, due);
    }
}
