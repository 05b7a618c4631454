//! One request: path → target → authorisation → the room that answers it.
//!
//! In: HTTP requests with an `Identity`. Out: responses. Decisions are made in the rooms it calls.

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
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
    registry::{self, Change, DeleteOptions},
    respond, reviews, scale, strategies, views, watch,
};
use crate::auth::{self, Attributes, Identity};

/// Longest part of a User-Agent that becomes a field manager, as upstream.
const AGENT_CHARS_MAX: usize = 128;

/// `GET /version`.
pub(super) async fn version(method: Method) -> Response {
    match method {
        Method::GET | Method::HEAD => axum::Json(discovery::version()).into_response(),
        _ => ApiError::MethodNotAllowed.into_response(),
    }
}

/// Any other path.
pub(super) async fn serve(State(state): State<ApiState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match dispatch(state, parts, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Creates a cluster-scoped object of our own.
pub(super) async fn create_as_system(state: &ApiState, rules: Rules, name: &str) -> Result<(), ApiError> {
    let call = system_call(state, rules, "", "");
    let value = json!({"metadata": {"name": name}});
    registry::create(&call, Document { value, duplicates: Vec::new() }).await.map(|_| ())
}

/// A call that the server makes itself.
pub(super) fn system_call(state: &ApiState, rules: Rules, namespace: &str, name: &str) -> Call {
    Call {
        state: state.clone(),
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

async fn dispatch(state: ApiState, parts: Parts, body: Body) -> Result<Response, ApiError> {
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
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
        ("get", _) if views::is_view(rules) => views::get(&call).map(|object| respond::object(&call, form, &object)),
        ("list", _) if views::is_view(rules) => views::list(&call).map(|list| respond::list(&call, form, &list)),
        ("create", rules) if rules.is_review() => {
            let document = decode(&call, headers, body).await?;
            reviews::answer(&call, document).map(respond::created)
        }
        ("delete", Rules::Pod) => {
            let options = delete_options(&call, headers, body).await?;
            pods::delete(&call, options.uid(), options.is_dry_run()).map(|pod| respond::object(&call, form, &pod))
        }
        ("get", _) => {
            let stored = registry::get(&call)?;
            check_own_assignment(&call, &stored.object)?;
            Ok(respond::object(&call, form, &stored.object))
        }
        ("list", _) => registry::list(&call).map(|list| respond::list(&call, form, &list)),
        ("watch", _) => watch::watch(call, form),
        ("create", _) => create(&call, form, headers, body).await,
        ("update" | "patch", _) => {
            let change = change(&call, verb, headers, body).await?;
            registry::update(&call, &change).await.map(|written| respond::written(&call, form, &written))
        }
        ("delete", _) => {
            let options = delete_options(&call, headers, body).await?;
            registry::delete(&call, &options).await.map(|deleted| respond::deleted(&call, form, &deleted))
        }
        ("deletecollection", _) => {
            let options = delete_options(&call, headers, body).await?;
            let objects = registry::delete_collection(&call, &options).await?;
            let revision = call.state.store.revision();
            let list = registry::ListResult { objects, revision, ..registry::ListResult::default() };
            Ok(respond::list(&call, form, &list))
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

/// A node may read only the Assignments that name it.
fn check_own_assignment(call: &Call, object: &Value) -> Result<(), ApiError> {
    match call.node() {
        Some(node) if call.target.kind.rules == Rules::Assignment && text(&object["spec"]["nodeName"]) != node => {
            Err(call.target.forbidden(format!("node `{node}` may read only its own assignments")))
        }
        _ => Ok(()),
    }
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
        return registry::create(call, document).await.map(|written| respond::written(call, form, &written));
    }
    // A node that lost the answer asks again under the same name: it gets the same certificate.
    let asked = document.value.clone();
    match registry::create(call, document).await {
        Ok(written) => Ok(respond::written(call, form, &written)),
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
