//! The fixed role table: which group may do what. No rule language.
//!
//! In: an identity and the attributes of a request. Out: yes, or a refusal in Kubernetes' words. What a node
//! may see of one object (is this Assignment its own?) is the registry's to check: this room sees no objects.

use schemas::well_known::{GROUP, NODE_LEASE_NAMESPACE, NODE_USER_PREFIX, SYSTEM_NAMESPACE, groups};

use super::{Attributes, Identity};

/// A refusal, as Kubernetes words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const CHANGE: &[&str] = &["get", "update", "patch"];
const KEEP: &[&str] = &["create", "get", "update", "patch"];
const ANY: &str = "*";

/// On which objects a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    All,
    /// The Node (or Lease) that carries the node's own name.
    Own,
    /// Collections selected down to what names the node: `spec.nodeName=NAME`.
    NamingSelf,
    Namespace(&'static str),
}

/// One line of the table. A resource with `/` is a subresource; `*` is every one.
struct Rule {
    role: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    only: Only,
}

const fn rule(
    role: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    only: Only,
) -> Rule {
    Rule { role, group, resources, verbs, only }
}

const LEASES: &str = "coordination.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const METRICS_API: &str = "metrics.k8s.io";

/// Our kinds that users read, with the views of them.
const USER_READS: &[&str] = &[
    "jobs",
    "jobs/status",
    "jobs/scale",
    "tasks",
    "tasks/status",
    "assignments",
    "assignments/status",
    "subtasks",
    "subtasks/log",
    "queues",
];
const CORE_READS: &[&str] = &["namespaces", "nodes", "events", "pods", "pods/log"];

const TABLE: &[Rule] = &[
    rule(groups::ADMINS, ANY, &[ANY], &[ANY], Only::All),
    // Users.
    rule(groups::EDITORS, GROUP, USER_READS, READ, Only::All),
    rule(groups::EDITORS, "", CORE_READS, READ, Only::All),
    rule(groups::EDITORS, METRICS_API, &["nodes", "pods"], READ, Only::All),
    rule(groups::EDITORS, GROUP, &["jobs", "tasks"], WRITE, Only::All),
    rule(groups::EDITORS, GROUP, &["jobs/scale"], CHANGE, Only::All),
    rule(groups::VIEWERS, GROUP, USER_READS, READ, Only::All),
    rule(groups::VIEWERS, "", CORE_READS, READ, Only::All),
    rule(groups::VIEWERS, METRICS_API, &["nodes", "pods"], READ, Only::All),
    // The reconciler reads everything but credentials; it writes what design.md makes it the writer of.
    rule(groups::RECONCILERS, GROUP, USER_READS, READ, Only::All),
    rule(groups::RECONCILERS, "", &["namespaces", "nodes", "nodes/status", "events"], READ, Only::All),
    rule(groups::RECONCILERS, LEASES, &["leases"], READ, Only::All),
    rule(groups::RECONCILERS, GROUP, &["jobs/status", "tasks/status"], CHANGE, Only::All),
    rule(groups::RECONCILERS, GROUP, &["assignments"], WRITE, Only::All),
    rule(groups::RECONCILERS, "", &["nodes/status"], CHANGE, Only::All),
    rule(groups::RECONCILERS, "", &["events"], KEEP, Only::All),
    rule(groups::RECONCILERS, LEASES, &["leases"], WRITE, Only::Namespace(SYSTEM_NAMESPACE)),
    // A node: itself, its Lease, its Assignments.
    rule(groups::NODES, "", &["nodes"], READ, Only::Own),
    rule(groups::NODES, "", &["nodes", "nodes/status"], KEEP, Only::Own),
    rule(groups::NODES, LEASES, &["leases"], KEEP, Only::Own),
    rule(groups::NODES, GROUP, &["assignments"], &["list", "watch"], Only::NamingSelf),
    rule(groups::NODES, GROUP, &["assignments"], &["get"], Only::All),
    rule(groups::NODES, GROUP, &["assignments/status"], CHANGE, Only::All),
    rule(groups::NODES, CERTIFICATES, &["certificatesigningrequests"], &["create"], Only::All),
    rule(groups::NODES, "", &["namespaces"], &["get"], Only::All),
    // A join token.
    rule(groups::BOOTSTRAPPERS, CERTIFICATES, &["certificatesigningrequests"], &["create"], Only::All),
];

/// May `identity` do this? For `create` the attributes carry the object's name.
pub fn authorize(identity: &Identity, attributes: &Attributes<'_>) -> Result<(), Denied> {
    if asks_about_itself(identity, attributes) {
        return Ok(());
    }
    let allowed = within_namespace(identity, attributes) && TABLE.iter().any(|rule| rule.allows(identity, attributes));
    if allowed { Ok(()) } else { Err(Denied(refusal(identity, attributes))) }
}

