//! What one request asks for: its target, its verb and its options, read from the URL.
//!
//! In: method, path and query. Out: a `Call`. It reads no body and no store.

use axum::extract::Query;
use http::{Method, Uri};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    ApiState,
    error::{ApiError, Cause, Subject},
    kinds::{self, Kind},
};
use crate::auth::Identity;

/// A part of an object with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    /// The object itself.
    Main,
    /// `/status`.
    Status,
    /// `/scale`.
    Scale,
}

impl Subresource {
    /// As in a path; empty for the object itself.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
        }
    }
}

/// What the path names.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The kind.
    pub(crate) kind: &'static Kind,
    /// Empty: all namespaces, or a cluster-scoped kind.
    pub(crate) namespace: String,
    /// Empty: the collection.
    pub(crate) name: String,
    /// Which part.
    pub(crate) subresource: Subresource,
}

impl Target {
    /// From the path segments after `/api/v1` or `/apis/GROUP/VERSION`.
    pub(crate) fn parse(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let (namespace, rest) = match rest {
            ["namespaces", namespace, tail @ ..] if !tail.is_empty() && !matches!(tail, ["status" | "finalize"]) => {
                (*namespace, tail)
            }
            _ => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        let kind = kinds::find(group, version, plural)?;
        let subresource = match subresource {
            "" => Subresource::Main,
            "status" if kind.has_status => Subresource::Status,
            "scale" if kind.has_scale => Subresource::Scale,
            _ => return None,
        };
        let scope_fits = if kind.namespaced { !namespace.is_empty() || name.is_empty() } else { namespace.is_empty() };
        scope_fits.then(|| Self { kind, namespace: namespace.to_owned(), name: name.to_owned(), subresource })
    }

    /// The same target with another name.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Who an error speaks of.
    pub(crate) fn subject(&self) -> Subject {
        self.kind.subject(&self.name)
    }

    /// The object's key in the store.
    pub(crate) fn key(&self) -> String {
        self.kind.key(&self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::NotFound(self.subject())
    }

    pub(crate) fn conflict(&self, message: impl Into<String>) -> ApiError {
        ApiError::Conflict { subject: self.subject(), message: message.into() }
    }

    /// A write against an older state than the present one.
    pub(crate) fn stale(&self) -> ApiError {
        self.conflict("the object has been modified; please apply your changes to the latest version and try again")
    }

    pub(crate) fn forbidden(&self, message: impl Into<String>) -> ApiError {
        ApiError::Forbidden { subject: self.subject(), message: message.into() }
    }

    /// `Ok` when there are no causes.
    pub(crate) fn refuse_if_any(&self, causes: Vec<Cause>) -> Result<(), ApiError> {
        if causes.is_empty() { Ok(()) } else { Err(ApiError::Invalid { subject: self.subject(), causes }) }
    }
}

/// What to do with fields that the kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them in silence.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// The query string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) field_manager: String,
    pub(crate) force: bool,
    pub(crate) include_object: String,
    pub(crate) propagation_policy: String,
    pub(crate) orphan_dependents: bool,
}

fn truth(value: &str) -> bool {
    matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True")
}

impl Options {
    /// From a request's URI; unknown parameters are ignored, as upstream does.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::BadRequest(format!("cannot read the query string: {error}")))?;
        let mut options = Self::default();
        for (key, value) in pairs {
            options.set(&key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), ApiError> {
        match key {
            "labelSelector" => self.label_selector = value,
            "fieldSelector" => self.field_selector = value,
            "limit" => self.limit = number(key, &value)? as usize,
            "continue" => self.continue_token = value,
            "resourceVersion" => self.resource_version = value,
            "resourceVersionMatch" => self.resource_version_match = value,
            "watch" => self.watch = truth(&value),
            "allowWatchBookmarks" => self.bookmarks = truth(&value),
            "sendInitialEvents" => self.send_initial_events = truth(&value),
            "timeoutSeconds" if !value.is_empty() => self.timeout_seconds = Some(number(key, &value)?),
            "dryRun" if !value.is_empty() => {
                self.dry_run = value == "All";
                if !self.dry_run {
                    return Err(ApiError::BadRequest(format!("dryRun: unsupported value `{value}`; use `All`")));
                }
            }
            "fieldValidation" if !value.is_empty() => self.field_validation = field_validation(&value)?,
            "fieldManager" => self.field_manager = value,
            "force" => self.force = truth(&value),
            "includeObject" => self.include_object = value,
            "propagationPolicy" => self.propagation_policy = value,
            "orphanDependents" => self.orphan_dependents = truth(&value),
            _ => {}
        }
        Ok(())
    }
}

fn field_validation(value: &str) -> Result<FieldValidation, ApiError> {
    match value {
        "Strict" => Ok(FieldValidation::Strict),
        "Warn" => Ok(FieldValidation::Warn),
        "Ignore" => Ok(FieldValidation::Ignore),
        _ => Err(ApiError::BadRequest(format!(
            "fieldValidation: unsupported value `{value}`; use `Strict`, `Warn` or `Ignore`"
        ))),
    }
}

fn number(key: &str, value: &str) -> Result<u64, ApiError> {
    if value.is_empty() {
        return Ok(0);
    }
    value.parse().map_err(|_| ApiError::BadRequest(format!("{key}: `{value}` is not a whole number from 0 up")))
}

/// One request, understood.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) state: ApiState,
    pub(crate) identity: Identity,
    pub(crate) target: Target,
    pub(crate) options: Options,
    /// First word of the User-Agent: the field manager of those who name none.
    pub(crate) agent: String,
    /// When the request came in.
    pub(crate) now: Timestamp,
}

impl Call {
    /// Who the request's writes are attributed to.
    pub(crate) fn manager(&self) -> String {
        let name = if self.options.field_manager.is_empty() { &self.agent } else { &self.options.field_manager };
        if name.is_empty() { "unknown".to_owned() } else { name.clone() }
    }

