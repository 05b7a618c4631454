//! The table as agreed, role by role.

use std::fmt::Write as _;

use schemas::well_known::{GROUP, SYSTEM_NAMESPACE};

use super::{
    table::{CERTIFICATES, LEASES},
    *,
};

const RESOURCES: &[(&str, &str, &str)] = &[
    (GROUP, "jobs", ""),
    (GROUP, "jobs", "status"),
    (GROUP, "jobs", "scale"),
    (GROUP, "tasks", ""),
    (GROUP, "tasks", "status"),
    (GROUP, "assignments", ""),
    (GROUP, "assignments", "status"),
    (GROUP, "subtasks", ""),
    (GROUP, "queues", ""),
    (GROUP, "cachedresults", ""),
    (GROUP, "manifestsources", ""),
    (GROUP, "manifestsources", "status"),
    (GROUP, "tokens", ""),
    ("", "namespaces", ""),
    ("", "nodes", ""),
    ("", "nodes", "status"),
    ("", "events", ""),
    ("", "configmaps", ""),
    ("", "secrets", ""),
    ("", "pods", ""),
    ("", "pods", "log"),
    ("", "pods", "eviction"),
    ("metrics.k8s.io", "nodes", ""),
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
    assignments glw\nassignments/status glw\nsubtasks glw\nqueues glw\ncachedresults glwdD\nmanifestsources glwcupdD\nmanifestsources/status glwup\nnamespaces glw\nnodes glw\nnodes/status glw\n\
    events glwc\nconfigmaps glwcupdD\nsecrets glwcupdD\npods glwd\npods/log glw\npods/eviction c\nnodes glw\n\
    selfsubjectreviews c\n";
const VIEWER: &str = "jobs glw\njobs/status glw\njobs/scale glw\ntasks glw\ntasks/status glw\nassignments glw\n\
    assignments/status glw\nsubtasks glw\nqueues glw\ncachedresults glw\nmanifestsources glw\nmanifestsources/status glw\nnamespaces glw\nnodes glw\nnodes/status glw\nevents glw\n\
    configmaps glw\npods glw\npods/log glw\nnodes glw\nselfsubjectreviews c\n";
const RECONCILER: &str = "jobs glwd\njobs/status glwup\njobs/scale glw\ntasks glw\ntasks/status glwup\n\
    assignments glwcupdD\nassignments/status glw\nsubtasks glw\nqueues glw\ncachedresults glwcupdD\nmanifestsources glw\nmanifestsources/status glw\nnamespaces glw\nnodes glwp\nnodes/status glwup\n\
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
    let attributes =
        Attributes { verb: "create", group: GROUP, resource: "jobs", namespace: "default", ..Attributes::default() };
    assert_eq!(
        authorize(&identity("x", groups::VIEWERS), &attributes).unwrap_err().to_string(),
        "User \"x\" cannot create resource \"jobs\" in API group \
         \"processdistro.dev\" in the namespace \"default\""
    );
    let attributes = Attributes { verb: "get", resource: "nodes", name: "n2", ..Attributes::default() };
    assert_eq!(
        authorize(&identity("node:n1", groups::NODES), &attributes).unwrap_err().to_string(),
        "User \"node:n1\" cannot get resource \"nodes\" in API group \"\" at the cluster scope"
    );
}

#[test]
fn metrics_are_for_those_who_measure() {
    let may = |group| authorize_metrics(&identity("x", group)).is_ok();
    assert!(may(groups::METRICS) && may(groups::ADMINS) && may(groups::RECONCILERS));
    assert!(!may(groups::EDITORS) && !may(groups::VIEWERS) && !may(groups::NODES) && !may(groups::BOOTSTRAPPERS));
}

#[test]
fn the_rules_of_a_review_say_what_the_table_says() {
    let viewer = identity("v", groups::VIEWERS);
    let seen = rules(&viewer, "default");
    assert!(seen.resources.iter().any(|rule| rule.groups == [GROUP] && rule.resources.contains(&"jobs".to_owned())));
    assert!(!seen.resources.iter().any(|rule| rule.resources.contains(&"secrets".to_owned())));
    let mut bound = identity("e", groups::EDITORS);
    bound.namespace = Some("mine".to_owned());
    let elsewhere = rules(&bound, "other").resources;
    assert!(elsewhere.iter().all(|rule| rule.verbs == ["create"]), "only the reviews of itself: {elsewhere:?}");
    let node = rules(&identity("node:n1", groups::NODES), "");
    let own = node.resources.iter().find(|rule| rule.resources.contains(&"nodes/status".to_owned())).expect("its Node");
    assert_eq!(own.names, ["n1"]);
}

#[test]
fn paths_that_describe_are_open_and_others_are_not() {
    let viewer = identity("v", groups::VIEWERS);
    for path in ["/version", "/apis/processdistro.dev/v1", "/openapi/v3", "/livez"] {
        assert!(authorize_path(&viewer, "get", path).is_ok(), "{path}");
    }
    assert!(authorize_path(&viewer, "get", "/metrics").is_err());
    assert!(authorize_path(&viewer, "post", "/version").is_err());
    assert!(authorize_path(&identity("a", groups::ADMINS), "get", "/anything").is_ok());
}
