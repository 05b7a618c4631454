//! The API from outside: requests in, responses out, over a store in memory.

mod built_in;
mod cached_results;
mod nodes;
mod objects;
mod pods;
mod policies;
mod reads;
mod refusals;
mod settings;
mod watches;
mod writes;

use std::sync::Arc;

use axum::{body::Body, extract::Request};
use http::{Method, StatusCode, header};
use schemas::{Digest, well_known::groups};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{ApiState, bootstrap, serve};
use crate::{
    artifacts::ArtifactStore,
    auth::Identity,
    pki::Authority,
    store::{Precondition, Write, redb_store::RedbStore},
};

const JOBS: &str = "/apis/processdistro.dev/v1/namespaces/default/jobs";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A server without a port.
struct Api {
    state: Arc<ApiState>,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    code: StatusCode,
    body: Value,
    warning: Option<String>,
}

fn admin() -> Identity {
    identity("admin", groups::ADMINS)
}

fn node(name: &str) -> Identity {
    identity(&format!("node:{name}"), groups::NODES)
}

fn identity(user: &str, group: &str) -> Identity {
    Identity { user: user.to_owned(), groups: vec![group.to_owned()], namespace: None, token: None }
}

impl Api {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let artifacts = ArtifactStore::open(&folder.path().join("artifacts")).await.expect("an artifact store");
        let state = Arc::new(ApiState {
            store: Arc::new(RedbStore::in_memory_with(super::topic_of).expect("a store")),
            artifacts: Arc::new(artifacts),
            authority: Arc::new(Authority::ephemeral().expect("an authority")),
            hidden: Arc::default(),
            settings: Arc::default(),
            unfinished: Arc::default(),
            stop: CancellationToken::new(),
        });
        bootstrap(&state).await.expect("the first objects");
        Self { state, _folder: folder }
    }

    /// With Task `echo`, whose params are checked and which reads input `a`.
    async fn with_task() -> Self {
        let api = Self::new().await;
        let digest = Digest::of(b"a component");
        let task = json!({
            "apiVersion": "processdistro.dev/v1", "kind": "Task",
            "metadata": {"name": "echo", "namespace": "default", "uid": "task-uid"},
            "spec": {"module": digest},
            "status": {
                "inputs": [{"name": "a", "description": "a file"}],
                "paramsSchema": {
                    "type": "object", "additionalProperties": false,
                    "properties": {"count": {"type": "integer", "minimum": 1}},
                },
            },
        });
        let write = Write {
            key: "/processdistro.dev/tasks/default/echo".to_owned(),
            precondition: Precondition::Absent,
            value: Some(task.to_string().into_bytes().into()),
        };
        api.state.store.commit(vec![write]).await.expect("stored");
        api
    }

    async fn send(
        &self,
        identity: Identity,
        request: http::request::Builder,
        body: Option<&Value>,
    ) -> http::Response<Body> {
        let body = body.map_or_else(Body::empty, |value| Body::from(value.to_string()));
        let mut request: Request = request.header(header::USER_AGENT, "test/1").body(body).expect("a request");
        request.extensions_mut().insert(identity);
        serve(Arc::clone(&self.state), request).await
    }

    async fn call_as(&self, who: Identity, method: Method, uri: &str, media: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, media);
        } else if !media.is_empty() {
            request = request.header(header::ACCEPT, media);
        }
        let response = self.send(who, request, body).await;
        let code = response.status();
        let warning = response.headers().get(header::WARNING).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_default(), warning }
    }

    /// Any bytes under any media type.
    async fn raw(&self, who: Identity, method: Method, uri: &str, media: &str, body: &[u8]) -> Answer {
        let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, media);
        let mut request: Request = request.body(Body::from(body.to_vec())).expect("a request");
        request.extensions_mut().insert(who);
        let response = serve(Arc::clone(&self.state), request).await;
        let code = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_default(), warning: None }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.call_as(admin(), Method::GET, uri, "", None).await
    }

    async fn get_as(&self, uri: &str, accept: &str) -> Answer {
        self.call_as(admin(), Method::GET, uri, accept, None).await
    }

    async fn post(&self, uri: &str, body: Value) -> Answer {
        self.call_as(admin(), Method::POST, uri, "application/json", Some(&body)).await
    }

    async fn put(&self, uri: &str, body: Value) -> Answer {
        self.call_as(admin(), Method::PUT, uri, "application/json", Some(&body)).await
    }

    async fn patch(&self, uri: &str, media: &str, body: Value) -> Answer {
        self.call_as(admin(), Method::PATCH, uri, media, Some(&body)).await
    }

    async fn delete(&self, uri: &str, body: Option<Value>) -> Answer {
        self.call_as(admin(), Method::DELETE, uri, "application/json", body.as_ref()).await
    }
}

fn job(name: &str) -> Value {
    json!({
        "apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"task": {"name": "echo", "params": {"count": 3}}},
    })
}

/// `field: message` of each cause.
fn causes(answer: &Answer) -> Vec<String> {
    let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    causes
        .iter()
        .map(|c| format!("{}: {}", c["field"].as_str().unwrap_or_default(), c["message"].as_str().unwrap_or_default()))
        .collect()
}
