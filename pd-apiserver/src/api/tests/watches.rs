//! Watches, read as a client reads them.

use std::time::Duration;

use futures::StreamExt;

use super::*;

/// The events of one watch.
struct Events {
    body: axum::body::BodyDataStream,
    lines: Vec<u8>,
}

impl Events {
    async fn open(api: &Api, uri: &str, accept: &str) -> Self {
        let request = Request::builder().uri(uri).header(header::ACCEPT, accept);
        let response = api.send(admin(), request, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body().into_data_stream(), lines: Vec::new() }
    }

    /// The next event; `None`: the server ended the watch.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(10), self.body.next()).await.expect("an event in time");
            self.lines.extend(chunk?.expect("a chunk"));
        }
    }

    async fn expect(&mut self, type_: &str, name: &str) {
        let event = self.next().await.expect("an event");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!(type_), &json!(name)), "{event}");
    }
}

#[tokio::test]
async fn a_watch_from_a_list_loses_and_repeats_nothing() {
    let api = Api::with_task().await;
    api.post(JOBS, job("a")).await;
    let version = api.get(JOBS).await.body["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut events = Events::open(&api, &format!("{JOBS}?watch=true&resourceVersion={version}"), "").await;
    api.post(JOBS, job("b")).await;
    api.patch(&format!("{JOBS}/a"), MERGE, json!({"spec": {"parallelism": 1}})).await;
    api.delete(&format!("{JOBS}/b"), None).await;
    events.expect("ADDED", "b").await;
    events.expect("MODIFIED", "a").await;
    events.expect("DELETED", "b").await;
}

#[tokio::test]
async fn without_a_version_the_present_state_comes_first() {
    let api = Api::with_task().await;
    api.post(JOBS, job("a")).await;
    let mut events = Events::open(&api, &format!("{JOBS}?watch=1&timeoutSeconds=1"), "").await;
    events.expect("ADDED", "a").await;
    assert_eq!(events.next().await, None, "timeoutSeconds ends it");
}

#[tokio::test]
async fn a_watch_that_ends_says_how_far_it_has_come() {
    let api = Api::with_task().await;
    api.post(JOBS, job("a")).await;
    let options = "watch=1&timeoutSeconds=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da";
    let mut events = Events::open(&api, &format!("{JOBS}?{options}"), "").await;
    events.expect("ADDED", "a").await;
    // None of the client's business, but of its version.
    api.post(JOBS, job("b")).await;
    let bookmark = events.next().await.expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    let newest = api.state.store.revision().to_string();
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], newest.as_str());
    assert_eq!(events.next().await, None, "timeoutSeconds ends it");
}

#[tokio::test]
async fn entering_and_leaving_a_selector_are_added_and_deleted() {
    let api = Api::with_task().await;
    api.post(JOBS, job("a")).await;
    // Without a version the first list would race the patches below.
    let version = api.state.store.revision();
    let query = format!("{JOBS}?watch=1&labelSelector=on&resourceVersion={version}");
    let mut events = Events::open(&api, &query, "").await;
    let uri = format!("{JOBS}/a");
    api.patch(&uri, MERGE, json!({"metadata": {"labels": {"on": "1"}}})).await;
    api.patch(&uri, MERGE, json!({"metadata": {"labels": {"on": "2"}}})).await;
    api.patch(&uri, MERGE, json!({"metadata": {"labels": {"on": null}}})).await;
    for type_ in ["ADDED", "MODIFIED", "DELETED"] {
        events.expect(type_, "a").await;
    }
}

#[tokio::test]
async fn a_streaming_list_ends_its_first_part_with_a_bookmark() {
    let api = Api::with_task().await;
    api.post(JOBS, job("a")).await;
    let options = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = Events::open(&api, &format!("{JOBS}?{options}"), "").await;
    events.expect("ADDED", "a").await;
    let bookmark = events.next().await.expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_version_of_another_store_expires() {
    let api = Api::new().await;
    let mut events = Events::open(&api, &format!("{JOBS}?watch=1&resourceVersion=999999"), "").await;
    let error = events.next().await.expect("an event");
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn table_events_are_tables_of_one_row() {
    let api = Api::with_task().await;
    let mut events = Events::open(&api, &format!("{JOBS}?watch=1&resourceVersion=1"), TABLE).await;
    api.post(JOBS, job("a")).await;
    let event = events.next().await.expect("an event");
    assert_eq!((&event["object"]["kind"], &event["object"]["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    api.state.stop.cancel();
    assert_eq!(events.next().await, None, "a stopping server ends its watches");
}
