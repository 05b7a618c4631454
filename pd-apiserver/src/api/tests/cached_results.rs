//! CachedResults: only what is there may be named, and only the reconciler says what was computed.

use super::*;

const CACHED: &str = "/apis/processdistro.dev/v1/namespaces/default/cachedresults";

async fn store(api: &Api, bytes: &'static [u8]) -> Digest {
    let digest = Digest::of(bytes);
    let body = futures::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(bytes))]);
    api.state.artifacts.put(digest, body, 1 << 20).await.expect("stored");
    digest
}

fn cached(segment: &Digest) -> Value {
    let key = Digest::of(b"the work");
    json!({
        "apiVersion": "processdistro.dev/v1", "kind": "CachedResult", "metadata": {"name": key.hex()},
        "spec": {
            "key": key, "job": "j", "count": 3, "bytes": 9, "lastUsed": "2026-01-01T00:00:00Z",
            "layout": {"subtasks": 3, "mediaType": "text/plain"},
            "outputs": {"segments": [{"digest": segment, "size": 9, "indexes": "0-2"}]},
        },
    })
}

#[tokio::test]
async fn whoever_uses_one_learns_that_an_artifact_is_gone() {
    let api = Api::new().await;
    let missing = Digest::of(b"never stored");
    let refused = api.post(CACHED, cached(&missing)).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(causes(&refused)[0].starts_with("spec.outputs: Not found"), "{refused:?}");

    let segment = store(&api, b"a segment").await;
    let created = api.post(CACHED, cached(&segment)).await;
    assert_eq!(created.code, StatusCode::CREATED, "{created:?}");
    let uri = format!("{CACHED}/{}", Digest::of(b"the work").hex());
    let used = json!({"spec": {"lastUsed": "2026-02-01T00:00:00Z"}});
    assert_eq!(api.patch(&uri, MERGE, used.clone()).await.code, StatusCode::OK);
    api.state.artifacts.delete(&segment).await.expect("deleted");
    let refused = api.patch(&uri, MERGE, json!({"spec": {"lastUsed": "2026-03-01T00:00:00Z"}})).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
}

#[tokio::test]
async fn users_may_delete_them_and_not_make_them_up() {
    let api = Api::new().await;
    let entry = cached(&store(&api, b"a segment").await);
    let uri = format!("{CACHED}/{}", Digest::of(b"the work").hex());
    let editor = || identity("editor", groups::EDITORS);
    let forged = api.call_as(editor(), Method::POST, CACHED, "application/json", Some(&entry)).await;
    assert_eq!(forged.code, StatusCode::FORBIDDEN);
    let reconciler = identity("system:reconciler", groups::RECONCILERS);
    let written = api.call_as(reconciler, Method::POST, CACHED, "application/json", Some(&entry)).await;
    assert_eq!(written.code, StatusCode::CREATED, "{written:?}");
    assert_eq!(api.call_as(editor(), Method::GET, &uri, "", None).await.code, StatusCode::OK);
    assert_eq!(api.call_as(editor(), Method::DELETE, &uri, "", None).await.code, StatusCode::OK);
}
