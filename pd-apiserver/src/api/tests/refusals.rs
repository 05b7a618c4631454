//! Bad input: the Status that a Kubernetes server answers, with the same code, reason and message.

use super::*;

const JSON: &str = "application/json";
const JOB: &str = "/apis/processdistro.dev/v1/namespaces/default/jobs/j";

/// Method, path, media type, body, then code, reason and how the message begins.
type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str, &'static str);

const CASES: &[Case] = &[
    // Paths.
    (
        "GET",
        "/apis/nothing.example/v1/things",
        "",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/processdistro.dev/v9/jobs",
        "",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/processdistro.dev/v1/gadgets",
        "",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/processdistro.dev/v1/namespaces/default/jobs/j/exec",
        "",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/api/v1/namespaces/default/nodes",
        "",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/processdistro.dev/v1/namespaces/default/jobs/none",
        "",
        "",
        404,
        "NotFound",
        "jobs.processdistro.dev \"none\" not found",
    ),
    ("GET", "/api/v1/nodes/none", "", "", 404, "NotFound", "nodes \"none\" not found"),
    ("GET", "/api/v1/namespaces/default/pods/x-1-1", "", "", 404, "NotFound", "pods \"x-1-1\" not found"),
    // Verbs.
    (
        "POST",
        "/apis/processdistro.dev/v1/subtasks",
        JSON,
        "{}",
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    ),
    (
        "PUT",
        "/apis/processdistro.dev/v1/namespaces/default/jobs",
        JSON,
        "{}",
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    ),
    (
        "DELETE",
        "/apis",
        "",
        "",
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    ),
    (
        "GET",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "",
        "",
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    ),
    // Bodies.
    (
        "POST",
        JOBS,
        "text/html",
        "{}",
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    ),
    (
        "PATCH",
        JOB,
        JSON,
        "{}",
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json",
    ),
    (
        "POST",
        JOBS,
        JSON,
        "{\"kind\":",
        400,
        "BadRequest",
        "the object provided is unrecognized (must be of type Job): couldn't get version/kind; json parse error: ",
    ),
    ("POST", JOBS, JSON, "[]", 400, "BadRequest", "the body must be one object"),
    (
        "POST",
        JOBS,
        "application/vnd.kubernetes.protobuf",
        "k8s",
        400,
        "BadRequest",
        "the object provided is unrecognized: ",
    ),
    (
        "POST",
        JOBS,
        JSON,
        r#"{"apiVersion":"batch/v1","kind":"Job"}"#,
        400,
        "BadRequest",
        "the API version in the data (batch/v1) does not match the expected API version (processdistro.dev/v1)",
    ),
    (
        "POST",
        JOBS,
        JSON,
        r#"{"kind":"Task"}"#,
        400,
        "BadRequest",
        "Task in version \"processdistro.dev/v1\" cannot be handled as a Job",
    ),
    (
        "POST",
        JOBS,
        JSON,
        r#"{"metadata":{"name":"x","namespace":"other"}}"#,
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "PUT",
        "/api/v1/namespaces/default",
        JSON,
        r#"{"metadata":{"name":"y"}}"#,
        400,
        "BadRequest",
        "the name of the object (y) does not match the name on the URL (default)",
    ),
    (
        "POST",
        JOBS,
        JSON,
        r#"{"metadata":{"name":"x","resourceVersion":"1"},"spec":{"task":{"name":"echo"}}}"#,
        400,
        "BadRequest",
        "resourceVersion should not be set on objects to be created",
    ),
    (
        "POST",
        "/apis/processdistro.dev/v1/namespaces/nowhere/jobs",
        JSON,
        r#"{"metadata":{"name":"x"},"spec":{"task":{"name":"echo"}}}"#,
        404,
        "NotFound",
        "namespaces \"nowhere\" not found",
    ),
    (
        "POST",
        JOBS,
        JSON,
        r#"{"metadata":{"name":"No_name"},"spec":{"task":{"name":"echo"}}}"#,
        422,
        "Invalid",
        "Job.processdistro.dev \"No_name\" is invalid: metadata.name: Invalid value: \"No_name\": ",
    ),
    // Options.
    (
        "PATCH",
        JOB,
        APPLY,
        "{}",
        422,
        "Invalid",
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    ),
    (
        "PATCH",
        "/api/v1/namespaces/default?force=true",
        MERGE,
        "{}",
        422,
        "Invalid",
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
    ),
    (
        "POST",
        "/api/v1/namespaces?dryRun=Some",
        JSON,
        r#"{"metadata":{"name":"x"}}"#,
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": supported values: \"All\"",
    ),
    (
        "DELETE",
        "/api/v1/namespaces/default",
        JSON,
        r#"{"propagationPolicy":"Later"}"#,
        422,
        "Invalid",
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Later\"",
    ),
    (
        "DELETE",
        "/api/v1/namespaces/default",
        JSON,
        "{}",
        403,
        "Forbidden",
        "namespaces \"default\" is forbidden: this namespace may not be deleted",
    ),
    (
        "POST",
        "/api/v1/namespaces?fieldValidation=Strict",
        JSON,
        r#"{"metadata":{"name":"x"},"speck":{"a":1}}"#,
        400,
        "BadRequest",
        "strict decoding error: unknown field \"speck\"",
    ),
    // Selectors, pages, revisions.
    ("GET", "/api/v1/namespaces?labelSelector=a%20%3F%20b", "", "", 400, "BadRequest", "unable to parse requirement: "),
    ("GET", "/api/v1/namespaces?labelSelector=a%20in%201", "", "", 400, "BadRequest", "unable to parse requirement: "),
    (
        "GET",
        "/api/v1/namespaces?fieldSelector=spec.color%3Dred",
        "",
        "",
        400,
        "BadRequest",
        "field label not supported: spec.color",
    ),
    (
        "GET",
        "/api/v1/namespaces?fieldSelector=color",
        "",
        "",
        400,
        "BadRequest",
        "invalid selector: 'color'; can't understand 'color'",
    ),
    ("GET", "/api/v1/namespaces?limit=many", "", "", 400, "BadRequest", "limit: "),
    ("GET", "/api/v1/namespaces?continue=rubbish", "", "", 400, "BadRequest", "continue key is not valid"),
    ("GET", "/api/v1/namespaces?resourceVersion=new", "", "", 400, "BadRequest", "invalid resource version: "),
    (
        "GET",
        "/api/v1/namespaces?watch=true&resourceVersion=new",
        "",
        "",
        400,
        "BadRequest",
        "invalid resource version: ",
    ),
    (
        "GET",
        "/api/v1/namespaces?resourceVersion=99999999",
        "",
        "",
        504,
        "Timeout",
        "Too large resource version: 99999999, current: ",
    ),
];

