//! Pods and their logs, over stored Assignments.

use futures::StreamExt;

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";
const ASSIGNMENT: &str = "/processdistro.dev/assignments/default/a";

/// A segment with the log of index 1, in the format of `schemas::segment`.
fn log_segment(text: &str) -> bytes::Bytes {
    schemas::segment::encode(&[(1, text.as_bytes())]).into()
}

async fn with_pods(running: Value) -> Api {
    let api = Api::with_task().await;
    let log = log_segment("info one\ninfo two\ninfo three\n");
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(log.clone())]);
    api.state.artifacts.put(Digest::of(&log), chunks, 1 << 20).await.expect("stored");
    put(&api, Precondition::Absent, &assignment(running, &Digest::of(&log))).await;
    api
}

fn assignment(running: Value, log: &Digest) -> Value {
    json!({
        "apiVersion": "processdistro.dev/v1", "kind": "Assignment",
        "metadata": {"name": "a", "namespace": "default", "uid": "uid-a", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "job": {"name": "j", "uid": "u"}, "nodeName": "n1", "nodeUid": "x",
            "work": {"module": Digest::of(b"m"), "params": {}, "memory": "64Mi", "subtaskTimeout": "5m"},
            "grants": [{"attempt": 1, "indexes": "0-3"}],
        },
        "status": {
            "nodeUid": "x", "running": running,
            "segments": [{"digest": Digest::of(b"s"), "size": 1, "indexes": "0-1", "logs": log}],
        },
    })
}

async fn put(api: &Api, precondition: Precondition, assignment: &Value) {
    let value = Some(assignment.to_string().into_bytes().into());
    let write = Write { key: ASSIGNMENT.to_owned(), precondition, value };
    api.state.store.commit(vec![write]).await.expect("stored");
}

fn run(index: u64) -> Value {
    json!({"index": index, "attempt": 1, "startedAt": "2026-01-01T00:00:00Z"})
}

fn names(answer: &Answer) -> Vec<&str> {
    let items = answer.body["items"].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn pods_are_selected_by_node_and_phase_as_drain_does() {
    let api = with_pods(json!([run(2)])).await;
    assert_eq!(names(&api.get(PODS).await), ["j-0-1", "j-1-1", "j-2-1"]);
    let live = "fieldSelector=spec.nodeName%3Dn1,status.phase!%3DSucceeded,status.phase!%3DFailed";
    assert_eq!(names(&api.get(&format!("/api/v1/pods?{live}")).await), ["j-2-1"]);
    assert_eq!(names(&api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await), Vec::<&str>::new());
    assert_eq!(
        names(&api.get(&format!("{PODS}?labelSelector=processdistro.dev/job%3Dj&limit=2")).await),
        ["j-0-1", "j-1-1"]
    );
    let first = api.get(&format!("{PODS}?limit=2")).await;
    let next = first.body["metadata"]["continue"].as_str().expect("a token");
    assert_eq!(names(&api.get(&format!("{PODS}?limit=2&continue={next}")).await), ["j-2-1"]);
    let table = api.get_as(PODS, TABLE).await.body;
    assert_eq!(
        table["rows"][2]["cells"].as_array().expect("cells")[..3],
        [json!("j-2-1"), json!("1/1"), json!("Running")]
    );
}

#[tokio::test]
async fn an_evicted_pod_is_gone_when_it_has_ended() {
    let api = with_pods(json!([run(2)])).await;
    let evict = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "j-2-1"}});
    assert_eq!(api.post(&format!("{PODS}/j-2-1/eviction"), evict).await.code, StatusCode::CREATED);
    let going = api.get(&format!("{PODS}/j-2-1")).await;
    assert!(going.body["metadata"]["deletionTimestamp"].is_string(), "{going:?}");
    let ended = assignment(json!([]), &Digest::of(&log_segment("")));
    put(&api, Precondition::Any, &ended).await;
    assert_eq!(api.get(&format!("{PODS}/j-2-1")).await.code, StatusCode::NOT_FOUND);
    assert_eq!(api.delete(&format!("{PODS}/j-0-1"), None).await.code, StatusCode::OK);
    assert_eq!(names(&api.get(PODS).await), ["j-1-1"]);
}

