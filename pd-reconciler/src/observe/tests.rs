use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;

const LOST_AFTER: Duration = Duration::from_secs(5);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn leases(renewed: &str) -> Vec<(String, String)> {
    vec![("a".into(), renewed.into())]
}

fn node() -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "labels": {"zone": "x"}},
        "spec": {"unschedulable": true, "taints": [{"key": "processdistro.dev/drain", "effect": "NoExecute"}]},
        "status": {
            "capacity": {"processdistro.dev/slots": "3"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
    .unwrap()
}

#[test]
fn a_lease_is_heard_when_its_renewal_changes_and_never_by_its_own_time() {
    let mut view = View::default();
    let mut take = |second, renewed| view.take(Observed::Leases(at(second), leases(renewed)), at(second), LOST_AFTER);
    take(0, "2099-01-01T00:00:00Z");
    take(1, "2099-01-01T00:00:00Z");
    assert_eq!(view.leases.heard("a"), None);
    view.take(Observed::Leases(at(2), leases("1970-01-01T00:00:00Z")), at(2), LOST_AFTER);
    assert_eq!(view.leases.heard("a"), Some(at(2)));
    assert_eq!(view.leases.watching_since(at(3), LOST_AFTER), Some(at(0)));
}

#[test]
fn a_gap_in_our_own_listening_starts_it_anew() {
    let mut view = View::default();
    view.take(Observed::Leases(at(0), leases("x")), at(0), LOST_AFTER);
    assert_eq!(view.leases.watching_since(at(4), LOST_AFTER), None, "suspended for four seconds");
    view.take(Observed::Leases(at(4), leases("x")), at(4), LOST_AFTER);
    assert_eq!(view.leases.watching_since(at(5), LOST_AFTER), Some(at(4)));
    view.take(Observed::NoLeases, at(5), LOST_AFTER);
    assert_eq!(view.leases.watching_since(at(5), LOST_AFTER), None);
}

#[test]
fn a_node_is_read_as_the_plan_needs_it() {
    let mut view = View::default();
    view.take(Observed::Node(Box::new(Event::Apply(node()))), at(7), LOST_AFTER);
    let snapshot = view.snapshot(at(9), LOST_AFTER);
    let facts = &snapshot.nodes[0];
    assert_eq!((facts.slots, facts.ready, facts.schedulable, facts.draining), (3, Readiness::True, false, true));
    assert_eq!((facts.seen, facts.heard), (at(7), None));
    assert_eq!(facts.labels["zone"], "x");
}

#[test]
fn a_renewal_wakes_the_plan_only_for_a_node_that_is_not_ready() {
    let mut view = View::default();
    let mut lost = node();
    view.nodes.put(lost.clone());
    let take = |view: &mut View, second, renewed| {
        view.take(Observed::Leases(at(second), leases(renewed)), at(second), LOST_AFTER)
    };
    assert!(!take(&mut view, 0, "x"));
    assert!(!take(&mut view, 1, "y"));
    lost.metadata.resource_version = Some("2".into());
    lost.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "Unknown".into();
    view.nodes.put(lost);
    assert!(take(&mut view, 2, "z"));
}

fn job(version: u64, state: Option<&str>) -> Job {
    let conditions = state.map(|type_| {
        json!({"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    });
    serde_json::from_value(json!({
        "apiVersion": "processdistro.dev/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "n", "uid": "ju", "resourceVersion": version.to_string()},
        "spec": {"task": {"name": "noop"}},
        "status": {
            "conditions": Vec::from_iter(conditions),
            "subtasks": {"total": 9, "succeeded": version, "failed": 0, "running": 0, "pending": 9 - version},
        },
    }))
    .unwrap()
}

fn assignment(name: &str, job_uid: &str, version: u64) -> Assignment {
    serde_json::from_value(json!({
        "apiVersion": "processdistro.dev/v1",
        "kind": "Assignment",
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string()},
        "spec": {
            "job": {"name": "j", "uid": job_uid}, "nodeName": "a", "nodeUid": "u",
            "work": {
                "module": format!("sha256:{}", "0".repeat(64)), "memory": "1Mi", "subtaskTimeout": "1s",
            },
        },
    }))
    .unwrap()
}

fn round(view: &mut View) -> Vec<(String, usize)> {
    let snapshot = view.snapshot(at(0), LOST_AFTER);
    let seen = snapshot.jobs.iter().map(|facts| (facts.job.metadata.uid.clone().unwrap(), facts.assignments.len()));
    let seen = seen.collect();
    view.remember(snapshot, &mut Plan::default());
    seen
}

#[test]
fn a_snapshot_follows_every_change_of_a_job_and_of_its_assignments() {
    use kube::runtime::watcher::Event;
    let mut view = View::default();
    view.take(Observed::Job(Box::new(Event::Apply(job(1, None)))), at(0), LOST_AFTER);
    view.wrote(Written::Assignment(Box::new(assignment("x", "ju", 2))));
    view.take(Observed::Assignment(Box::new(Event::Apply(assignment("y", "ju", 3)))), at(0), LOST_AFTER);
    view.take(Observed::Assignment(Box::new(Event::Apply(assignment("z", "other", 3)))), at(0), LOST_AFTER);
    assert_eq!(round(&mut view), [("ju".to_owned(), 2)]);
    assert_eq!(round(&mut view), [("ju".to_owned(), 2)], "without news it is the same");
    view.take(Observed::Assignment(Box::new(Event::Delete(assignment("x", "ju", 4)))), at(0), LOST_AFTER);
    assert_eq!(round(&mut view), [("ju".to_owned(), 1)]);
    view.take(Observed::Job(Box::new(Event::Delete(job(5, None)))), at(0), LOST_AFTER);
    assert!(round(&mut view).is_empty());
}

#[test]
fn a_job_that_is_over_is_set_aside_until_something_of_it_changes() {
    let mut view = View::default();
    view.wrote(Written::Job(Box::new(job(1, None))));
    view.wrote(Written::Job(Box::new(job(4, Some("Complete")))));
    assert_eq!(view.take_finished(), (4, 0));
    assert_eq!(round(&mut view).len(), 1, "the plan may have something left to do");
    assert!(round(&mut view).is_empty());
    view.wrote(Written::Assignment(Box::new(assignment("x", "ju", 5))));
    assert_eq!(round(&mut view), [("ju".to_owned(), 1)]);
    assert!(round(&mut view).is_empty());
}

#[test]
fn a_job_that_is_set_aside_comes_back_when_its_time_is_over() {
    let mut view = View::default();
    let mut over = job(4, Some("Complete"));
    over.spec.ttl_after_finished = Some("10s".parse().unwrap());
    over.status.as_mut().unwrap().completion_time = Some(at(100));
    view.wrote(Written::Job(Box::new(over.clone())));
    assert_eq!(round(&mut view).len(), 1);
    assert_eq!((round(&mut view), view.next_expiry()), (vec![], Some(at(110))));
    let snapshot = view.snapshot(at(110), LOST_AFTER);
    assert_eq!(snapshot.jobs.len(), 1);
    view.remember(snapshot, &mut Plan::default());
    assert_eq!(view.next_expiry(), None, "it is looked at each time from now on");
    view.wrote(Written::NoJob(Arc::new(over)));
    assert_eq!(round(&mut view), []);
}

#[test]
fn a_job_that_is_over_is_shown_to_those_that_depend_on_it() {
    let mut view = View::default();
    view.wrote(Written::Job(Box::new(job(4, Some("Complete")))));
    assert_eq!(round(&mut view).len() + round(&mut view).len(), 1);
    let mut other = job(5, None);
    (other.metadata.name, other.metadata.uid) = (Some("other".into()), Some("ou".into()));
    other.spec.depends_on = vec!["j".into()];
    view.wrote(Written::Job(Box::new(other)));
    let snapshot = view.snapshot(at(0), LOST_AFTER);
    assert_eq!((snapshot.jobs.len(), snapshot.finished.len()), (1, 1));
    assert_eq!(snapshot.finished[0].metadata.name.as_deref(), Some("j"));
}

#[test]
fn taints_are_read_but_the_one_that_drains_is_none() {
    let mut tainted = node();
    let taints = json!([
        {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
        {"key": "processdistro.dev/drain", "effect": "NoExecute"},
        {"key": "odd", "effect": "Sometimes"},
    ]);
    tainted.spec.as_mut().unwrap().taints = serde_json::from_value(taints).unwrap();
    let mut view = View::default();
    view.wrote(Written::Node(Box::new(tainted)));
    let snapshot = view.snapshot(at(0), LOST_AFTER);
    let expected = Taint { key: "gpu".into(), value: "yes".into(), effect: Effect::NoSchedule };
    assert_eq!(snapshot.nodes[0].taints, [expected]);
}

#[test]
fn nothing_of_before_is_planned_with_once_it_has_expired() {
    let mut view = View::default();
    for done in [Observed::Job(Box::new(Event::InitDone)), Observed::Assignment(Box::new(Event::InitDone))] {
        view.take(done, at(0), LOST_AFTER);
    }
    view.take(Observed::Node(Box::new(Event::Apply(node()))), at(0), LOST_AFTER);
    view.take(Observed::Node(Box::new(Event::InitDone)), at(0), LOST_AFTER);
    view.take(Observed::Queue(Box::new(Event::InitDone)), at(0), LOST_AFTER);
    view.take(Observed::CachedResult(Box::new(Event::InitDone)), at(0), LOST_AFTER);
    assert!(view.is_synced());
    view.take(Observed::Expired, at(1), LOST_AFTER);
    assert!(!view.is_synced() && view.node("a").is_none());
}
