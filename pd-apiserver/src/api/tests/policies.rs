//! What admission says of policies: dependencies, changed tasks, queues.

use super::*;

/// A job that waits for others.
fn waiting(name: &str, depends_on: &[&str]) -> Value {
    let mut job = job(name);
    job["spec"]["dependsOn"] = json!(depends_on);
    job
}

#[tokio::test]
async fn a_circle_of_dependencies_is_refused_and_spelled_out() {
    let api = Api::with_task().await;
    assert_eq!(api.post(JOBS, waiting("b", &["c"])).await.code, StatusCode::CREATED, "c may come later");
    assert_eq!(api.post(JOBS, waiting("c", &["d"])).await.code, StatusCode::CREATED);
    let mut last = job("d");
    last["spec"]["task"]["inputsFrom"] = json!({"a": {"job": "b"}});
    let refused = api.post(JOBS, last).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
    let circle = "the job would wait for itself: d -> b -> c -> d";
    assert_eq!(causes(&refused), [format!("spec.task.inputsFrom[a].job: Invalid value: {circle}")]);
    let own = api.post(JOBS, waiting("e", &["e"])).await;
    assert!(causes(&own)[0].ends_with("e -> e"), "{own:?}");

    assert_eq!(api.post(JOBS, job("d")).await.code, StatusCode::CREATED);
    let refused = api.patch(&format!("{JOBS}/d"), MERGE, json!({"spec": {"dependsOn": ["b"]}})).await;
    assert_eq!(causes(&refused), [format!("spec.dependsOn[0]: Invalid value: {circle}")]);
}

#[tokio::test]
async fn an_input_of_another_job_must_be_one_that_the_task_reads() {
    let api = Api::with_task().await;
    let mut wrong = job("j");
    wrong["spec"]["task"]["inputsFrom"] = json!({"b": {"job": "other"}});
    let refused = api.post(JOBS, wrong).await;
    assert_eq!(
        causes(&refused),
        ["spec.task.inputsFrom[b]: Unsupported value: \"b\": the task reads a"],
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_job_that_may_start_over_takes_other_params() {
    let api = Api::with_task().await;
    let digest = Digest::of(b"a component");
    api.post(JOBS, job("j")).await;
    let uri = format!("{JOBS}/j");
    let change = |count: i64| json!({"spec": {"updatePolicy": "Rerun", "task": {"params": {"count": count}}}});
    // The component of this Task is not stored, so its contract cannot be read anew: an error, not a silent yes.
    let refused = api.patch(&uri, MERGE, change(4)).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(causes(&refused)[0].contains(&digest.to_string()), "{refused:?}");
    let live = api.patch(&uri, MERGE, json!({"spec": {"updatePolicy": "Rerun", "priority": 5, "suspend": true}})).await;
    assert_eq!((live.code, &live.body["metadata"]["generation"]), (StatusCode::OK, &json!(2)));
}

#[tokio::test]
async fn a_cancelled_job_does_not_come_back() {
    let api = Api::with_task().await;
    api.post(JOBS, job("j")).await;
    let uri = format!("{JOBS}/j");
    assert_eq!(api.patch(&uri, MERGE, json!({"spec": {"cancel": true}})).await.code, StatusCode::OK);
    let refused = api.patch(&uri, MERGE, json!({"spec": {"cancel": false}})).await;
    assert!(causes(&refused)[0].starts_with("spec.cancel: Forbidden: a cancelled Job does not come back"));
}

#[tokio::test]
async fn a_queue_is_cluster_scoped_and_only_admins_write_it() {
    let api = Api::new().await;
    let uri = "/apis/processdistro.dev/v1/queues";
    let queue = json!({"apiVersion": "processdistro.dev/v1", "kind": "Queue", "metadata": {"name": "q"}, "spec": {}});
    let created = api.post(uri, queue.clone()).await;
    assert_eq!((created.code, &created.body["spec"]["weight"]), (StatusCode::CREATED, &json!(1)));
    let refused = api.patch(&format!("{uri}/q"), MERGE, json!({"spec": {"quota": {"slots": 0}}})).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
    let editor = identity("editor", groups::EDITORS);
    let denied = api.call_as(editor, Method::POST, uri, "application/json", Some(&queue)).await;
    assert_eq!(denied.code, StatusCode::FORBIDDEN);
}
