//! Names, labels and annotations, with Kubernetes' rules and Kubernetes' messages.
//!
//! The `*_problem` functions answer what is wrong with a text, or none. They follow
//! `k8s.io/apimachinery/pkg/util/validation`.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use super::{FieldError, FieldPath};

/// Longest DNS label.
const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// All annotations of one object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
/// Longest `generateName`: five random characters follow it.
const GENERATE_NAME_BYTES_MAX: usize = SUBDOMAIN_BYTES_MAX - 5;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
    end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with a DNS label (RFC 1123), such as a namespace's name.
pub fn label_problem(text: &str) -> Option<String> {
    too_long(text, LABEL_BYTES_MAX).or_else(|| (!is_label(text)).then(|| LABEL_RULE.to_owned()))
}

/// What is wrong with a DNS subdomain (RFC 1123), such as most objects' names.
pub fn subdomain_problem(text: &str) -> Option<String> {
    too_long(text, SUBDOMAIN_BYTES_MAX).or_else(|| (!text.split('.').all(is_label)).then(|| SUBDOMAIN_RULE.to_owned()))
}

/// What is wrong with a label's or annotation's name: `name` or `prefix.example/name`.
pub fn label_name_problem(text: &str) -> Option<String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("", _)) => return Some("prefix part must be non-empty".into()),
        Some((prefix, name)) => match subdomain_problem(prefix) {
            Some(problem) => return Some(format!("prefix part {problem}")),
            None => name,
        },
    };
    match name {
        "" => Some("name part must be non-empty".into()),
        _ if name.len() > LABEL_BYTES_MAX => Some(format!("name part must be no more than {LABEL_BYTES_MAX} bytes")),
        _ => (!is_word(name)).then(|| QUALIFIED_RULE.to_owned()),
    }
}

/// What is wrong with a label's value.
pub fn label_value_problem(text: &str) -> Option<String> {
    too_long(text, LABEL_BYTES_MAX).or_else(|| (!text.is_empty() && !is_word(text)).then(|| VALUE_RULE.to_owned()))
}

/// True for a legal label value.
pub fn is_label_value(text: &str) -> bool {
    label_value_problem(text).is_none()
}

/// True for a legal label or annotation name.
pub fn is_qualified_name(text: &str) -> bool {
    label_name_problem(text).is_none()
}

/// All that is wrong with a map of labels (or a node selector).
pub fn validate_labels<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    path: &FieldPath,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, value) in labels {
        errors.extend(label_name_problem(name).map(|problem| FieldError::invalid(path, name, problem)));
        errors.extend(label_value_problem(value).map(|problem| FieldError::invalid(path.key(name), value, problem)));
    }
    errors
}

/// All that is wrong with annotations: their names, and their size together.
pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &FieldPath) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = annotations
        .keys()
        .filter_map(|name| {
            label_name_problem(&name.to_lowercase()).map(|problem| FieldError::invalid(path, name, problem))
        })
        .collect();
    let bytes: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

/// All that is wrong with an object's metadata, for kinds whose names are DNS subdomains.
pub fn validate_metadata(metadata: &ObjectMeta, is_namespaced: bool) -> Vec<FieldError> {
    let path = FieldPath::new("metadata");
    let mut errors = validate_name(metadata, &path);
    match (&metadata.namespace, is_namespaced) {
        (Some(namespace), true) => errors.extend(
            label_problem(namespace).map(|problem| FieldError::invalid(path.child("namespace"), namespace, problem)),
        ),
        (Some(_), false) => {
            errors.push(FieldError::forbidden(path.child("namespace"), "not allowed on this type"));
        }
        (None, _) => {}
    }
    errors.extend(metadata.labels.iter().flat_map(|labels| validate_labels(labels, &path.child("labels"))));
    errors.extend(metadata.annotations.iter().flat_map(|a| validate_annotations(a, &path.child("annotations"))));
    let finalizers = metadata.finalizers.iter().flatten().enumerate();
    errors.extend(finalizers.filter_map(|(index, name)| {
        let problem = label_name_problem(name)?;
        Some(FieldError::invalid(path.child("finalizers").index(index), name, problem))
    }));
    errors
}

fn validate_name(metadata: &ObjectMeta, path: &FieldPath) -> Vec<FieldError> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let prefix = metadata.generate_name.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if !prefix.is_empty() {
        // What follows the prefix is alphanumeric: a trailing dash or dot is fine.
        let problem = too_long(prefix, GENERATE_NAME_BYTES_MAX).or_else(|| subdomain_problem(&format!("{prefix}0")));
        errors.extend(problem.map(|problem| FieldError::invalid(path.child("generateName"), prefix, problem)));
    }
    if name.is_empty() && prefix.is_empty() {
        errors.push(FieldError::required(path.child("name"), "name or generateName is required"));
    } else if !name.is_empty() {
        errors.extend(subdomain_problem(name).map(|problem| FieldError::invalid(path.child("name"), name, problem)));
    }
    errors
}

fn too_long(text: &str, bytes_max: usize) -> Option<String> {
    (text.len() > bytes_max).then(|| format!("must be no more than {bytes_max} bytes"))
}

fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`.
fn is_word(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().copied().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for name in ["a", "my-job", "1", "a.b-c.d", &"x".repeat(253)] {
            assert_eq!(subdomain_problem(name), None, "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a b", "ä", &"x".repeat(254)] {
            assert!(subdomain_problem(name).is_some(), "{name}");
        }
        assert!(label_problem("a.b").is_some());
        assert!(label_problem(&"x".repeat(64)).is_some());
    }

    #[test]
    fn label_names_and_values_follow_kubernetes() {
        for name in ["app", "App_1.x", "kubernetes.io/os", "processdistro.dev/job"] {
            assert_eq!(label_name_problem(name), None, "{name}");
        }
        for name in ["", "/a", "a/", "a/b/c", "A.b/c", "-a", "a b", &"x".repeat(64)] {
            assert!(label_name_problem(name).is_some(), "{name}");
        }
        for (value, is_legal) in [("", true), ("My.Value_1", true), ("-a", false), ("a b", false), ("a.", false)] {
            assert_eq!(is_label_value(value), is_legal, "{value}");
        }
    }

    #[test]
    fn every_error_of_metadata_is_reported() {
        let metadata = ObjectMeta {
            name: Some("Bad_Name".into()),
            namespace: Some("a.b".into()),
            labels: Some(BTreeMap::from([("-x".into(), "y z".into())])),
            ..ObjectMeta::default()
        };
        let fields: Vec<_> = validate_metadata(&metadata, true).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["metadata.name", "metadata.namespace", "metadata.labels", "metadata.labels[-x]"]);
        let unnamed = validate_metadata(&ObjectMeta::default(), true);
        assert_eq!(unnamed[0].to_string(), "metadata.name: Required value: name or generateName is required");
        let generated = ObjectMeta { generate_name: Some("job-".into()), ..ObjectMeta::default() };
        assert!(validate_metadata(&generated, false).is_empty());
    }
}