    /// The same request for another object of the kind.
    pub(crate) fn for_name(&self, name: &str) -> Self {
        Self { target: self.target.named(name), ..self.clone() }
    }

    /// Name of the node that asks; `None`: another role.
    pub(crate) fn node(&self) -> Option<&str> {
        let is_node = self.identity.groups.iter().any(|group| group == schemas::well_known::groups::NODES);
        if is_node { self.identity.user.strip_prefix(schemas::well_known::NODE_USER_PREFIX) } else { None }
    }
}

/// The verb of the API that a method means here.
pub(crate) fn verb(method: &Method, target: &Target, watch: bool) -> Option<&'static str> {
    let is_object = !target.name.is_empty();
    Some(match (method.as_str(), is_object) {
        ("GET" | "HEAD", false) if watch => "watch",
        ("GET" | "HEAD", false) => "list",
        ("GET" | "HEAD", true) => "get",
        ("POST", false) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return None,
    })
}

/// `value` as text, or an empty one.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_both_a_scope_and_an_object() {
        let object = Target::parse("", "v1", &["namespaces", "a"]).expect("the object");
        assert_eq!((object.kind.plural, object.name.as_str(), object.namespace.as_str()), ("namespaces", "a", ""));
        let status = Target::parse("", "v1", &["namespaces", "a", "status"]).expect("its status");
        assert_eq!(status.subresource, Subresource::Status);
        let events = Target::parse("", "v1", &["namespaces", "a", "events"]).expect("a collection in it");
        assert_eq!((events.kind.plural, events.namespace.as_str()), ("events", "a"));
    }

    #[test]
    fn cluster_scoped_kinds_have_no_namespace_and_objects_need_one() {
        assert!(Target::parse("", "v1", &["namespaces", "a", "nodes"]).is_none());
        assert!(Target::parse("processdistro.dev", "v1", &["jobs", "x"]).is_none());
        assert!(Target::parse("processdistro.dev", "v1", &["jobs"]).is_some());
    }

    #[test]
    fn the_odd_query_strings_of_clients_are_read() {
        let options = Options::parse(&"/x?&limit=500&&watch=1".parse().expect("a URI")).expect("read");
        assert_eq!((options.limit, options.watch), (500, true));
        assert!(Options::parse(&"/x?limit=many".parse().expect("a URI")).is_err());
    }
}
