//! What the server's configuration does to what is written.

use std::sync::Arc;

use daemon::settings::Settings;
use schemas::configuration::Configuration;
use serde_json::json;

use super::*;

async fn configured(change: impl FnOnce(&mut Configuration)) -> Api {
    let mut api = Api::with_task().await;
    let mut configuration = Configuration::default();
    change(&mut configuration);
    Arc::get_mut(&mut api.state).expect("nobody else has it").settings = Arc::new(Settings::fixed(configuration));
    api
}

#[tokio::test]
async fn what_a_job_leaves_open_is_as_configured() {
    let api = configured(|configuration| {
        configuration.controller.task_timeout = schemas::Duration::from_millis(7_000);
        configuration.performance.max_retries = 9;
        configuration.performance.retry_delay = schemas::Duration::from_millis(5_000);
    })
    .await;
    let mut own = job("own");
    own["spec"]["backoffLimitPerIndex"] = 1.into();
    for (object, retries) in [(job("open"), 9), (own, 1)] {
        let spec = api.post(JOBS, object).await.body["spec"].clone();
        assert_eq!((&spec["subtaskTimeout"], &spec["retryDelay"]), (&json!("7s"), &json!("5s")));
        assert_eq!(spec["backoffLimitPerIndex"], retries);
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_configured_and_a_join_token_does_not() {
    let api = configured(|configuration| {
        configuration.security.token_duration = schemas::Duration::from_millis(90 * 60_000);
    })
    .await;
    for (role, ttl) in [("View", "1h 30m"), ("Join", "1h")] {
        let token = json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Token", "metadata": {"name": role.to_lowercase()},
            "spec": {"role": role},
        });
        let created = api.post("/apis/processdistro.dev/v1/tokens", token).await;
        assert_eq!(created.body["spec"]["ttl"], ttl, "{created:?}");
    }
}

#[tokio::test]
async fn a_job_that_wants_more_than_a_sandbox_may_have_is_refused() {
    let api = configured(|configuration| {
        configuration.security.sandbox_memory_limit = schemas::ByteSize(32 << 20);
    })
    .await;
    let mut small = job("small");
    small["spec"]["resources"] = json!({"memory": "32Mi"});
    assert_eq!(api.post(JOBS, small).await.code, StatusCode::CREATED);
    let refused = api.post(JOBS, job("default")).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
    let causes = causes(&refused).join("\n");
    assert!(causes.contains("must be at most 32Mi, the cluster's security.sandbox_memory_limit"), "{causes}");
}

#[tokio::test]
async fn a_job_beyond_the_queue_is_told_to_come_again() {
    let api = configured(|configuration| configuration.performance.task_queue_size = 2).await;
    for name in ["a", "b"] {
        assert_eq!(api.post(JOBS, job(name)).await.code, StatusCode::CREATED);
    }
    let refused = api.post(JOBS, job("c")).await;
    assert_eq!(refused.code, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert!(refused.body["details"]["retryAfterSeconds"].is_u64(), "{refused:?}");

    let now = "2026-01-31T12:00:00Z";
    let ended = json!({"status": {"conditions": [
        {"type": "Complete", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": now},
    ]}});
    let uri = format!("{JOBS}/a/status");
    assert_eq!(api.patch(&uri, "application/merge-patch+json", ended).await.code, StatusCode::OK);
    assert_eq!(api.post(JOBS, job("c")).await.code, StatusCode::CREATED, "one has ended");
    api.delete(&format!("{JOBS}/b"), None).await;
    assert_eq!(api.post(JOBS, job("d")).await.code, StatusCode::CREATED, "one is deleted");
    assert_eq!(api.post(JOBS, job("e")).await.code, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_node_beyond_the_most_is_refused_and_one_that_was_there_comes_back() {
    let api = configured(|configuration| configuration.controller.max_nodes = 1).await;
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let nodes = "/api/v1/nodes";
    let create =
        async |name: &str| api.call_as(node(name), Method::POST, nodes, "application/json", Some(&object(name))).await;
    assert_eq!(create("one").await.code, StatusCode::CREATED);
    let refused = create("two").await;
    assert_eq!(refused.code, StatusCode::FORBIDDEN);
    let message = refused.body["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("controller.max_nodes is 1"), "{message}");
    assert_eq!(create("one").await.code, StatusCode::CONFLICT, "it is there already: not a matter of room");
}
