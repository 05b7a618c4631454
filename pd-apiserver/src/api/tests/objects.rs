//! Admission, defaults and the life of objects.

use super::*;

#[tokio::test]
async fn a_job_is_stored_with_its_defaults_and_its_component() {
    let api = Api::with_task().await;
    let created = api.post(JOBS, job("j")).await;
    assert_eq!(created.code, StatusCode::CREATED, "{created:?}");
    let (spec, metadata) = (&created.body["spec"], &created.body["metadata"]);
    assert_eq!(spec["task"]["module"], Digest::of(b"a component").to_string());
    assert_eq!(spec["backoffLimitPerIndex"], 3);
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["managedFields"][0]["manager"], "test");
    assert!(metadata["uid"].is_string() && metadata["resourceVersion"].is_string());

    let again = api.post(JOBS, job("j")).await;
    assert_eq!((again.code, &again.body["reason"]), (StatusCode::CONFLICT, &json!("AlreadyExists")));
}

#[tokio::test]
async fn every_wrong_field_of_a_job_is_named_at_once() {
    let api = Api::with_task().await;
    let mut wrong = job("j");
    wrong["spec"]["task"]["params"] = json!({"count": 0, "cuont": 1});
    wrong["spec"]["task"]["inputs"] = json!({"b": Digest::of(b""), "a": Digest::of(b"missing")});
    let refused = api.post(JOBS, wrong).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
    let causes = causes(&refused).join("\n");
    for part in ["params.count:", "did you mean \"count\"?", "inputs[b]: Unsupported", "inputs[a]: Not found"] {
        assert!(causes.contains(part), "{part} in:\n{causes}");
    }

    let mut twice = job("j");
    twice["metadata"]["labels"] = json!({"a b": "c"});
    twice["spec"]["timeout"] = "0s".into();
    let refused = super::causes(&api.post(JOBS, twice).await);
    let named = |part: &str| refused.iter().any(|cause| cause.starts_with(part));
    assert!(named("metadata.labels: ") && named("spec.timeout: "), "metadata and spec in {refused:?}");

    let mut typo = job("j");
    typo["spec"]["task"]["name"] = "ehco".into();
    let refused = api.post(JOBS, typo).await;
    assert_eq!(super::causes(&refused), ["spec.task.name: Not found: \"ehco\": did you mean \"echo\"?"]);
    assert_eq!(api.get(JOBS).await.body["items"], json!([]), "nothing is stored");
}

#[tokio::test]
async fn unknown_and_duplicate_fields_are_treated_as_asked() {
    let api = Api::with_task().await;
    let mut typo = job("j");
    typo["spec"]["paralelism"] = 1.into();
    let refused = api.post(&format!("{JOBS}?fieldValidation=Strict"), typo.clone()).await;
    assert_eq!(refused.code, StatusCode::BAD_REQUEST);
    assert_eq!(
        refused.body["message"],
        "strict decoding error: unknown field \"spec.paralelism\" (did you mean \"parallelism\"?)"
    );
    let warned = api.post(&format!("{JOBS}?dryRun=All"), typo).await;
    assert_eq!(warned.code, StatusCode::CREATED);
    assert!(warned.warning.is_some_and(|text| text.starts_with("299 - \"unknown field \\\"spec.paralelism\\\"")));
    assert_eq!(warned.body["spec"].get("paralelism"), None);
    assert_eq!(api.get(&format!("{JOBS}/j")).await.code, StatusCode::NOT_FOUND, "a dry run stores nothing");
}

#[tokio::test]
async fn what_a_job_computes_cannot_change() {
    let api = Api::with_task().await;
    api.post(JOBS, job("j")).await;
    let uri = format!("{JOBS}/j");
    let refused = api.patch(&uri, MERGE, json!({"spec": {"task": {"params": {"count": 4}}}})).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(causes(&refused)[0].starts_with("spec.task.params: Forbidden: field is immutable"));
    let kept = api.put(&uri, job("j")).await;
    assert_eq!(kept.code, StatusCode::OK, "the manifest without the filled-in module is no change: {kept:?}");
    assert_eq!(kept.body["metadata"]["generation"], 1);
}

