//! One request: path → target → authorisation → the room that answers it.
//!
//! In: HTTP requests with an `Identity`. Out: responses. Decisions are made in the rooms it calls.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method, header, request::Parts};
use jiff::Timestamp;
use schemas::well_known::groups;
use serde_json::{Value, json};

use super::{
    ApiState,
    call::{Call, Subresource, Target, text, verb},
    discovery,
    error::{ApiError, Cause},
    kinds::{self, Rules},
    media::{self, BODY_BYTES_MAX, Document, Form, PatchType},
    openapi,
    options::{self, Options},
    pods,
    print::Item,
    registry::{self, Change, DeleteOptions},
    respond, reviews, scale, strategies, views, watch,
};
use crate::auth::{self, Attributes, Identity};

/// Longest part of a User-Agent that becomes a field manager, as upstream.
const AGENT_CHARS_MAX: usize = 128;

/// Answers a request; one whose path is not of the Kubernetes API with a 404 Status. It must carry an `Identity`
/// extension, except for `/version`.
pub async fn serve(state: Arc<ApiState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match dispatch(state, parts, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Creates a cluster-scoped object of our own.
pub(super) async fn create_as_system(state: &Arc<ApiState>, rules: Rules, name: &str) -> Result<(), ApiError> {
    let call = system_call(state, rules, "", "");
    let value = json!({"metadata": {"name": name}});
    registry::create(&call, Document { value, duplicates: Vec::new() }).await.map(|_| ())
}

/// A call that the server makes itself.
pub(super) fn system_call(state: &Arc<ApiState>, rules: Rules, namespace: &str, name: &str) -> Call {
    Call {
        state: Arc::clone(state),
        identity: Identity {
            user: "system:apiserver".to_owned(),
            groups: vec![groups::ADMINS.to_owned()],
            namespace: None,
            token: None,
        },
        target: Target {
            kind: kinds::by_rules(rules),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: Subresource::Main,
        },
        options: Options::default(),
        agent: "pd-apiserver".to_owned(),
        now: now(),
    }
}

/// The time of a request, in whole seconds as objects carry it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

async fn dispatch(state: Arc<ApiState>, parts: Parts, body: Body) -> Result<Response, ApiError> {
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments == ["version"] {
        return describe(&parts, &segments);
    }
    let identity = parts.extensions.get::<Identity>().cloned().ok_or(ApiError::Unauthorized)?;
    let target = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => Target::parse("", version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => Target::parse(group, version, rest),
        _ => return describe(&parts, &segments),
    };
    let target = target.ok_or(ApiError::NoSuchPath)?;
    let options = Options::parse(&parts.uri)?;
    let verb = allowed_verb(&parts.method, &target, &options)?;
    let call = Call { agent: agent(&parts.headers), now: now(), state, identity, target, options };
    // The name of what is to be created stands in the body, and a node may create only what bears its own.
    let body = if verb == "create" && call.node().is_some() {
        let bytes = read(body).await?;
        let name =
            media::decode(&parts.headers, &bytes).map(|document| text(&document.value["metadata"]["name"]).to_owned());
        authorize(&call.for_name(&name.unwrap_or_default()), verb)?;
        Body::from(bytes)
    } else {
        authorize(&call, verb)?;
        body
    };
    call.options.check(verb)?;
    answer(call, verb, &parts.headers, body).await
}

/// Discovery and OpenAPI.
fn describe(parts: &Parts, segments: &[&str]) -> Result<Response, ApiError> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(ApiError::MethodNotAllowed);
    }
    let found = match segments {
        ["version"] => Some(respond::json(discovery::version())),
        ["api"] => Some(discovery::core_versions(media::negotiate(&parts.headers)?)),
        ["apis"] => Some(discovery::groups(media::negotiate(&parts.headers)?)),
        ["api", version] => discovery::resources("", version).map(respond::json),
        ["apis", group] => discovery::group(group).map(respond::json),
        ["apis", group, version] => discovery::resources(group, version).map(respond::json),
        ["openapi", "v3"] => Some(respond::json(openapi::index())),
        ["openapi", "v3", rest @ ..] => openapi::get(&rest.join("/"), &parts.headers),
        _ => None,
    };
    found.ok_or(ApiError::NoSuchPath)
}

fn allowed_verb(method: &Method, target: &Target, options: &Options) -> Result<&'static str, ApiError> {
    let verb = verb(method, target, options.watch);
    let allowed = target.subresource.verbs(target.kind);
    verb.filter(|verb| allowed.contains(verb)).ok_or(ApiError::MethodNotAllowed)
}

fn authorize(call: &Call, verb: &str) -> Result<(), ApiError> {
    let target = &call.target;
    let attributes = Attributes {
        verb,
        group: target.kind.group,
        resource: target.kind.plural,
        subresource: target.subresource.name(),
        namespace: &target.namespace,
        name: &target.name,
        field_selector: &call.options.field_selector,
    };
    auth::authorize(&call.identity, &attributes).map_err(|denied| target.forbidden(denied.to_string()))
}

/// The first word of the User-Agent: `kubectl` of `kubectl/v1.32 (linux/amd64)`.
fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    agent.split('/').next().unwrap_or_default().chars().take(AGENT_CHARS_MAX).collect()
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let is_too_large = std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("limit"));
        if is_too_large {
            ApiError::TooLarge(format!("limit is {BODY_BYTES_MAX}"))
        } else {
            ApiError::BadRequest(format!("cannot read the request's body: {error}"))
        }
    })
}

