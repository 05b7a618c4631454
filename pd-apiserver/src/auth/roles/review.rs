//! The same table read the other way round: everything that somebody may do, for `kubectl auth can-i --list`.

use schemas::well_known::{NODE_LEASE_NAMESPACE, NODE_USER_PREFIX};

use super::{
    DESCRIPTIONS,
    table::{AUTHENTICATION, AUTHORIZATION, Only, Rule, TABLE},
};
use crate::auth::Identity;

/// Resources of some groups and what may be done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups.
    pub groups: Vec<String>,
    /// Plural names, subresources after a slash.
    pub resources: Vec<String>,
    /// Object names; empty: all.
    pub names: Vec<String>,
}

/// Paths that are no objects and what may be done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// Paths; `*` at the end is any.
    pub paths: Vec<String>,
}

/// Everything that somebody may do in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// On objects.
    pub resources: Vec<ResourceRule>,
    /// On other paths.
    pub paths: Vec<PathRule>,
}

/// What `identity` may do in `namespace`.
pub fn rules(identity: &Identity, namespace: &str) -> Rules {
    let is_elsewhere = identity.namespace.as_deref().is_some_and(|own| own != namespace);
    let own = TABLE.iter().filter(|rule| identity.has(rule.role) && !is_elsewhere);
    let mut resources: Vec<_> = own.filter_map(|rule| resource_rule(rule, identity, namespace)).collect();
    if !identity.has(schemas::well_known::groups::BOOTSTRAPPERS) {
        resources.push(reviews(AUTHENTICATION, &["selfsubjectreviews"]));
        resources.push(reviews(AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]));
    }
    let mut paths = vec![PathRule { verbs: texts(&["get"]), paths: texts(DESCRIPTIONS) }];
    if super::reads_metrics(identity) {
        paths.push(PathRule { verbs: texts(&["get"]), paths: texts(&["/metrics"]) });
    }
    Rules { resources, paths }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn reviews(group: &str, resources: &[&str]) -> ResourceRule {
    ResourceRule { verbs: texts(&["create"]), groups: texts(&[group]), resources: texts(resources), names: Vec::new() }
}

/// A line of the table as it holds in `namespace`; `None`: it does not.
fn resource_rule(rule: &Rule, identity: &Identity, namespace: &str) -> Option<ResourceRule> {
    let node = identity.user.strip_prefix(NODE_USER_PREFIX);
    let names = match (rule.only, node) {
        (Only::All | Only::NamingSelf, _) => Vec::new(),
        (Only::Namespace(own), _) if own == namespace => Vec::new(),
        (Only::Own, Some(_)) if rule.resources.contains(&"leases") && namespace != NODE_LEASE_NAMESPACE => return None,
        (Only::Own, Some(node)) => texts(&[node]),
        (Only::Namespace(_) | Only::Own, _) => return None,
    };
    Some(ResourceRule {
        verbs: texts(rule.verbs),
        groups: texts(&[rule.group]),
        resources: texts(rule.resources),
        names,
    })
}
