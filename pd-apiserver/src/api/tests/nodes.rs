//! What nodes may and may not: assignments, reports, certificates.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

const ASSIGNMENTS: &str = "/apis/processdistro.dev/v1/namespaces/default/assignments";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

async fn with_assignment() -> Api {
    let api = Api::with_task().await;
    let assignment = json!({
        "metadata": {"name": "a"},
        "spec": {
            "job": {"name": "j", "uid": "u"}, "nodeName": "n1", "nodeUid": "uid-1", "plan": true,
            "work": {"module": Digest::of(b"a component"), "params": {}, "memory": "64Mi", "subtaskTimeout": "5m"},
        },
    });
    let created = api.post(ASSIGNMENTS, assignment).await;
    assert_eq!(created.code, StatusCode::CREATED, "{created:?}");
    api
}

async fn report(api: &Api, who: Identity, status: Value) -> Answer {
    let mut object = api.get(&format!("{ASSIGNMENTS}/a")).await.body;
    object["status"] = status;
    api.call_as(who, Method::PUT, &format!("{ASSIGNMENTS}/a/status"), "application/json", Some(&object)).await
}

#[tokio::test]
async fn a_node_reports_on_its_own_assignment() {
    let api = with_assignment().await;
    let done = report(&api, node("n1"), json!({"nodeUid": "uid-1", "observedGeneration": 1})).await;
    assert_eq!(done.code, StatusCode::OK, "{done:?}");
    let other = report(&api, node("n2"), json!({"nodeUid": "uid-1"})).await;
    assert_eq!(other.code, StatusCode::FORBIDDEN);
    let former = report(&api, node("n1"), json!({"nodeUid": "uid-0"})).await;
    assert_eq!(former.code, StatusCode::CONFLICT, "a node of that name that joined anew is another one");
}

#[tokio::test]
async fn a_report_of_an_artifact_that_is_not_there_is_refused() {
    let api = with_assignment().await;
    let layout = json!({"subtasks": 1, "mediaType": "x/y", "state": Digest::of(b"state")});
    let status = json!({"nodeUid": "uid-1", "plan": {"layout": layout}});
    let refused = report(&api, node("n1"), status.clone()).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(causes(&refused)[0].starts_with("status.plan.layout.state: Not found"));
    let bytes = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"state"))]);
    api.state.artifacts.put(Digest::of(b"state"), bytes, 1 << 20).await.expect("stored");
    assert_eq!(report(&api, node("n1"), status).await.code, StatusCode::OK);
}

#[tokio::test]
async fn a_node_reads_only_its_own_assignments() {
    let api = with_assignment().await;
    let uri = format!("{ASSIGNMENTS}/a");
    let get = |who| api.call_as(who, Method::GET, &uri, "", None);
    assert_eq!(get(node("n1")).await.code, StatusCode::OK);
    assert_eq!(get(node("n2")).await.code, StatusCode::FORBIDDEN);
    let all = api.call_as(node("n1"), Method::GET, ASSIGNMENTS, "", None).await;
    assert_eq!(all.code, StatusCode::FORBIDDEN);
}

/// A PEM request for a fresh key of `name`.
fn request(name: &str) -> Value {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    let mut subject = rcgen::DistinguishedName::new();
    subject.push(rcgen::DnType::CommonName, format!("node:{name}"));
    subject.push(rcgen::DnType::OrganizationName, groups::NODES);
    params.distinguished_name = subject;
    let pem = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
    json!({
        "metadata": {"generateName": "node-"},
        "spec": {"signerName": "processdistro.dev/node", "usages": ["client auth"], "request": STANDARD.encode(pem)},
    })
}

#[tokio::test]
async fn a_join_token_signs_one_key_and_that_one_again() {
    let api = Api::new().await;
    let token = api.post(
        "/apis/processdistro.dev/v1/tokens",
        json!({
            "metadata": {"name": "join"}, "spec": {"role": "Join"},
        }),
    );
    assert_eq!(token.await.code, StatusCode::CREATED);
    let joiner = || Identity { token: Some("join".to_owned()), ..identity("join", groups::BOOTSTRAPPERS) };
    let ask = |body: Value| {
        let api = &api;
        async move { api.call_as(joiner(), Method::POST, REQUESTS, "application/json", Some(&body)).await }
    };
    let wanted = request("n1");
    for _ in 0..2 {
        let signed = ask(wanted.clone()).await;
        assert_eq!(signed.code, StatusCode::CREATED, "{signed:?}");
        assert!(signed.body["status"]["certificate"].is_string());
    }
    assert_eq!(api.get("/apis/processdistro.dev/v1/tokens/join").await.body["status"]["used"], true);
    assert_eq!(ask(request("n1")).await.code, StatusCode::FORBIDDEN, "another key");
}

#[tokio::test]
async fn a_node_renews_only_itself() {
    let api = Api::new().await;
    let mut named = request("n1");
    named["metadata"] = json!({"name": "renewal"});
    let ask = |who, body: Value| {
        let api = &api;
        async move { api.call_as(who, Method::POST, REQUESTS, "application/json", Some(&body)).await }
    };
    assert_eq!(ask(node("n2"), named.clone()).await.code, StatusCode::FORBIDDEN);
    let first = ask(node("n1"), named.clone()).await;
    assert_eq!(first.code, StatusCode::CREATED, "{first:?}");
    assert_eq!(ask(node("n1"), named).await.body, first.body, "a lost answer is given again");
    let mut other = request("n1");
    other["spec"]["signerName"] = "example.com/x".into();
    assert_eq!(ask(node("n1"), other).await.code, StatusCode::UNPROCESSABLE_ENTITY);
}
