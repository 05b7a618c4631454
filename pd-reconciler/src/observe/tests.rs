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
    view.take(Observed::Node(Box::new(kube::runtime::watcher::Event::Apply(node()))), at(7), LOST_AFTER);
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
