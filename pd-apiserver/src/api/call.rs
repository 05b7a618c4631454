//! What one request asks for: its target and its verb, read from the URL.
//!
//! In: method and path. Out: a `Call`. It reads no body and no store.

use std::{collections::BTreeSet, sync::Arc};

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    ApiState,
    error::{ApiError, Cause, Subject},
    kinds::{self, Kind, Rules},
    options::Options,
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
    /// `/log`.
    Log,
    /// `/eviction`.
    Eviction,
}

impl Subresource {
    /// As in a path; empty for the object itself.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Log => "log",
            Self::Eviction => "eviction",
        }
    }

    /// What can be done to it.
    pub(crate) fn verbs(self, kind: &Kind) -> &'static [&'static str] {
        match self {
            Self::Main => kind.verbs,
            Self::Status | Self::Scale => &["get", "patch", "update"],
            Self::Log => &["get"],
            Self::Eviction => &["create"],
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
            "log" if kind.rules == Rules::Pod => Subresource::Log,
            "eviction" if kind.rules == Rules::Pod => Subresource::Eviction,
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
    pub(crate) fn refuse_if_any(&self, mut causes: Vec<Cause>) -> Result<(), ApiError> {
        // A kind's own rules may look at a name again.
        let mut said = BTreeSet::new();
        causes.retain(|cause| said.insert((cause.field.clone(), cause.message.clone())));
        if causes.is_empty() { Ok(()) } else { Err(ApiError::Invalid { subject: self.subject(), causes }) }
    }
}

/// One request, understood.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) state: Arc<ApiState>,
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
        ("POST", true) if target.subresource == Subresource::Eviction => "create",
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
