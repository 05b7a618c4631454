//! The kinds that Kubernetes itself has, as far as tools expect them. Their types are `k8s-openapi`'s.

use serde_json::{Value, json};

use super::{ALL, CREATE, Kind, READ, Rules, add_envelope};

/// A kind whose types are `k8s-openapi`'s. The schema says only what server-side apply must know.
fn core(group: &'static str, names: [&'static str; 3], short: &str, namespaced: bool, rules: Rules) -> Kind {
    let [kind, plural, singular] = names;
    Kind {
        group,
        version: "v1",
        name: kind,
        plural,
        singular,
        short_names: short.split_whitespace().map(str::to_owned).collect(),
        categories: Vec::new(),
        namespaced,
        verbs: ALL,
        has_status: false,
        has_scale: false,
        selectable: Vec::new(),
        columns: Vec::new(),
        schema: preserving(json!({})),
        rules,
    }
}

/// Selectors of Events, as upstream has them.
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

fn map_list(key: &str) -> Value {
    json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key],
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

fn preserving(mut properties: Value) -> Value {
    for part in properties.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        part["type"] = "object".into();
        part["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    let mut schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties});
    add_envelope(&mut schema);
    schema
}

pub(super) fn built_in() -> Vec<Kind> {
    let namespace = Kind {
        has_status: true,
        selectable: vec!["status.phase".to_owned()],
        schema: preserving(json!({"spec": {}, "status": {"properties": {"conditions": map_list("type")}}})),
        ..core("", ["Namespace", "namespaces", "namespace"], "ns", false, Rules::Namespace)
    };
    let node = Kind {
        has_status: true,
        selectable: vec!["spec.unschedulable".to_owned()],
        schema: preserving(json!({
            "spec": {},
            "status": {"properties": {"conditions": map_list("type"), "addresses": map_list("type")}},
        })),
        ..core("", ["Node", "nodes", "node"], "no", false, Rules::Node)
    };
    let event = Kind {
        selectable: EVENT_FIELDS.iter().map(|field| (*field).to_owned()).collect(),
        ..core("", ["Event", "events", "event"], "ev", true, Rules::Event)
    };
    let lease = Kind {
        schema: preserving(json!({"spec": {}})),
        ..core("coordination.k8s.io", ["Lease", "leases", "lease"], "", true, Rules::Lease)
    };
    let names = ["CertificateSigningRequest", "certificatesigningrequests", "certificatesigningrequest"];
    let csr = Kind {
        has_status: true,
        selectable: vec!["spec.signerName".to_owned()],
        schema: preserving(json!({"spec": {}, "status": {"properties": {"conditions": map_list("type")}}})),
        ..core("certificates.k8s.io", names, "csr", false, Rules::Csr)
    };
    let mut kinds = vec![namespace, node, event, lease, csr];
    kinds.extend(stores());
    kinds.extend(views());
    kinds.extend(reviews());
    kinds
}

/// Plain stores.
fn stores() -> [Kind; 2] {
    let config_map = core("", ["ConfigMap", "configmaps", "configmap"], "cm", true, Rules::ConfigMap);
    let secret = Kind {
        selectable: vec!["type".to_owned()],
        ..core("", ["Secret", "secrets", "secret"], "", true, Rules::Secret)
    };
    [config_map, secret]
}

/// What is computed on each read.
fn views() -> [Kind; 5] {
    let pod = Kind {
        verbs: &["delete", "get", "list", "watch"],
        categories: vec!["all".to_owned()],
        selectable: ["spec.nodeName", "spec.restartPolicy", "status.phase"].map(str::to_owned).into(),
        ..core("", ["Pod", "pods", "pod"], "po", true, Rules::Pod)
    };
    let service = Kind { verbs: READ, ..core("", ["Service", "services", "service"], "svc", true, Rules::Service) };
    let names = ["PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget"];
    let budget = Kind { verbs: READ, ..core("policy", names, "pdb", true, Rules::PodDisruptionBudget) };
    let node_metrics = Kind {
        verbs: READ,
        version: "v1beta1",
        ..core("metrics.k8s.io", ["NodeMetrics", "nodes", "nodemetrics"], "", false, Rules::NodeMetrics)
    };
    let pod_metrics = Kind {
        verbs: READ,
        version: "v1beta1",
        ..core("metrics.k8s.io", ["PodMetrics", "pods", "podmetrics"], "", true, Rules::PodMetrics)
    };
    [pod, service, budget, node_metrics, pod_metrics]
}

/// Questions about who somebody is and what he may do.
fn reviews() -> [Kind; 4] {
    let review = |group, names, rules| Kind { verbs: CREATE, ..core(group, names, "", false, rules) };
    let authorization = "authorization.k8s.io";
    [
        review(
            "authentication.k8s.io",
            ["SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"],
            Rules::SelfSubjectReview,
        ),
        review(
            authorization,
            ["SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"],
            Rules::SelfSubjectAccessReview,
        ),
        review(
            authorization,
            ["SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"],
            Rules::SelfSubjectRulesReview,
        ),
        review(
            authorization,
            ["SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"],
            Rules::SubjectAccessReview,
        ),
    ]
}