#[tokio::test]
async fn an_eviction_from_a_cordoned_node_drains_it_until_it_is_uncordoned() {
    let api = with_pods(json!([run(2)])).await;
    let (node, strategic) = ("/api/v1/nodes/n1", "application/strategic-merge-patch+json");
    assert_eq!(api.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await.code, StatusCode::CREATED);
    let evict = |name: &str| {
        let (api, uri) = (&api, format!("{PODS}/{name}/eviction"));
        let body = json!({"metadata": {"name": name}});
        async move { assert_eq!(api.post(&uri, body).await.code, StatusCode::CREATED) }
    };
    evict("j-0-1").await;
    assert_eq!(api.get(node).await.body["spec"].get("taints"), None, "a node that takes work is not drained");
    api.patch(node, strategic, json!({"spec": {"unschedulable": true}})).await;
    evict("j-1-1").await;
    assert_eq!(api.get(node).await.body["spec"]["taints"][0]["key"], "processdistro.dev/drain");
    api.patch(node, strategic, json!({"spec": {"unschedulable": null}})).await;
    assert_eq!(api.get(node).await.body["spec"].get("taints"), None);
}

/// The text of a log, which is no JSON.
async fn log(api: &Api, query: &str) -> (StatusCode, String) {
    let request = Request::builder().uri(format!("{PODS}/{query}"));
    let response = api.send(admin(), request, None).await;
    let code = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_log_is_read_out_of_its_segment() {
    let api = with_pods(json!([])).await;
    assert_eq!(log(&api, "j-1-1/log").await, (StatusCode::OK, "info one\ninfo two\ninfo three\n".to_owned()));
    assert_eq!(log(&api, "j-1-1/log?tailLines=1&container=subtask").await.1, "info three\n");
    assert_eq!(log(&api, "j-1-1/log?tailLines=1&timestamps=true").await.1, "2026-01-01T00:00:00Z info three\n");
    assert_eq!(log(&api, "j-1-1/log?limitBytes=8").await.1, "info one");
    assert_eq!(log(&api, "j-0-1/log").await, (StatusCode::OK, String::new()), "it logged nothing");
    assert_eq!(log(&api, "j-1-1/log?container=x").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(log(&api, "j-9-1/log").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn following_a_log_waits_for_the_attempt_to_end() {
    let api = with_pods(json!([run(1)])).await;
    let digest = Digest::of(&log_segment("info one\ninfo two\ninfo three\n"));
    // Index 1 runs: what the segment says of it is a later state.
    let mut before = assignment(json!([run(1)]), &digest);
    before["status"]["segments"] = json!([]);
    put(&api, Precondition::Any, &before).await;
    let request = Request::builder().uri(format!("{PODS}/j-1-1/log?follow=true"));
    let mut body = api.send(admin(), request, None).await.into_body().into_data_stream();
    put(&api, Precondition::Any, &assignment(json!([]), &digest)).await;
    let chunk = body.next().await.expect("a chunk").expect("bytes");
    assert_eq!(&chunk[..], b"info one\ninfo two\ninfo three\n");
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_watch_of_pods_follows_the_reports_of_nodes() {
    let api = with_pods(json!([run(2)])).await;
    let list = api.get(PODS).await;
    let version = list.body["metadata"]["resourceVersion"].as_str().expect("a version");
    let request = Request::builder().uri(format!("{PODS}?watch=true&resourceVersion={version}"));
    let mut body = api.send(admin(), request, None).await.into_body().into_data_stream();
    let digest = Digest::of(&log_segment("info one\ninfo two\ninfo three\n"));
    put(&api, Precondition::Any, &assignment(json!([run(3)]), &digest)).await;
    let chunk = body.next().await.expect("a chunk").expect("bytes");
    let text = String::from_utf8_lossy(&chunk).into_owned();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seen: Vec<_> = events.iter().map(|event| (&event["type"], &event["object"]["metadata"]["name"])).collect();
    assert!(seen.contains(&(&json!("DELETED"), &json!("j-2-1"))), "{seen:?}");
    assert!(seen.contains(&(&json!("ADDED"), &json!("j-3-1"))), "{seen:?}");
}