#[tokio::test]
async fn every_refusal_reads_as_kubernetes_words_it() {
    let api = Api::with_task().await;
    for (method, uri, media, body, code, reason, message) in CASES {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = api.raw(admin(), method.clone(), uri, media, body.as_bytes()).await;
        let at = format!("{method} {uri} {body}: {answer:?}");
        assert_eq!(answer.code.as_u16(), *code, "{at}");
        assert_eq!((&answer.body["kind"], &answer.body["status"]), (&json!("Status"), &json!("Failure")), "{at}");
        assert_eq!((&answer.body["reason"], &answer.body["code"]), (&json!(reason), &json!(code)), "{at}");
        assert!(answer.body["message"].as_str().is_some_and(|text| text.starts_with(message)), "{at}");
    }
    let names = api.get(JOBS).await.body["items"].clone();
    assert_eq!(names, json!([]), "nothing was written");
}

#[tokio::test]
async fn a_forbidden_request_is_told_once() {
    let api = Api::new().await;
    let viewer = || identity("v", groups::VIEWERS);
    let created = api.raw(viewer(), Method::POST, JOBS, JSON, b"{}").await;
    assert_eq!(
        created.body["message"],
        "jobs.processdistro.dev is forbidden: User \"v\" cannot create resource \"jobs\" in API group \
         \"processdistro.dev\" in the namespace \"default\""
    );
    let read = api.raw(viewer(), Method::GET, "/apis/processdistro.dev/v1/tokens/t", "", b"").await;
    assert_eq!(
        read.body["message"],
        "tokens.processdistro.dev \"t\" is forbidden: User \"v\" cannot get resource \"tokens\" in API group \
         \"processdistro.dev\" at the cluster scope"
    );
    assert_eq!(read.body["details"], json!({"name": "t", "group": "processdistro.dev", "kind": "tokens"}));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_too_large() {
    let api = Api::new().await;
    let body = vec![b' '; super::super::media::BODY_BYTES_MAX + 1];
    let answer = api.raw(admin(), Method::POST, JOBS, JSON, &body).await;
    assert_eq!((answer.code, &answer.body["reason"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("RequestEntityTooLarge")));
    assert_eq!(answer.body["message"], "Request entity too large: limit is 3145728");
}
