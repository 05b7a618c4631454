//! The table of roles: one line a rule.

use schemas::well_known::{GROUP, SYSTEM_NAMESPACE, groups};

pub(super) const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const CHANGE: &[&str] = &["get", "update", "patch"];
const KEEP: &[&str] = &["create", "get", "update", "patch"];
pub(super) const ANY: &str = "*";

/// On which objects a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    All,
    /// The Node (or Lease) that carries the node's own name.
    Own,
    /// Collections selected down to what names the node: `spec.nodeName=NAME`.
    NamingSelf,
    Namespace(&'static str),
}

/// One line of the table. A resource with `/` is a subresource; `*` is every one.
pub(super) struct Rule {
    pub(super) role: &'static str,
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    pub(super) verbs: &'static [&'static str],
    pub(super) only: Only,
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

pub(super) const LEASES: &str = "coordination.k8s.io";
pub(super) const CERTIFICATES: &str = "certificates.k8s.io";
pub(super) const AUTHENTICATION: &str = "authentication.k8s.io";
pub(super) const AUTHORIZATION: &str = "authorization.k8s.io";
const METRICS_API: &str = "metrics.k8s.io";
const EVENTS_API: &str = "events.k8s.io";
const POLICY: &str = "policy";

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
    "cachedresults",
    "manifestsources",
    "manifestsources/status",
];
const CORE_READS: &[&str] = &[
    "namespaces",
    "namespaces/status",
    "nodes",
    "nodes/status",
    "events",
    "pods",
    "pods/log",
    "configmaps",
    "services",
];
/// What editors may write beside our own kinds; a viewer does not even read a Secret.
const CORE_WRITES: &[&str] = &["configmaps", "secrets"];

pub(super) const TABLE: &[Rule] = &[
    rule(groups::ADMINS, ANY, &[ANY], &[ANY], Only::All),
    // Users.
    rule(groups::EDITORS, GROUP, USER_READS, READ, Only::All),
    rule(groups::EDITORS, "", CORE_READS, READ, Only::All),
    rule(groups::EDITORS, METRICS_API, &["nodes", "pods"], READ, Only::All),
    rule(groups::EDITORS, EVENTS_API, &["events"], READ, Only::All),
    rule(groups::EDITORS, POLICY, &["poddisruptionbudgets"], READ, Only::All),
    rule(groups::EDITORS, "", &["secrets"], READ, Only::All),
    rule(groups::EDITORS, "", CORE_WRITES, WRITE, Only::All),
    rule(groups::EDITORS, "", &["pods"], &["delete"], Only::All),
    rule(groups::EDITORS, "", &["pods/eviction"], &["create"], Only::All),
    rule(groups::EDITORS, GROUP, &["jobs", "tasks", "manifestsources"], WRITE, Only::All),
    // Whoever does not trust what was computed has it computed anew.
    rule(groups::EDITORS, GROUP, &["cachedresults"], &["delete", "deletecollection"], Only::All),
    // Whoever watches a folder says what became of it.
    rule(groups::EDITORS, "", &["events"], &["create"], Only::All),
    rule(groups::EDITORS, GROUP, &["jobs/scale", "manifestsources/status"], CHANGE, Only::All),
    rule(groups::VIEWERS, GROUP, USER_READS, READ, Only::All),
    rule(groups::VIEWERS, "", CORE_READS, READ, Only::All),
    rule(groups::VIEWERS, METRICS_API, &["nodes", "pods"], READ, Only::All),
    rule(groups::VIEWERS, EVENTS_API, &["events"], READ, Only::All),
    rule(groups::VIEWERS, POLICY, &["poddisruptionbudgets"], READ, Only::All),
    // The reconciler reads everything but credentials; it writes what design.md makes it the writer of.
    rule(groups::RECONCILERS, GROUP, USER_READS, READ, Only::All),
    rule(groups::RECONCILERS, "", &["namespaces", "nodes", "nodes/status", "events"], READ, Only::All),
    rule(groups::RECONCILERS, LEASES, &["leases"], READ, Only::All),
    rule(groups::RECONCILERS, GROUP, &["jobs/status", "tasks/status"], CHANGE, Only::All),
    rule(groups::RECONCILERS, GROUP, &["assignments", "cachedresults"], WRITE, Only::All),
    // A job goes when its time after its end is over; a node's annotation says why it is idle.
    rule(groups::RECONCILERS, GROUP, &["jobs"], &["delete"], Only::All),
    rule(groups::RECONCILERS, "", &["nodes"], &["patch"], Only::All),
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