/// May `identity` read `/metrics`?
pub fn authorize_metrics(identity: &Identity) -> Result<(), Denied> {
    let readers = [groups::ADMINS, groups::METRICS, groups::RECONCILERS];
    if readers.iter().any(|role| identity.has(role)) {
        return Ok(());
    }
    Err(Denied(format!("forbidden: User \"{}\" cannot get path \"/metrics\"", identity.user)))
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
    let Attributes { verb, group, resource, subresource, namespace, name, .. } = attributes;
    let qualified = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
    let object = if name.is_empty() { qualified } else { format!("{qualified} \"{name}\"") };
    let resource = if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{namespace}\"")
    };
    let user = &identity.user;
    format!(
        "{object} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}"
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const RESOURCES: &[(&str, &str, &str)] = &[
        (GROUP, "jobs", ""),
        (GROUP, "jobs", "status"),
        (GROUP, "jobs", "scale"),
        (GROUP, "tasks", ""),
        (GROUP, "tasks", "status"),
        (GROUP, "assignments", ""),
        (GROUP, "assignments", "status"),
        (GROUP, "subtasks", ""),
        (GROUP, "tokens", ""),
        ("", "namespaces", ""),
        ("", "nodes", ""),
        ("", "nodes", "status"),
        ("", "events", ""),
        (LEASES, "leases", ""),
        (CERTIFICATES, "certificatesigningrequests", ""),
        (AUTHENTICATION, "selfsubjectreviews", ""),
    ];
    const VERBS: &[(char, &str)] = &[
        ('g', "get"),
        ('l', "list"),
        ('w', "watch"),
        ('c', "create"),
        ('u', "update"),
        ('p', "patch"),
        ('d', "delete"),
        ('D', "deletecollection"),
    ];

    fn identity(user: &str, group: &str) -> Identity {
        Identity { user: user.to_owned(), groups: vec![group.to_owned()], namespace: None, token: None }
    }

    /// What `identity` may do to `name` in `namespace`, a line per resource that it may touch at all.
    fn matrix(identity: &Identity, namespace: &str, name: &str, field_selector: &str) -> String {
        let mut text = String::new();
        for (group, resource, subresource) in RESOURCES {
            let may = |verb| {
                let attributes = Attributes { verb, group, resource, subresource, namespace, name, field_selector };
                authorize(identity, &attributes).is_ok()
            };
            let verbs: String = VERBS.iter().filter(|(_, verb)| may(verb)).map(|(letter, _)| *letter).collect();
            let slash = if subresource.is_empty() { "" } else { "/" };
            if !verbs.is_empty() {
                writeln!(text, "{resource}{slash}{subresource} {verbs}").unwrap();
            }
        }
        text
    }

    const EDITOR: &str = "jobs glwcupdD\njobs/status glw\njobs/scale glwup\ntasks glwcupdD\ntasks/status glw\n\
        assignments glw\nassignments/status glw\nsubtasks glw\nnamespaces glw\nnodes glw\nevents glw\n\
        selfsubjectreviews c\n";
    const VIEWER: &str = "jobs glw\njobs/status glw\njobs/scale glw\ntasks glw\ntasks/status glw\nassignments glw\n\
        assignments/status glw\nsubtasks glw\nnamespaces glw\nnodes glw\nevents glw\nselfsubjectreviews c\n";
    const RECONCILER: &str = "jobs glw\njobs/status glwup\njobs/scale glw\ntasks glw\ntasks/status glwup\n\
        assignments glwcupdD\nassignments/status glw\nsubtasks glw\nnamespaces glw\nnodes glw\nnodes/status glwup\n\
        events glwcup\nleases glw\nselfsubjectreviews c\n";

    #[test]
    fn the_whole_table_is_as_agreed() {
        let every = "glwcupdD";
        let mut all = String::new();
        for (_, resource, subresource) in RESOURCES {
            let slash = if subresource.is_empty() { "" } else { "/" };
            writeln!(all, "{resource}{slash}{subresource} {every}").unwrap();
        }
        for (group, expected) in [
            (groups::ADMINS, all.as_str()),
            (groups::EDITORS, EDITOR),
            (groups::VIEWERS, VIEWER),
            (groups::RECONCILERS, RECONCILER),
            (groups::METRICS, "selfsubjectreviews c\n"),
            (groups::BOOTSTRAPPERS, "certificatesigningrequests c\n"),
            ("somebody", "selfsubjectreviews c\n"),
        ] {
            assert_eq!(matrix(&identity("x", group), "default", "thing", ""), expected, "{group}");
        }
    }

    #[test]
    fn a_node_has_itself_its_lease_and_its_assignments() {
        let node = identity("node:n1", groups::NODES);
        let anywhere = "assignments g\nassignments/status gup\nnamespaces g\n";
        let certificate = "certificatesigningrequests c\nselfsubjectreviews c\n";
        let other = format!("{anywhere}{certificate}");
        assert_eq!(matrix(&node, "default", "n2", ""), other);
        assert_eq!(matrix(&node, "kube-node-lease", "n2", ""), other);
        assert_eq!(matrix(&node, "", "", ""), other);
        assert_eq!(matrix(&node, "", "n1", ""), format!("{anywhere}nodes glwcup\nnodes/status gcup\n{certificate}"));
        let lease = matrix(&node, "kube-node-lease", "n1", "");
        assert!(lease.contains("\nleases gcup\n"), "{lease}");
    }

    #[test]
    fn a_node_lists_only_what_names_it() {
        let node = identity("node:n1", groups::NODES);
        let may = |resource, group, selector| {
            let field_selector = selector;
            let attributes = Attributes { verb: "watch", group, resource, field_selector, ..Attributes::default() };
            authorize(&node, &attributes).is_ok()
        };
        for selector in ["spec.nodeName=n1", "spec.nodeName==n1", "metadata.name=x,spec.nodeName=n1"] {
            assert!(may("assignments", GROUP, selector), "{selector}");
        }
        for selector in ["", "spec.nodeName!=n1", "spec.nodeName=n10", "spec.nodeName=n2", "x.spec.nodeName=n1"] {
            assert!(!may("assignments", GROUP, selector), "{selector}");
        }
        assert!(may("nodes", "", "metadata.name=n1"));
        assert!(!may("nodes", "", "metadata.name=n2"));
        assert!(!may("nodes", "", ""));
        assert!(!matrix(&node, "", "n2", "metadata.name=n1").contains("nodes"));
        assert!(matrix(&node, "", "", "metadata.name=n1").contains("nodes glw\n"), "no write by selector");
    }

    #[test]
    fn the_node_group_without_a_node_name_owns_nothing() {
        let impostor = identity("x", groups::NODES);
        assert!(!matrix(&impostor, "kube-node-lease", "x", "spec.nodeName=x").contains("nodes"));
    }

    #[test]
    fn a_namespaced_token_stays_in_its_namespace() {
        let mut editor = identity("x", groups::EDITORS);
        editor.namespace = Some("mine".to_owned());
        assert_eq!(matrix(&editor, "other", "thing", ""), "selfsubjectreviews c\n");
        assert_eq!(matrix(&editor, "", "", ""), "selfsubjectreviews c\n");
        assert!(matrix(&editor, "mine", "thing", "").starts_with("jobs glwcupdD\n"));
        assert!(matrix(&editor, "mine", "mine", "").contains("namespaces g\n"));
    }

    #[test]
    fn only_the_reconciler_leads() {
        let reconciler = identity("reconciler", groups::RECONCILERS);
        assert!(matrix(&reconciler, SYSTEM_NAMESPACE, "leader", "").contains("leases glwcupdD\n"));
    }

    #[test]
    fn refusals_read_like_kubernetes() {
        let attributes = Attributes {
            verb: "create",
            group: GROUP,
            resource: "jobs",
            namespace: "default",
            ..Attributes::default()
        };
        assert_eq!(
            authorize(&identity("x", groups::VIEWERS), &attributes).unwrap_err().to_string(),
            "jobs.processdistro.dev is forbidden: User \"x\" cannot create resource \"jobs\" in API group \
             \"processdistro.dev\" in the namespace \"default\""
        );
        let attributes = Attributes { verb: "get", resource: "nodes", name: "n2", ..Attributes::default() };
        assert_eq!(
            authorize(&identity("node:n1", groups::NODES), &attributes).unwrap_err().to_string(),
            "nodes \"n2\" is forbidden: User \"node:n1\" cannot get resource \"nodes\" in API group \"\" at the cluster scope"
        );
    }

    #[test]
    fn metrics_are_for_those_who_measure() {
        let may = |group| authorize_metrics(&identity("x", group)).is_ok();
        assert!(may(groups::METRICS) && may(groups::ADMINS) && may(groups::RECONCILERS));
        assert!(!may(groups::EDITORS) && !may(groups::VIEWERS) && !may(groups::NODES) && !may(groups::BOOTSTRAPPERS));
    }
}