async fn answer(call: Call, verb: &str, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    match call.target.subresource {
        // A log is text, whatever the client prefers.
        Subresource::Log => return pods::log(&call).await,
        Subresource::Eviction => {
            let eviction = decode(&call, headers, body).await?.value;
            return pods::evict(&call, &eviction).await.map(respond::created);
        }
        Subresource::Scale => {
            let change = if verb == "get" { None } else { Some(change(&call, verb, headers, body).await?) };
            return scale::answer(&call, change).await.map(respond::json);
        }
        Subresource::Main | Subresource::Status => {}
    }
    let form = media::negotiate(headers)?;
    let rules = call.target.kind.rules;
    match (verb, rules) {
        ("get", _) if views::is_view(rules) => respond::object(&call, form, Item::Parsed(&views::get(&call)?)),
        ("list", _) if views::is_view(rules) => respond::list(&call, form, &views::list(&call)?),
        ("create", rules) if rules.is_review() => {
            let document = decode(&call, headers, body).await?;
            reviews::answer(&call, document).map(respond::created)
        }
        ("delete", Rules::Pod) => {
            let options = delete_options(&call, headers, body).await?;
            let pod = pods::delete(&call, options.uid(), options.is_dry_run())?;
            respond::object(&call, form, Item::Parsed(&pod))
        }
        ("get", _) => {
            let record = registry::record(&call)?;
            let item = Item::of(&record)?;
            check_own_assignment(&call, item)?;
            respond::object(&call, form, item)
        }
        ("list", _) => respond::records(&call, form, &registry::page(&call)?),
        ("watch", _) => watch::watch(call, form),
        ("create", _) => create(&call, form, headers, body).await,
        ("update" | "patch", _) => {
            let change = change(&call, verb, headers, body).await?;
            respond::written(&call, form, &registry::update(&call, change).await?)
        }
        ("delete", _) => {
            let options = delete_options(&call, headers, body).await?;
            respond::deleted(&call, form, &registry::delete(&call, &options).await?)
        }
        ("deletecollection", _) => {
            let options = delete_options(&call, headers, body).await?;
            let objects = registry::delete_collection(&call, &options).await?;
            let revision = call.state.store.revision();
            let list = registry::ListResult { objects, revision, ..registry::ListResult::default() };
            respond::list(&call, form, &list)
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

/// A node may read only the Assignments that name it.
fn check_own_assignment(call: &Call, item: Item<'_>) -> Result<(), ApiError> {
    let Some(node) = call.node().filter(|_| call.target.kind.rules == Rules::Assignment) else { return Ok(()) };
    if text(&item.shown()?["spec"]["nodeName"]) == node {
        return Ok(());
    }
    Err(call.target.forbidden(format!("node `{node}` may read only its own assignments")))
}

/// The object in a request's body.
async fn decode(call: &Call, headers: &HeaderMap, body: Body) -> Result<Document, ApiError> {
    media::decode(headers, &read(body).await?).map_err(|error| match error {
        ApiError::BadRequest(why) if why.starts_with("couldn't get version/kind") => {
            let kind = call.target.kind.name;
            ApiError::BadRequest(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
        }
        other => other,
    })
}

async fn create(call: &Call, form: Form, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let document = decode(call, headers, body).await?;
    if call.target.kind.rules != Rules::Csr {
        return respond::written(call, form, &registry::create(call, document).await?);
    }
    // A node that lost the answer asks again under the same name: it gets the same certificate.
    let asked = document.value.clone();
    match registry::create(call, document).await {
        Ok(written) => respond::written(call, form, &written),
        Err(ApiError::AlreadyExists(subject)) => {
            let existing = registry::get(&call.for_name(&subject.name))?.object;
            if strategies::is_same_request(&asked, &existing) {
                Ok(respond::created(existing))
            } else {
                Err(ApiError::AlreadyExists(subject))
            }
        }
        Err(error) => Err(error),
    }
}

async fn change(call: &Call, verb: &str, headers: &HeaderMap, body: Body) -> Result<Change, ApiError> {
    if verb == "update" {
        return Ok(Change::Replace(decode(call, headers, body).await?));
    }
    let patch_type = media::patch_type(headers)?;
    if patch_type == PatchType::Strategic && call.target.kind.is_ours() {
        return Err(ApiError::UnsupportedMediaType(format!(
            "strategic merge patch is not supported for {}; use --type=merge, --type=json or server-side apply",
            call.target.kind.plural
        )));
    }
    if patch_type == PatchType::Apply && call.options.field_manager.is_empty() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        options::refuse("PatchOptions", vec![cause])?;
    }
    if patch_type != PatchType::Apply && call.options.force {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        options::refuse("PatchOptions", vec![cause])?;
    }
    let bytes = read(body).await?;
    Ok(match patch_type {
        PatchType::Json => Change::JsonPatch(media::decode_json(&bytes)?.value),
        PatchType::Merge => Change::MergePatch(media::decode_json(&bytes)?),
        PatchType::Strategic => Change::StrategicPatch(media::decode_json(&bytes)?),
        PatchType::Apply => Change::Apply(media::decode_yaml(&bytes)?),
    })
}

async fn delete_options(call: &Call, headers: &HeaderMap, body: Body) -> Result<DeleteOptions, ApiError> {
    let bytes = read(body).await?;
    let body = if bytes.is_empty() { Value::Null } else { media::decode(headers, &bytes)?.value };
    DeleteOptions::parse(&body, &call.options)
}
