//! Reviews: who am I, and what may I do? Computed from the identity and the table of roles, never stored.
//!
//! In: the body of a create. Out: the same object with its status.

use serde_json::{Value, json};

use super::{
    call::{Call, text},
    error::{ApiError, Cause, reasons},
    kinds::Rules,
    media::Document,
    registry, schema,
};
use crate::auth::{self, Attributes, Identity};

/// Group that everybody is in who has a credential, as upstream shows it.
const AUTHENTICATED: &str = "system:authenticated";

/// Answers a review.
pub(crate) fn answer(call: &Call, document: Document) -> Result<Value, ApiError> {
    let Document { value: mut review, duplicates } = document;
    let kind = call.target.kind;
    registry::check_type(kind, &mut review)?;
    let findings = schema::check(kind, &mut review)?;
    schema::judge(call.options.field_validation, findings.unknown, &duplicates)?;
    call.target.refuse_if_any(findings.causes)?;
    let identity = &call.identity;
    review["status"] = match kind.rules {
        Rules::SelfSubjectAccessReview => access(call, identity, &review["spec"])?,
        Rules::SubjectAccessReview => access(call, &subject(call, &review["spec"])?, &review["spec"])?,
        Rules::SelfSubjectRulesReview => rules(identity, text(&review["spec"]["namespace"])),
        _ => json!({"userInfo": {"username": identity.user, "groups": groups(identity)}}),
    };
    review["metadata"]["creationTimestamp"] = Value::Null;
    Ok(review)
}

fn groups(identity: &Identity) -> Vec<&str> {
    identity.groups.iter().map(String::as_str).chain([AUTHENTICATED]).collect()
}

/// Whom a SubjectAccessReview asks about.
fn subject(call: &Call, spec: &Value) -> Result<Identity, ApiError> {
    let user = text(&spec["user"]).to_owned();
    let groups: Vec<_> = spec["groups"].as_array().into_iter().flatten().map(|group| text(group).to_owned()).collect();
    if user.is_empty() && groups.is_empty() {
        let message = "Invalid value: \"\": at least one of user or group must be specified";
        call.target.refuse_if_any(vec![Cause::new(reasons::INVALID, "spec.user", message)])?;
    }
    Ok(Identity { user, groups, namespace: None, token: None })
}

fn access(call: &Call, identity: &Identity, spec: &Value) -> Result<Value, ApiError> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let allowed = match (resource.is_object(), path.is_object()) {
        (true, false) => {
            let attributes = Attributes {
                verb: text(&resource["verb"]),
                group: text(&resource["group"]),
                resource: text(&resource["resource"]),
                subresource: text(&resource["subresource"]),
                namespace: text(&resource["namespace"]),
                name: text(&resource["name"]),
                field_selector: &field_selector(&resource["fieldSelector"]),
            };
            auth::authorize(identity, &attributes).is_ok()
        }
        (false, true) => auth::authorize_path(identity, text(&path["verb"]), text(&path["path"])).is_ok(),
        _ => {
            let message = "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let cause = Cause::new(reasons::INVALID, "spec.resourceAttributes", message);
            return call.target.refuse_if_any(vec![cause]).map(|()| Value::Null);
        }
    };
    Ok(json!({"allowed": allowed}))
}

/// A selector's parsed form as the text that requests carry.
fn field_selector(selector: &Value) -> String {
    let raw = text(&selector["rawSelector"]);
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let terms = selector["requirements"].as_array().into_iter().flatten();
    let terms =
        terms.filter(|term| term["operator"] == "In" && term["values"].as_array().is_some_and(|v| v.len() == 1));
    let texts: Vec<_> = terms.map(|term| format!("{}={}", text(&term["key"]), text(&term["values"][0]))).collect();
    texts.join(",")
}

fn rules(identity: &Identity, namespace: &str) -> Value {
    let rules = auth::rules(identity, namespace);
    let resources: Vec<_> = rules
        .resources
        .into_iter()
        .map(|rule| {
            let mut shown = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
            if !rule.names.is_empty() {
                shown["resourceNames"] = json!(rule.names);
            }
            shown
        })
        .collect();
    let paths: Vec<_> =
        rules.paths.into_iter().map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths})).collect();
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
