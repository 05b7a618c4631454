//! Namespaces: they hold on to themselves until the collector has emptied them.

use schemas::well_known::{NODE_LEASE_NAMESPACE, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

/// Namespaces that exist from the first start and cannot be deleted.
pub(crate) const PERMANENT: [&str; 3] = ["default", NODE_LEASE_NAMESPACE, SYSTEM_NAMESPACE];

pub(super) fn prepare_create(object: &mut Value) {
    object["spec"] = json!({"finalizers": ["kubernetes"]});
    object["status"] = json!({"phase": "Active"});
    let name = object["metadata"]["name"].clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}
