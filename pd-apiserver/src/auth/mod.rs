//! Who is asking, and may they.

pub mod certificates;
mod roles;
pub mod tokens;

pub use roles::{Denied, PathRule, ResourceRule, Rules, authorize, authorize_metrics, authorize_path, rules};

use schemas::well_known::{NODE_USER_PREFIX, groups};

/// Who a request speaks for, taken from its client certificate or bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name; a node's is `node:NAME`.
    pub user: String,
    /// Groups; each is a role of `schemas::well_known::groups`.
    pub groups: Vec<String>,
    /// For a namespaced token: the only namespace it is good for.
    pub namespace: Option<String>,
    /// For a join token: the name of its Token object.
    pub token: Option<String>,
}

impl Identity {
    /// Whether `group` is one of its groups.
    pub fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The name of the node it is, if it is one.
    pub fn node(&self) -> Option<&str> {
        self.user.strip_prefix(NODE_USER_PREFIX).filter(|_| self.has(groups::NODES))
    }
}

/// What a request wants to do; the fields of a Kubernetes SubjectAccessReview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'a str,
    /// API group; empty for core.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// `status`, `scale`, ... or empty.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped kinds and all-namespace lists.
    pub namespace: &'a str,
    /// Object name; empty for collections.
    pub name: &'a str,
    /// The request's `fieldSelector`, verbatim.
    pub field_selector: &'a str,
}
