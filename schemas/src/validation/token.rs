//! Defaults and rules of a Token.

use serde_json::Value;

use super::{FieldError, FieldPath, job::duration_error, names::label_problem};
use crate::{
    TokenSpec,
    token::{Role, defaults},
};

/// Makes the lifetime of a Token explicit: 24h, 1h for a join token.
pub fn default_token(token: &mut Value) {
    let Some(spec) = token.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.retain(|_, value| !value.is_null());
    let is_join = spec.get("role").is_some_and(|role| role == "Join");
    let ttl = if is_join { defaults::join_ttl() } else { defaults::ttl() };
    spec.entry("ttl").or_insert_with(|| Value::String(ttl.to_string()));
}

/// All that is wrong with a Token's spec.
pub fn validate_token(spec: &TokenSpec) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors: Vec<_> = spec.ttl.and_then(|ttl| duration_error(&path.child("ttl"), ttl)).into_iter().collect();
    if let Some(namespace) = &spec.namespace {
        let path = path.child("namespace");
        if !matches!(spec.role, Role::Edit | Role::View) {
            errors.push(FieldError::forbidden(&path, "only a token of role Edit or View is good for one namespace"));
        }
        errors.extend(label_problem(namespace).map(|problem| FieldError::invalid(&path, namespace, problem)));
    }
    errors
}

/// What must not change about a Token: all of it.
pub fn validate_token_update(old: &TokenSpec, new: &TokenSpec) -> Vec<FieldError> {
    let detail = "field is immutable: delete the Token and create another";
    if old == new { Vec::new() } else { vec![FieldError::forbidden("spec", detail)] }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn join_tokens_live_shorter() {
        for (role, ttl) in [("Join", "1h"), ("Admin", "1day")] {
            let mut token = json!({"spec": {"role": role, "namespace": null}});
            default_token(&mut token);
            assert_eq!(token["spec"], json!({"role": role, "ttl": ttl}));
        }
    }

    #[test]
    fn a_namespace_needs_a_role_that_has_one() {
        let spec = |json| serde_json::from_value::<TokenSpec>(json).expect("a spec");
        assert!(validate_token(&spec(json!({"role": "Edit", "namespace": "team", "ttl": "1h"}))).is_empty());
        let wrong = validate_token(&spec(json!({"role": "Admin", "namespace": "A", "ttl": "0s"})));
        let fields: Vec<_> = wrong.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["spec.ttl", "spec.namespace", "spec.namespace"]);
    }
}
