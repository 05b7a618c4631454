//! The fixed role table: which group may do what. No rule language.
//!
//! In: an identity and the attributes of a request. Out: yes, or a refusal in Kubernetes' words. What a node
//! may see of one object (is this Assignment its own?) is the registry's to check: this room sees no objects.

mod review;
mod table;
#[cfg(test)]
mod tests;

use schemas::well_known::{NODE_LEASE_NAMESPACE, NODE_USER_PREFIX, groups};

use self::table::{ANY, AUTHENTICATION, AUTHORIZATION, Only, READ, Rule, TABLE};
use super::{Attributes, Identity};

pub use review::{PathRule, ResourceRule, Rules, rules};

/// Paths that describe the API and the server's health.
const DESCRIPTIONS: &[&str] =
    &["/api", "/api/*", "/apis", "/apis/*", "/ca", "/healthz", "/livez", "/openapi/*", "/readyz", "/version"];

/// A refusal, as Kubernetes words it, without what it speaks of: `User "x" cannot get resource "nodes" ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// May `identity` do this? For `create` the attributes carry the object's name.
pub fn authorize(identity: &Identity, attributes: &Attributes<'_>) -> Result<(), Denied> {
    if asks_about_itself(identity, attributes) {
        return Ok(());
    }
    let allowed = within_namespace(identity, attributes) && TABLE.iter().any(|rule| rule.allows(identity, attributes));
    if allowed { Ok(()) } else { Err(Denied(refusal(identity, attributes))) }
}

fn reads_metrics(identity: &Identity) -> bool {
    [groups::ADMINS, groups::METRICS, groups::RECONCILERS].iter().any(|role| identity.has(role))
}

/// May `identity` read `/metrics`?
pub fn authorize_metrics(identity: &Identity) -> Result<(), Denied> {
    if reads_metrics(identity) {
        return Ok(());
    }
    Err(Denied(format!("forbidden: User \"{}\" cannot get path \"/metrics\"", identity.user)))
}

/// May `identity` use a path that is no object? Everybody may read what describes the API.
pub fn authorize_path(identity: &Identity, verb: &str, path: &str) -> Result<(), Denied> {
    let is_described = DESCRIPTIONS.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == *pattern,
    });
    if identity.has(groups::ADMINS) || verb == "get" && (is_described || path == "/metrics" && reads_metrics(identity))
    {
        return Ok(());
    }
    Err(Denied(format!("forbidden: User \"{}\" cannot {verb} path \"{path}\"", identity.user)))
}

impl Rule {
    fn allows(&self, identity: &Identity, attributes: &Attributes<'_>) -> bool {
        identity.has(self.role)
            && (self.group == ANY || self.group == attributes.group)
            && self.resources.iter().any(|resource| names(resource, attributes))
            && self.verbs.iter().any(|verb| *verb == ANY || *verb == attributes.verb)
            && self.only.covers(identity, attributes)
    }
}

impl Only {
    fn covers(self, identity: &Identity, attributes: &Attributes<'_>) -> bool {
        let Some(node) = identity.user.strip_prefix(NODE_USER_PREFIX) else {
            return match self {
                Self::All => true,
                Self::Namespace(namespace) => attributes.namespace == namespace,
                Self::Own | Self::NamingSelf => false,
            };
        };
        match self {
            Self::All => true,
            Self::Namespace(namespace) => attributes.namespace == namespace,
            Self::NamingSelf => selects(attributes.field_selector, "spec.nodeName", node),
            Self::Own if attributes.resource == "leases" => {
                attributes.namespace == NODE_LEASE_NAMESPACE && attributes.name == node
            }
            Self::Own if attributes.name.is_empty() => {
                // Only collections are narrowed by a selector; a named write must name the node itself.
                READ.contains(&attributes.verb) && selects(attributes.field_selector, "metadata.name", node)
            }
            Self::Own => attributes.name == node,
        }
    }
}

fn names(resource: &str, attributes: &Attributes<'_>) -> bool {
    if resource == ANY {
        return true;
    }
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    resource == attributes.resource && subresource == attributes.subresource
}

/// Whether one requirement of the selector is `field=value`; all requirements must hold of a selected object.
fn selects(selector: &str, field: &str, value: &str) -> bool {
    selector.split(',').any(|requirement| {
        let Some((left, right)) = requirement.split_once('=') else { return false };
        left.trim() == field && right.strip_prefix('=').unwrap_or(right).trim() == value
    })
}

/// Everybody but the holder of a join token may ask who he is and what he may.
fn asks_about_itself(identity: &Identity, attributes: &Attributes<'_>) -> bool {
    let reviews = match attributes.group {
        AUTHENTICATION => &["selfsubjectreviews"][..],
        AUTHORIZATION => &["selfsubjectaccessreviews", "selfsubjectrulesreviews"][..],
        _ => return false,
    };
    attributes.verb == "create" && reviews.contains(&attributes.resource) && !identity.has(groups::BOOTSTRAPPERS)
}

/// A namespaced token is good for its namespace: the objects in it, and reading the Namespace itself.
fn within_namespace(identity: &Identity, attributes: &Attributes<'_>) -> bool {
    let Some(namespace) = identity.namespace.as_deref() else { return true };
    if attributes.group.is_empty() && attributes.resource == "namespaces" {
        return attributes.verb == "get" && attributes.name == namespace;
    }
    attributes.namespace == namespace
}

fn refusal(identity: &Identity, attributes: &Attributes<'_>) -> String {
    let Attributes { verb, group, resource, subresource, namespace, .. } = attributes;
    let resource = if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{namespace}\"")
    };
    let user = &identity.user;
    format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}")
}
