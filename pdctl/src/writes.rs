//! Writing objects: create and server-side apply, always strict, always in pdctl's name.

use http::{Request, header::CONTENT_TYPE};
use serde_json::Value;

use crate::{client::Cluster, kinds::Kind};

/// Under which the server remembers what pdctl set.
pub(crate) const FIELD_MANAGER: &str = "pdctl";

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Validate and default, store nothing.
    pub(crate) dry_run: bool,
    /// Take over fields that another manager set.
    pub(crate) force: bool,
}

/// POST: fails when it exists.
pub(crate) async fn create(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    object: &Value,
    how: How,
) -> Result<Value, kube::Error> {
    let uri = format!("{}?{}", kind.path(Some(namespace)), query(how));
    send(cluster, Request::post(uri).header(CONTENT_TYPE, "application/json"), object).await
}

/// Server-side apply: creates or changes.
pub(crate) async fn apply(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    object: &Value,
    how: How,
) -> Result<Value, kube::Error> {
    let force = if how.force { "&force=true" } else { "" };
    let uri = format!("{}/{name}?{}{force}", kind.path(Some(namespace)), query(how));
    send(cluster, Request::patch(uri).header(CONTENT_TYPE, "application/apply-patch+yaml"), object).await
}

/// A JSON merge patch.
pub(crate) async fn merge(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    patch: &Value,
) -> Result<Value, kube::Error> {
    self::patch(cluster, kind, namespace, name, patch, Form::Merge, How::default()).await
}

/// What a patch means.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Form {
    /// RFC 7386: fields over fields, null removes
    Merge,
    /// RFC 6902: a list of operations
    Json,
    /// Kubernetes' own: lists by their keys
    Strategic,
}

/// A patch of any form.
pub(crate) async fn patch(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    patch: &Value,
    form: Form,
    how: How,
) -> Result<Value, kube::Error> {
    let content_type = match form {
        Form::Merge => "application/merge-patch+json",
        Form::Json => "application/json-patch+json",
        Form::Strategic => "application/strategic-merge-patch+json",
    };
    let uri = format!("{}/{name}?{}", kind.path(Some(namespace)), query(how));
    send(cluster, Request::patch(uri).header(CONTENT_TYPE, content_type), patch).await
}

fn query(how: How) -> String {
    let dry_run = if how.dry_run { "&dryRun=All" } else { "" };
    format!("fieldManager={FIELD_MANAGER}&fieldValidation=Strict{dry_run}")
}

async fn send(cluster: &Cluster, request: http::request::Builder, body: &Value) -> Result<Value, kube::Error> {
    let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
    let request = request.body(body).map_err(kube::Error::HttpError)?;
    cluster.client.request(request).await
}
