//! Who is asking, and may they.

mod roles;
pub mod tokens;

pub use roles::{Denied, authorize};

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
