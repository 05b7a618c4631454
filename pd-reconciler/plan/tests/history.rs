//! What earlier jobs teach: a node that ran the same work before needs no probe.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy takes for production code

mod written;

use pd_plan::{Action, Plan, Policy, Snapshot, plan};
use written::{Case, at};

/// A job that is over, with what its nodes measured, and the same or another one that has just been planned.
fn case(params: &str, is_over: bool) -> Snapshot {
    let text = format!(
        "
about: two jobs of one module
now: 100
nodes: [{{name: a}}, {{name: b}}]
jobs:
- name: first
  planned: 100
  started: 10
  state: Complete
  conditions: {{SuccessCriteriaMet: CompletionsReached, Complete: CompletionsReached}}
  assignments:
  - {{node: a, grants: {{1: 0-49}}, done: 0-49, rate: 100, busy: 0.5}}
  - {{node: b, grants: {{1: 50-99}}, done: 50-99, rate: 25, busy: 2}}
- name: second
  spec: {{task: {{module: {module}, params: {params}}}}}
  planned: 100000
  started: 99
",
        module = schemas::Digest::of(b"module"),
    );
    let case: Case = serde_yaml::from_str(&text).unwrap();
    let mut snapshot = case.snapshot();
    let (first, _) = snapshot.jobs.split_at_mut(1);
    let mut job = (*first[0].job).clone();
    job.status.as_mut().unwrap().completion_time = Some(at(50.0));
    first[0].job = std::sync::Arc::new(job);
    if !is_over {
        snapshot.jobs.remove(0);
    }
    snapshot
}

/// Indexes of the second job that each node is given, in the order of their names.
fn given(plan: &Plan) -> Vec<(String, u64)> {
    let created = plan.actions.iter().filter_map(|action| match action {
        Action::CreateAssignment(assignment) => Some(assignment),
        _ => None,
    });
    let mut given: Vec<_> = created.map(|a| (a.spec.node_name.clone(), a.spec.granted().count())).collect();
    given.sort();
    given
}

/// What the second job's nodes get once the first one was seen to be over.
fn taught(params: &str) -> Vec<(String, u64)> {
    let policy = Policy::default();
    let learnt = plan(&case(params, true), at(100.0), &policy).history;
    given(&plan(&Snapshot { history: learnt, ..case(params, false) }, at(100.0), &policy))
}

#[test]
fn the_same_work_is_given_out_by_the_rates_of_the_last_time() {
    let given = taught("{}");
    assert_eq!(given.len(), 2);
    assert!(given[0].1 == 4 * given[1].1 && given[1].1 >= 25, "two seconds of work at the most: {given:?}");
}

#[test]
fn other_params_of_the_same_module_are_measured_anew() {
    assert_eq!(taught("{width: 7}"), [("a".to_owned(), 4), ("b".to_owned(), 4)], "a probe each");
}

#[test]
fn without_a_history_there_is_a_probe() {
    let plan = plan(&case("{}", false), at(100.0), &Policy::default());
    assert_eq!(given(&plan), [("a".to_owned(), 4), ("b".to_owned(), 4)]);
}
