//! Names that more than one component must spell the same way.

/// Our API group.
pub const GROUP: &str = "processdistro.dev";
/// Our only version so far.
pub const VERSION: &str = "v1";
/// Label on Assignments and Subtasks: the name of their Job.
pub const LABEL_JOB: &str = "processdistro.dev/job";
/// Label on Assignments and Subtasks: the name of their node.
pub const LABEL_NODE: &str = "processdistro.dev/node";
/// Annotation on a node's Lease: a `NodeUsage` as JSON.
pub const ANNOTATION_USAGE: &str = "processdistro.dev/usage";
/// Taint of a node that is being drained: what it has not started goes elsewhere.
pub const TAINT_DRAIN: &str = "processdistro.dev/drain";
/// Taint of a node whose outputs differed from what other nodes agreed on. An administrator takes it off.
pub const TAINT_UNTRUSTED: &str = "processdistro.dev/untrusted";
/// Extended resource in a Node's capacity: how many subtasks it runs at once.
pub const RESOURCE_SLOTS: &str = "processdistro.dev/slots";
/// Annotation on a Node: why it has nothing to do, in one sentence; absent on a busy one.
pub const ANNOTATION_IDLE_REASON: &str = "processdistro.dev/idle-reason";
/// Namespace of the nodes' Leases; `kubectl describe node` looks for them here.
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";
/// Namespace of our own bookkeeping (leader election).
pub const SYSTEM_NAMESPACE: &str = "processdistro-system";
/// User name of a node is this prefix and the node's name.
pub const NODE_USER_PREFIX: &str = "node:";
/// Signer of node certificates in a CertificateSigningRequest.
pub const NODE_SIGNER: &str = "processdistro.dev/node";

/// Groups a credential can carry; each is one role.
pub mod groups {
    /// May do everything.
    pub const ADMINS: &str = "processdistro:admins";
    /// May read and write the namespaced kinds of users.
    pub const EDITORS: &str = "processdistro:editors";
    /// May read what editors may.
    pub const VIEWERS: &str = "processdistro:viewers";
    /// A kubelet: itself, its Lease, its Assignments, and the artifacts those name.
    pub const NODES: &str = "processdistro:nodes";
    /// The reconciler: reads everything but tokens, writes statuses, Assignments, Events and Leases.
    pub const RECONCILERS: &str = "processdistro:reconcilers";
    /// May read `/metrics`.
    pub const METRICS: &str = "processdistro:metrics";
    /// Holds a join token: may create one CertificateSigningRequest.
    pub const BOOTSTRAPPERS: &str = "processdistro:bootstrappers";
}

/// Path under which artifacts are stored and fetched: `/artifacts/v1/sha256:<64 hex digits>`.
pub const ARTIFACTS_PATH: &str = "/artifacts/v1";
/// Path under which an admin fetches a backup of the whole cluster, as a tar file.
pub const BACKUP_PATH: &str = "/backup/v1";