#[tokio::test]
async fn a_task_without_its_component_is_refused() {
    let api = Api::new().await;
    let tasks = "/apis/processdistro.dev/v1/namespaces/default/tasks";
    let task = |module: Value| json!({"metadata": {"name": "t"}, "spec": {"module": module}});
    let missing = api.post(tasks, task(json!(Digest::of(b"x")))).await;
    assert_eq!(missing.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(causes(&missing)[0].starts_with("spec.module: Not found"), "{missing:?}");

    let bytes = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"plain text"))]);
    api.state.artifacts.put(Digest::of(b"plain text"), bytes, 1 << 20).await.expect("stored");
    let refused = api.post(tasks, task(json!(Digest::of(b"plain text")))).await;
    assert!(causes(&refused)[0].contains("not WebAssembly at all"), "{refused:?}");
    let malformed = api.post(tasks, task(json!("latest"))).await;
    assert!(causes(&malformed)[0].contains("must be a digest"), "{malformed:?}");
}

#[tokio::test]
async fn a_token_s_secret_is_answered_once_and_never_stored() {
    let api = Api::new().await;
    let tokens = "/apis/processdistro.dev/v1/tokens";
    let created = api.post(tokens, json!({"metadata": {"generateName": "t-"}, "spec": {"role": "Admin"}})).await;
    assert_eq!(created.code, StatusCode::CREATED, "{created:?}");
    let name = created.body["metadata"]["name"].as_str().expect("a name");
    let secret = created.body["status"]["token"].as_str().expect("a secret");
    assert!(name.starts_with("t-") && secret.starts_with(&format!("{name}.")));
    let read = api.get(&format!("{tokens}/{name}")).await;
    assert_eq!(read.body["status"].get("token"), None);
    assert!(read.body["status"]["secretSha256"].is_string());
}

#[tokio::test]
async fn a_namespace_must_exist_and_some_stay() {
    let api = Api::with_task().await;
    let elsewhere = api.post(&JOBS.replace("default", "nope"), job("j")).await;
    assert_eq!(elsewhere.code, StatusCode::NOT_FOUND);
    assert_eq!(elsewhere.body["message"], "namespaces \"nope\" not found");
    assert_eq!(api.delete("/api/v1/namespaces/default", None).await.code, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_one_goes() {
    let api = Api::with_task().await;
    let mut held = job("j");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.post(JOBS, held).await;
    let uri = format!("{JOBS}/j");
    let pending = api.delete(&uri, None).await;
    assert_eq!(pending.body["kind"], "Job");
    assert!(pending.body["metadata"]["deletionTimestamp"].is_string());
    let more = api.patch(&uri, MERGE, json!({"metadata": {"finalizers": ["example.com/hold", "example.com/x"]}})).await;
    assert_eq!(more.code, StatusCode::UNPROCESSABLE_ENTITY);
    let freed = api.patch(&uri, JSON_PATCH, json!([{"op": "remove", "path": "/metadata/finalizers"}])).await;
    assert_eq!(freed.code, StatusCode::OK);
    assert_eq!(api.get(&uri).await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn delete_honours_its_preconditions() {
    let api = Api::with_task().await;
    api.post(JOBS, job("j")).await;
    let uri = format!("{JOBS}/j");
    let refused = api.delete(&uri, Some(json!({"preconditions": {"uid": "another"}}))).await;
    assert_eq!(refused.code, StatusCode::CONFLICT);
    let dry = api.delete(&uri, Some(json!({"dryRun": ["All"]}))).await;
    assert_eq!(dry.body["status"], "Success");
    let gone = api.delete(&format!("{uri}?propagationPolicy=Background"), None).await;
    assert_eq!(gone.body["details"]["kind"], "jobs");
    assert_eq!(api.delete(&uri, None).await.body["message"], "jobs.processdistro.dev \"j\" not found");
}

#[tokio::test]
async fn dependents_go_with_their_owner() {
    let api = Api::with_task().await;
    let collector = tokio::spawn(crate::api::collect_garbage(api.state.clone()));
    let uid = api.post(JOBS, job("j")).await.body["metadata"]["uid"].clone();
    let events = "/api/v1/namespaces/default/events";
    let owner = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "name": "j", "uid": uid});
    let event = json!({
        "metadata": {"name": "e", "ownerReferences": [owner]}, "involvedObject": {"kind": "Job", "name": "j"},
    });
    assert_eq!(api.post(events, event).await.code, StatusCode::CREATED);
    api.delete(&format!("{JOBS}/j"), None).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while api.get(&format!("{events}/e")).await.code != StatusCode::NOT_FOUND {
        assert!(tokio::time::Instant::now() < deadline, "the dependent is still there");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    api.state.stop.cancel();
    collector.await.expect("the collector ends");
}
