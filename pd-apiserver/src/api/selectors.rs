//! Label and field selectors: their text forms, and whether an object is selected.
//!
//! In: the texts of a query, and JSON objects. Out: yes or no. It knows no store.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Expression, Selector, SelectorExt};
use schemas::validation::label_value_problem;
use serde_json::Value;

use super::{call::text, error::ApiError, kinds::Kind};

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Vec<Expression>,
    fields: Vec<FieldTerm>,
}

/// `path=value` or `path!=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldTerm {
    pub(crate) path: String,
    pub(crate) is_equal: bool,
    pub(crate) value: String,
}

impl Selection {
    /// From the texts of a query, for one kind.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(kind, fields)? })
    }

    /// True when everything is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// True when `object` is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.fields.iter().all(|term| term.matches(object)) && self.matches_labels(object)
    }

    fn matches_labels(&self, object: &Value) -> bool {
        if self.labels.is_empty() {
            return true;
        }
        let labels = object["metadata"]["labels"].as_object();
        let labels: BTreeMap<String, String> =
            labels.into_iter().flatten().map(|(key, value)| (key.clone(), text(value).to_owned())).collect();
        let selector: Selector = self.labels.iter().cloned().collect();
        selector.matches(&labels)
    }

    /// The only name that can match, if a field term gives it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.required("metadata.name")
    }

    /// The value that field `path` must have, if a term gives it.
    pub(crate) fn required(&self, path: &str) -> Option<&str> {
        self.fields.iter().find(|term| term.is_equal && term.path == path).map(|term| term.value.as_str())
    }

    /// True when all that is asked is one value of field `path`.
    pub(crate) fn is_only(&self, path: &str) -> bool {
        self.labels.is_empty() && matches!(&*self.fields, [term] if term.is_equal && term.path == path)
    }

    /// The values that field `path` must not have.
    pub(crate) fn excluded<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let terms = self.fields.iter().filter(move |term| !term.is_equal && term.path == path);
        terms.map(|term| term.value.as_str())
    }

    /// The value that label `key` must have, if an expression gives it.
    pub(crate) fn required_label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find_map(|expression| match expression {
            Expression::Equal(label, value) if label == key => Some(value.as_str()),
            _ => None,
        })
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        (field(object, &self.path) == self.value) == self.is_equal
    }
}

/// A field's value as text; an absent one is empty (or `false`, for a flag that is left out when false).
fn field(object: &Value, path: &str) -> String {
    let value = match path {
        "source" => &object["source"]["component"],
        _ => path.split('.').fold(object, |value, key| &value[key]),
    };
    match value {
        Value::Null if path == "spec.unschedulable" => "false".to_owned(),
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse_fields(kind: &Kind, source: &str) -> Result<Vec<FieldTerm>, ApiError> {
    let terms = source.split(',').map(str::trim).filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (path, is_equal, value) = split_term(term).ok_or_else(|| {
                ApiError::BadRequest(format!("invalid selector: '{source}'; can't understand '{term}'"))
            })?;
            let is_known =
                matches!(path, "metadata.name" | "metadata.namespace") || kind.selectable.iter().any(|f| f == path);
            if !is_known {
                return Err(ApiError::BadRequest(format!("field label not supported: {path}")));
            }
            Ok(FieldTerm { path: path.to_owned(), is_equal, value: value.to_owned() })
        })
        .collect()
}

/// `a=b`, `a==b` or `a!=b`.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    if let Some((key, value)) = term.split_once("!=") {
        return Some((key.trim(), false, value.trim()));
    }
    let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some((key.trim(), true, value.trim()))
}

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
fn parse_labels(source: &str) -> Result<Vec<Expression>, ApiError> {
    split_outside_parentheses(source)
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(expression)
        .collect()
}

fn split_outside_parentheses(source: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, character) in source.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&source[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&source[start..]);
    parts
}

fn expression(part: &str) -> Result<Expression, ApiError> {
    let wrong = || {
        ApiError::BadRequest(format!(
            "unable to parse requirement: `{part}` is none of `k=v`, `k!=v`, `k in (v,w)`, `k notin (v,w)`, `k`, `!k`"
        ))
    };
    let legal = |value: &str| match label_value_problem(value) {
        None => Ok(value.to_owned()),
        Some(rule) => Err(ApiError::BadRequest(format!(
            "unable to parse requirement: values[0][{part}]: Invalid value: \"{value}\": {rule}"
        ))),
    };
    let key_of = |key: &str| if is_label_key(key) { Ok(key.to_owned()) } else { Err(wrong()) };
    if let Some(list) = part.strip_suffix(')') {
        let (head, values) = list.split_once('(').ok_or_else(wrong)?;
        let values: BTreeSet<String> = values.split(',').map(|value| legal(value.trim())).collect::<Result<_, _>>()?;
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok(Expression::In(key_of(key)?, values)),
            (Some(key), Some("notin"), None) => Ok(Expression::NotIn(key_of(key)?, values)),
            _ => Err(wrong()),
        };
    }
    if let Some((key, is_equal, value)) = split_term(part) {
        let (key, value) = (key_of(key)?, legal(value)?);
        return Ok(if is_equal { Expression::Equal(key, value) } else { Expression::NotEqual(key, value) });
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Expression::DoesNotExist(key_of(key.trim())?)),
        None => Ok(Expression::Exists(key_of(part)?)),
    }
}

/// `[prefix/]name`, loosely: enough to tell a key from a mistyped operator.
fn is_label_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kinds;

    fn selects(labels: &str, fields: &str, object: &Value) -> bool {
        let kind = kinds::by_rules(kinds::Rules::Job);
        Selection::parse(kind, labels, fields).expect("a selector").matches(object)
    }

    #[test]
    fn all_operators_of_label_selectors_are_understood() {
        let object = json!({"metadata": {"name": "x", "labels": {"a": "1", "tier": "db"}}});
        for yes in ["", "a=1", "a==1", "a!=2", "missing!=2", "tier in (db, web)", "tier notin (web),a", "!b", "a,tier"]
        {
            assert!(selects(yes, "", &object), "{yes}");
        }
        for no in ["a=2", "a!=1", "tier in (web)", "tier notin (db,web)", "!a", "b", "b in (1)"] {
            assert!(!selects(no, "", &object), "{no}");
        }
        let kind = kinds::by_rules(kinds::Rules::Job);
        for wrong in ["a in 1", "a=1 b", "in (a)", "a ? b"] {
            assert!(Selection::parse(kind, wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_field_labels_are_refused_rather_than_ignored() {
        let object = json!({"metadata": {"name": "x", "namespace": "n"}});
        assert!(selects("", "metadata.name=x,metadata.namespace!=m", &object));
        assert!(!selects("", "metadata.name!=x", &object));
        let refused = Selection::parse(kinds::by_rules(kinds::Rules::Job), "", "spec.color=red");
        assert_eq!(refused.err(), Some(ApiError::BadRequest("field label not supported: spec.color".to_owned())));
    }
}
