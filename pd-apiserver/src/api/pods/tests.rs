use super::{attempts::State, *};

fn source() -> Source {
    let digest = |text: &str| schemas::Digest::of(text.as_bytes());
    let assignment = json!({
        "apiVersion": "processdistro.dev/v1", "kind": "Assignment",
        "metadata": {"name": "a", "uid": "assignment-uid", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "job": {"name": "my-job", "uid": "u"}, "nodeName": "n1", "nodeUid": "x",
            "work": {"module": digest("module"), "params": {}, "memory": "64Mi", "subtaskTimeout": "5m"},
            "grants": [{"attempt": 1, "indexes": "0-1999"}, {"attempt": 2, "indexes": "2000-2001"}],
        },
        "status": {
            "nodeUid": "x",
            "segments": [
                {"digest": digest("one"), "size": 1, "indexes": "0-999", "logs": digest("log")},
                {"digest": digest("two"), "size": 1, "indexes": "1000-1001"},
            ],
            "running": [{"index": 2000, "attempt": 2, "startedAt": "2026-01-01T00:00:05Z"}],
            "failures": [{"attempt": 1, "outcome": "Trap", "message": "boom", "indexes": "2000"}],
        },
    });
    let bytes = assignment.to_string();
    Source::read("/processdistro.dev/assignments/default/a", bytes.as_bytes(), 7).expect("an assignment")
}

#[test]
fn a_node_shows_what_runs_and_the_last_of_what_has_ended() {
    let pods = source().pods(&Hidden::default());
    let seen: Vec<_> = pods.iter().map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["phase"]))).collect();
    assert_eq!(
        seen[..4],
        [
            ("my-job-2000-2", "Running"),
            ("my-job-2000-1", "Failed"),
            ("my-job-1000-1", "Succeeded"),
            ("my-job-1001-1", "Succeeded"),
        ]
    );
    assert_eq!(seen.len(), 12, "of 1,002 that succeeded the last ten are shown");
    let failed = &pods[1];
    assert_eq!(failed["status"]["reason"], "Trap");
    assert_eq!(failed["metadata"]["ownerReferences"][0]["controller"], true);
    assert_eq!(failed["spec"]["nodeName"], "n1");
    assert_ne!(failed["metadata"]["uid"], pods[0]["metadata"]["uid"], "each attempt is a pod of its own");
    assert_eq!(pods, source().pods(&Hidden::default()), "names and UIDs are stable");
}

#[test]
fn any_attempt_is_found_by_its_name_however_old() {
    let source = source();
    assert_eq!(object::parse_name("my-job-5-1"), Some(("my-job", 5, 1)));
    assert_eq!(object::parse_name("my-job"), None);
    let found = attempts::find(&source.assignment, 5, 1).expect("an attempt");
    assert!(matches!(found.state, State::Succeeded { logs: Some(_) }));
    assert_eq!(attempts::find(&source.assignment, 5, 2), None);
    assert_eq!(attempts::find(&source.assignment, 3000, 1), None);
}

#[test]
fn a_deleted_pod_is_terminating_while_it_runs_and_gone_when_it_has_ended() {
    let (source, hidden) = (source(), Hidden::default());
    source.pods(&hidden).iter().for_each(|pod| hidden.hide(text(&pod["metadata"]["uid"])));
    let left = source.pods(&hidden);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["metadata"]["name"], "my-job-2000-2");
    assert!(left[0]["metadata"]["deletionTimestamp"].is_string());
}

#[test]
fn every_pod_reads_as_kubernetes_own_type() {
    for pod in source().pods(&Hidden::default()) {
        let typed: k8s_openapi::api::core::v1::Pod = serde_json::from_value(pod.clone()).expect("a Pod");
        assert_eq!(typed.metadata.uid.as_deref(), pod["metadata"]["uid"].as_str());
        assert_eq!(typed.status.and_then(|status| status.phase).as_deref(), pod["status"]["phase"].as_str());
    }
}
