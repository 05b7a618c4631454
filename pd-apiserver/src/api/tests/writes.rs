//! Updates, patches, apply, subresources.

use super::*;

async fn with_job() -> (Api, String) {
    let api = Api::with_task().await;
    assert_eq!(api.post(JOBS, job("j")).await.code, StatusCode::CREATED);
    (api, format!("{JOBS}/j"))
}

#[tokio::test]
async fn what_is_empty_in_metadata_is_not_there() {
    const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let api = Api::new().await;
    let metadata = json!({"name": "c", "labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []});
    let made = api.post(CONFIG_MAPS, json!({"metadata": metadata})).await;
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        assert_eq!(made.body["metadata"].get(key), None, "{key}");
    }
    let path = format!("{CONFIG_MAPS}/c");
    let same = api.patch(&path, MERGE, json!({"metadata": {"annotations": {}}})).await;
    assert_eq!(same.body, made.body);
    api.patch(&path, MERGE, json!({"metadata": {"labels": {"q": "1"}}})).await;
    let without = api.patch(&path, MERGE, json!({"metadata": {"labels": {"q": null}}})).await;
    assert_eq!(without.body["metadata"].get("labels"), None);
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_not_written() {
    let (api, uri) = with_job().await;
    let before = api.get(&uri).await.body;
    let revision = api.state.store.revision();
    for media in [MERGE, "application/merge-patch+json; charset=utf-8"] {
        assert_eq!(api.patch(&uri, media, json!({"spec": {"backoffLimitPerIndex": 3}})).await.body, before);
    }
    assert_eq!(api.put(&uri, before.clone()).await.body, before);
    assert_eq!(api.state.store.revision(), revision);
}

#[tokio::test]
async fn generation_counts_changes_of_the_spec_only() {
    let (api, uri) = with_job().await;
    let labelled = api.patch(&uri, MERGE, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled.body["metadata"]["generation"], 1);
    let scaled = api.patch(&uri, MERGE, json!({"spec": {"parallelism": 2}})).await;
    assert_eq!(scaled.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_stale_version_conflicts() {
    let (api, uri) = with_job().await;
    let stale = api.get(&uri).await.body;
    api.patch(&uri, MERGE, json!({"spec": {"parallelism": 2}})).await;
    let refused = api.put(&uri, stale.clone()).await;
    assert_eq!((refused.code, &refused.body["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    let version = &stale["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"parallelism": 3}});
    assert_eq!(api.patch(&uri, MERGE, patch).await.code, StatusCode::CONFLICT);
}

#[tokio::test]
async fn status_and_spec_have_separate_doors() {
    let (api, uri) = with_job().await;
    let body = json!({"spec": {"parallelism": 7}, "status": {"state": "Running"}});
    let main = api.patch(&uri, MERGE, body.clone()).await.body;
    assert_eq!((&main["spec"]["parallelism"], main.get("status")), (&json!(7), None));
    let mut other = body;
    other["spec"]["parallelism"] = 8.into();
    let status = api.patch(&format!("{uri}/status"), MERGE, other).await.body;
    assert_eq!((&status["spec"]["parallelism"], &status["status"]["state"]), (&json!(7), &json!("Running")));
    assert_eq!(status["metadata"]["generation"], 2);
}

#[tokio::test]
async fn scale_is_parallelism() {
    let (api, uri) = with_job().await;
    let scale = api.patch(&format!("{uri}/scale"), MERGE, json!({"spec": {"replicas": 5}})).await;
    assert_eq!((&scale.body["kind"], &scale.body["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    assert_eq!(api.get(&uri).await.body["spec"]["parallelism"], 5);
    let refused = api.patch(&format!("{uri}/scale"), MERGE, json!({"spec": {"replicas": -1}})).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn json_patch_tests_hold() {
    let (api, uri) = with_job().await;
    let patch = |value: u64| {
        json!([
            {"op": "test", "path": "/spec/backoffLimitPerIndex", "value": value},
            {"op": "add", "path": "/spec/parallelism", "value": 2},
        ])
    };
    assert_eq!(api.patch(&uri, JSON_PATCH, patch(9)).await.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.patch(&uri, JSON_PATCH, patch(3)).await.body["spec"]["parallelism"], 2);
    assert_eq!(api.patch(&uri, MERGE, json!([1])).await.code, StatusCode::BAD_REQUEST, "a list is no merge patch");
}

#[tokio::test]
async fn strategic_merge_is_for_built_in_kinds_only() {
    let (api, uri) = with_job().await;
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(api.patch(&uri, strategic, json!({})).await.code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    api.post("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let cordoned = api.patch("/api/v1/nodes/n", strategic, json!({"spec": {"unschedulable": true}})).await;
    assert_eq!(cordoned.body["spec"]["unschedulable"], true);
}

#[tokio::test]
async fn apply_creates_then_owns_then_gives_up() {
    let api = Api::with_task().await;
    let uri = format!("{JOBS}/j");
    let by = |manager: &str| format!("{uri}?fieldManager={manager}");
    let mut applied = job("j");
    applied["spec"]["parallelism"] = 2.into();
    let created = api.patch(&by("one"), APPLY, applied.clone()).await;
    assert_eq!(created.code, StatusCode::CREATED, "{created:?}");
    let revision = api.state.store.revision();
    assert_eq!(api.patch(&by("one"), APPLY, applied.clone()).await.code, StatusCode::OK);
    assert_eq!(api.state.store.revision(), revision, "the same again changes nothing");

    let other = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "spec": {"parallelism": 3}});
    let conflict = api.patch(&by("two"), APPLY, other.clone()).await;
    assert_eq!(conflict.code, StatusCode::CONFLICT);
    assert_eq!(causes(&conflict), [".spec.parallelism: conflict with \"one\" using processdistro.dev/v1"]);
    let forced = api.patch(&format!("{}&force=true", by("two")), APPLY, other).await;
    assert_eq!(forced.body["spec"]["parallelism"], 3);

    let nothing = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job"});
    let given_up = api.patch(&by("two"), APPLY, nothing).await;
    assert_eq!(given_up.code, StatusCode::OK, "{given_up:?}");
    assert_eq!(given_up.body["spec"].get("parallelism"), None, "owned by nobody: gone");
    assert_eq!(given_up.body["spec"]["task"]["name"], "echo");
    assert_eq!(api.patch(&uri, APPLY, applied).await.code, StatusCode::UNPROCESSABLE_ENTITY, "a manager is required");
}

#[tokio::test]
async fn apply_on_status_needs_no_spec_and_merges_conditions() {
    let (api, uri) = with_job().await;
    let condition = |type_: &str| {
        json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "status": {"conditions": [{
            "type": type_, "status": "True", "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}})
    };
    for (manager, type_) in [("one", "Planned"), ("two", "Complete")] {
        let answer = api.patch(&format!("{uri}/status?fieldManager={manager}"), APPLY, condition(type_)).await;
        assert_eq!(answer.code, StatusCode::OK, "{answer:?}");
    }
    let conditions = api.get(&uri).await.body["status"]["conditions"].clone();
    assert_eq!((&conditions[0]["type"], &conditions[1]["type"]), (&json!("Planned"), &json!("Complete")));
}
