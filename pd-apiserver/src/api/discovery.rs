//! Discovery: which groups, versions and resources there are, in both of Kubernetes' forms.
//!
//! In: the table of kinds. Out: JSON documents. Nothing here depends on what is stored.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::{
    call::Subresource,
    kinds::{self, KINDS, Kind, Rules},
    media::Form,
};

/// `GET /version`. The version of Kubernetes is that of the API types we speak.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "33",
        "gitVersion": concat!("v1.33.0+processdistro.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `GET /api`.
pub(crate) fn core_versions(form: Form) -> Response {
    match form {
        Form::Discovery(version) => aggregated(version, true),
        _ => axum::Json(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }))
        .into_response(),
    }
}

/// `GET /apis`.
pub(crate) fn groups(form: Form) -> Response {
    if let Form::Discovery(version) = form {
        return aggregated(version, false);
    }
    let groups: Vec<_> = kinds::group_versions().into_iter().filter(|(group, _)| !group.is_empty()).collect();
    let groups: Vec<_> = groups.into_iter().filter_map(|(name, _)| group(name)).collect();
    axum::Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})).into_response()
}

/// `GET /apis/GROUP`.
pub(crate) fn group(name: &str) -> Option<Value> {
    let found = kinds::group_versions().into_iter().filter(|(group, _)| *group == name && !group.is_empty());
    let versions: Vec<_> = found
        .map(|(group, version)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name,
        "versions": versions, "preferredVersion": preferred,
    }))
}

/// `GET /api/v1` and `GET /apis/GROUP/VERSION`.
pub(crate) fn resources(group: &str, version: &str) -> Option<Value> {
    let of_group: Vec<_> = KINDS.iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let group_version = of_group.first()?.api_version();
    let resources: Vec<_> = of_group.into_iter().flat_map(legacy_entries).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

/// Name, kind and verbs of a kind's subresources.
fn subresources(kind: &Kind) -> Vec<(&'static str, Value, &'static [&'static str])> {
    let own = json!({"group": kind.group, "version": kind.version, "kind": kind.name});
    let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
    let eviction = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
    let mut found = Vec::new();
    let mut add = |part: Subresource, kind_of: &Value| found.push((part.name(), kind_of.clone(), part.verbs(kind)));
    if kind.rules == Rules::Pod {
        add(Subresource::Eviction, &eviction);
        add(Subresource::Log, &own);
    }
    if kind.has_scale {
        add(Subresource::Scale, &scale);
    }
    if kind.has_status {
        add(Subresource::Status, &own);
    }
    found
}

fn legacy_entries(kind: &Kind) -> Vec<Value> {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.name, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let mut entries = vec![entry];
    for (name, response, verbs) in subresources(kind) {
        let mut entry = json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": response["kind"], "verbs": verbs,
        });
        if response["group"] != kind.group {
            entry["group"] = response["group"].clone();
            entry["version"] = response["version"].clone();
        }
        entries.push(entry);
    }
    entries
}

fn aggregated(version: &'static str, is_core: bool) -> Response {
    let groups = kinds::group_versions().into_iter().filter(|(group, _)| group.is_empty() == is_core);
    let items: Vec<_> = groups
        .map(|(group, group_version)| {
            let of_group = KINDS.iter().filter(|kind| kind.group == group && kind.version == group_version);
            json!({
                "metadata": if group.is_empty() { json!({}) } else { json!({"name": group}) },
                "versions": [{
                    "version": group_version, "freshness": "Current",
                    "resources": of_group.map(aggregated_entry).collect::<Vec<_>>(),
                }],
            })
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let mut response = axum::Json(list).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn aggregated_entry(kind: &Kind) -> Value {
    let subresources: Vec<_> = subresources(kind)
        .into_iter()
        .map(|(name, response, verbs)| json!({"subresource": name, "responseKind": response, "verbs": verbs}))
        .collect();
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.name},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    for (key, value) in [
        ("shortNames", json!(kind.short_names)),
        ("categories", json!(kind.categories)),
        ("subresources", json!(subresources)),
    ] {
        if value.as_array().is_some_and(|list| !list.is_empty()) {
            entry[key] = value;
        }
    }
    entry
}
