//! The kinds that Kubernetes itself has: plain stores, reviews, usage.

use super::*;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[tokio::test]
async fn config_maps_and_secrets_are_stored_as_they_are() {
    let api = Api::new().await;
    let made = api
        .post(CONFIG_MAPS, json!({"metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"b": "AP8="}}))
        .await;
    assert_eq!(made.code, StatusCode::CREATED, "{made:?}");
    let patched = api
        .patch(&format!("{CONFIG_MAPS}/c"), "application/strategic-merge-patch+json", json!({"data": {"z": "2"}}))
        .await;
    assert_eq!(patched.body["data"], json!({"a": "1", "z": "2"}));
    let secret = api.post(SECRETS, json!({"metadata": {"name": "s"}, "stringData": {"password": "x"}})).await;
    assert_eq!((&secret.body["type"], &secret.body["data"]), (&json!("Opaque"), &json!({"password": "eA=="})));
    let refused = api.patch(&format!("{SECRETS}/s"), MERGE, json!({"type": "other"})).await;
    assert_eq!(causes(&refused), ["type: Invalid value: \"other\": field is immutable"]);
    let table = api.get_as(SECRETS, TABLE).await.body;
    assert_eq!(table["rows"][0]["cells"].as_array().expect("cells")[..3], [json!("s"), json!("Opaque"), json!("1")]);
    let chosen = api.get(&format!("{SECRETS}?fieldSelector=type%3DOpaque")).await;
    assert_eq!(chosen.body["items"].as_array().map(Vec::len), Some(1));
    let viewer = api.call_as(identity("v", groups::VIEWERS), Method::GET, SECRETS, "", None).await;
    assert_eq!(viewer.code, StatusCode::FORBIDDEN);
}

/// A message of field 1 and 2, each of fewer than 128 bytes.
fn envelope(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let part = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let type_meta = [part(1, api_version.as_bytes()), part(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), part(1, &type_meta), part(2, object)].concat()
}

#[tokio::test]
async fn typed_clients_may_send_protobuf() {
    let api = Api::new().await;
    let media = "application/vnd.kubernetes.protobuf";
    // Namespace{metadata: {name: "team"}}
    let body = envelope("v1", "Namespace", &[10, 6, 10, 4, b't', b'e', b'a', b'm']);
    let made = api.raw(admin(), Method::POST, "/api/v1/namespaces", media, &body).await;
    assert_eq!((made.code, &made.body["metadata"]["name"]), (StatusCode::CREATED, &json!("team")), "{made:?}");
    let body = envelope("authentication.k8s.io/v1", "SelfSubjectReview", &[]);
    let me = api.raw(admin(), Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", media, &body).await;
    assert_eq!(me.body["status"]["userInfo"]["username"], "admin", "{me:?}");
    assert_eq!(me.body["status"]["userInfo"]["groups"], json!([groups::ADMINS, "system:authenticated"]));
    // DeleteOptions{propagationPolicy: "Background"}
    let options = [&[34, 10][..], b"Background"].concat();
    let gone = api
        .raw(admin(), Method::DELETE, "/api/v1/namespaces/team", media, &envelope("v1", "DeleteOptions", &options))
        .await;
    assert_eq!(gone.code, StatusCode::OK, "{gone:?}");
}

#[tokio::test]
async fn reviews_answer_as_the_table_of_roles_decides() {
    let api = Api::new().await;
    let ask = |who: Identity, attributes: Value| {
        let api = &api;
        async move {
            let body = json!({"spec": {"resourceAttributes": attributes}});
            let answer = api.call_as(who, Method::POST, ACCESS, "application/json", Some(&body)).await;
            assert_eq!(answer.code, StatusCode::CREATED, "{answer:?}");
            answer.body["status"]["allowed"] == true
        }
    };
    let jobs =
        |verb: &str| json!({"verb": verb, "group": "processdistro.dev", "resource": "jobs", "namespace": "default"});
    assert!(ask(admin(), json!({"verb": "*", "group": "*", "resource": "*"})).await);
    assert!(ask(identity("e", groups::EDITORS), jobs("create")).await);
    assert!(!ask(identity("v", groups::VIEWERS), jobs("create")).await);
    assert!(ask(identity("v", groups::VIEWERS), jobs("list")).await);
    assert!(!ask(identity("v", groups::VIEWERS), json!({"verb": "*", "group": "*", "resource": "*"})).await);
    let neither = api.post(ACCESS, json!({"spec": {}})).await;
    assert_eq!(neither.code, StatusCode::UNPROCESSABLE_ENTITY, "{neither:?}");

    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = api.post(rules, json!({"spec": {"namespace": "default"}})).await;
    assert_eq!(rules.body["status"]["resourceRules"][0]["verbs"], json!(["*"]), "{rules:?}");
    let others = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let of = |group: &str| json!({"spec": {"user": "x", "groups": [group], "resourceAttributes": jobs("delete")}});
    assert_eq!(api.post(others, of(groups::EDITORS)).await.body["status"]["allowed"], true);
    assert_eq!(api.post(others, of(groups::VIEWERS)).await.body["status"]["allowed"], false);
    let path = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
    assert_eq!(api.post(ACCESS, path).await.body["status"]["allowed"], true);
}

#[tokio::test]
async fn usage_is_what_the_lease_of_a_node_says() {
    let api = Api::new().await;
    assert_eq!(api.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await.code, StatusCode::CREATED);
    let metrics = "/apis/metrics.k8s.io/v1beta1/nodes";
    assert_eq!(api.get(metrics).await.body["items"], json!([]), "it has said nothing yet");
    let usage = json!({
        "windowSeconds": 5, "machine": {"cpuMillis": 1500, "memoryKib": 2048},
        "executors": {"cpuMillis": 500, "memoryKib": 1024},
    });
    let lease = json!({
        "metadata": {"name": "n1", "annotations": {"processdistro.dev/usage": usage.to_string()}},
        "spec": {"renewTime": format!("{:.6}", jiff::Timestamp::now())},
    });
    let made = api.post("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease).await;
    assert_eq!(made.code, StatusCode::CREATED, "{made:?}");
    let shown = api.get(metrics).await.body;
    assert_eq!(shown["kind"], "NodeMetricsList");
    assert_eq!(shown["items"][0]["usage"], json!({"cpu": "1500m", "memory": "2048Ki"}));
    assert_eq!(api.get(&format!("{metrics}/n1")).await.body["window"], "5s");
    assert_eq!(api.get(&format!("{metrics}/n2")).await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_tools_list_is_there_and_empty() {
    let api = Api::new().await;
    for uri in ["/api/v1/services", "/api/v1/namespaces/kube-system/services", "/apis/policy/v1/poddisruptionbudgets"] {
        let list = api.get(uri).await;
        assert_eq!((list.code, &list.body["items"]), (StatusCode::OK, &json!([])), "{uri}");
    }
}
