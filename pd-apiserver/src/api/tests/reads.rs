//! Discovery, lists, selectors, pages, tables.

use super::*;

async fn with_jobs(names: &[&str]) -> Api {
    let api = Api::with_task().await;
    for name in names {
        let mut job = job(name);
        job["metadata"]["labels"] = json!({"first": name.chars().next().map(String::from)});
        assert_eq!(api.post(JOBS, job).await.code, StatusCode::CREATED);
    }
    api
}

fn names(answer: &Answer) -> Vec<String> {
    let items = answer.body["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn discovery_lists_our_group_first_in_both_forms() {
    let api = Api::new().await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let groups = api.get_as("/apis", aggregated).await.body;
    assert_eq!(groups["kind"], "APIGroupDiscoveryList");
    assert_eq!(groups["items"][0]["metadata"]["name"], "processdistro.dev");
    let legacy = api.get("/apis").await.body;
    assert_eq!(legacy["groups"][0]["name"], "processdistro.dev");
    let resources = api.get("/apis/processdistro.dev/v1").await.body;
    let names: Vec<_> = resources["resources"].as_array().expect("a list").iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names[..3], ["jobs", "jobs/scale", "jobs/status"].map(Value::from));
    assert_eq!(api.get("/version/").await.body["major"], "1");
    assert_eq!(api.get("/openapi/v2").await.code, StatusCode::NOT_FOUND);
    assert_eq!(api.get("/nothing/here").await.body["reason"], "NotFound");
}

#[tokio::test]
async fn selectors_select_and_unknown_ones_are_refused() {
    let api = with_jobs(&["a1", "a2", "b1"]).await;
    assert_eq!(names(&api.get(&format!("{JOBS}?labelSelector=first%3Da")).await), ["a1", "a2"]);
    assert_eq!(names(&api.get(&format!("{JOBS}?labelSelector=first%20notin%20(a)")).await), ["b1"]);
    assert_eq!(names(&api.get(&format!("{JOBS}?fieldSelector=metadata.name%3Da2")).await), ["a2"]);
    assert_eq!(names(&api.get("/apis/processdistro.dev/v1/jobs?fieldSelector=metadata.name%3Da2").await), ["a2"]);
    let refused = api.get(&format!("{JOBS}?fieldSelector=spec.color%3Dred")).await;
    assert_eq!(refused.code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_are_of_one_snapshot() {
    let api = with_jobs(&["a", "b", "c"]).await;
    let first = api.get(&format!("{JOBS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 1);
    assert_eq!(api.post(JOBS, job("d")).await.code, StatusCode::CREATED);
    let next = first.body["metadata"]["continue"].as_str().expect("a token");
    let second = api.get(&format!("{JOBS}?limit=2&continue={next}")).await;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second.body["metadata"].get("continue"), None);
    assert_eq!(second.body["metadata"]["resourceVersion"], first.body["metadata"]["resourceVersion"]);
    assert_eq!(api.get(&format!("{JOBS}?continue=rubbish")).await.code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_page_whose_state_is_gone_can_be_gone_on_with_as_things_are_now() {
    const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let api = Api::new().await;
    let make = async |name: String| {
        assert_eq!(api.post(CONFIG_MAPS, json!({"metadata": {"name": name}})).await.code, StatusCode::CREATED);
    };
    for name in ["a", "c", "d", "f"] {
        make(name.to_owned()).await;
    }
    let abandoned = api.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    make("b".to_owned()).await;
    let used = api.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    let token = |answer: &Answer| answer.body["metadata"]["continue"].as_str().expect("a token").to_owned();
    let mut next = token(&used);
    // Each list after a write needs a state of its own; one that is in use is kept.
    for number in 0..100 {
        make(format!("z-{number}")).await;
        api.get(&format!("{CONFIG_MAPS}?limit=1")).await;
        if number == 50 {
            let page = api.get(&format!("{CONFIG_MAPS}?limit=2&continue={next}")).await;
            assert_eq!(names(&page), ["b", "c"]);
            next = token(&page);
        }
    }
    assert_eq!(names(&api.get(&format!("{CONFIG_MAPS}?limit=1&continue={next}")).await), ["d"]);
    let gone = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={}", token(&abandoned))).await;
    assert_eq!((gone.code, &gone.body["reason"]), (StatusCode::GONE, &json!("Expired")), "{gone:?}");
    let page = api.get(&format!("{CONFIG_MAPS}?limit=3&resourceVersion=0&continue={}", token(&gone))).await;
    assert_eq!(names(&page), ["b", "c", "d"]);
    assert_eq!(names(&api.get(&format!("{CONFIG_MAPS}?limit=1&continue={}", token(&page))).await), ["f"]);
    let exact = api.get(&format!("{CONFIG_MAPS}?limit=1&resourceVersion=2&resourceVersionMatch=Exact")).await;
    assert_eq!(exact.body["message"], "The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn tables_and_metadata_come_when_they_are_asked_for() {
    let api = with_jobs(&["a"]).await;
    let table = api.get_as(JOBS, TABLE).await.body;
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    assert_eq!(table["columnDefinitions"][1]["name"], "Task");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = api.get_as(JOBS, partial).await.body;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0].get("spec"), None);
    assert_eq!(api.get_as(JOBS, "text/html").await.code, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn subtasks_of_a_million_are_paged_without_being_made() {
    let api = with_jobs(&["big"]).await;
    let status = json!({
        "subtasks": {"total": 1_000_000, "succeeded": 4, "failed": 0, "running": 0, "pending": 999_996},
        "layout": {"subtasks": 1_000_000, "mediaType": "x/y"}, "completedIndexes": "0-1,7-8",
    });
    let patched = api.patch(&format!("{JOBS}/big/status"), MERGE, json!({"status": status})).await;
    assert_eq!(patched.code, StatusCode::OK, "{patched:?}");
    let subtasks = JOBS.replace("jobs", "subtasks");
    let done = "labelSelector=processdistro.dev/job%3Dbig&fieldSelector=status.phase%3DSucceeded";
    let first = api.get(&format!("{subtasks}?{done}&limit=3")).await;
    assert_eq!(names(&first), ["big-0", "big-1", "big-7"]);
    let next = first.body["metadata"]["continue"].as_str().expect("a token");
    assert_eq!(names(&api.get(&format!("{subtasks}?{done}&limit=3&continue={next}")).await), ["big-8"]);
    assert_eq!(api.get(&format!("{subtasks}/big-999999")).await.body["status"]["phase"], "Pending");
    assert_eq!(api.get(&format!("{subtasks}/big-1000000")).await.code, StatusCode::NOT_FOUND);
    assert_eq!(api.delete(&format!("{subtasks}/big-1"), None).await.code, StatusCode::METHOD_NOT_ALLOWED);
}
