//! Topics: the one field by which nearly all readers of a kind select.
//!
//! In: stored objects and selections. Out: the topic of either. Each node watches the Assignments that name it: of a
//! thousand nodes a write must wake one, and none must parse what is for another.

use std::{borrow::Cow, sync::LazyLock};

use super::{
    kinds::{self, Kind, Rules},
    raw::string_at,
    selectors::Selection,
};

/// The field whose value is the topic, ...
const FIELD: &str = "spec.nodeName";
/// ... and where it stands.
const PATH: [&str; 2] = ["spec", "nodeName"];

/// Where the keys of the objects that have one begin.
static PREFIX: LazyLock<String> = LazyLock::new(|| kinds::by_rules(Rules::Assignment).prefix(""));

/// The topic of a stored object: for an Assignment its node.
pub fn topic_of(key: &str, value: &[u8]) -> Option<String> {
    if !key.starts_with(PREFIX.as_str()) {
        return None;
    }
    // What cannot be read selects nothing; whoever reads the object itself is told why.
    string_at(value, &PATH).map(Cow::into_owned)
}

/// The topic outside which a selection selects nothing.
pub(crate) fn topic_of_selection<'a>(kind: &Kind, selection: &'a Selection) -> Option<&'a str> {
    selection.required(FIELD).filter(|_| kind.rules == Rules::Assignment)
}

/// Whether a stored object is selected, as far as that is known without parsing it.
pub(crate) fn foreseen(kind: &Kind, selection: &Selection, key: &str, value: &[u8]) -> Option<bool> {
    if selection.is_everything() {
        return Some(true);
    }
    let is_of_topic = topic_of(key, value).as_deref() == Some(topic_of_selection(kind, selection)?);
    (!is_of_topic || selection.is_only(FIELD)).then_some(is_of_topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "/processdistro.dev/assignments/default/a";

    #[test]
    fn the_topic_of_an_assignment_is_its_node() {
        let value = br#"{"metadata":{"name":"a"},"status":{"x":[1]},"spec":{"job":{"name":"j"},"nodeName":"n\u0031"}}"#;
        assert_eq!(topic_of(KEY, value).as_deref(), Some("n1"));
        assert_eq!(topic_of("/processdistro.dev/jobs/default/a", value), None);
        for rubbish in ["", "{}", "{\"spec\":{\"nodeName\":7}}"] {
            assert_eq!(topic_of(KEY, rubbish.as_bytes()), None);
        }
    }

    #[test]
    fn a_selection_by_topic_is_foreseen() {
        let kind = kinds::by_rules(Rules::Assignment);
        let foreseen = |fields: &str, labels: &str| {
            let selection = Selection::parse(kind, labels, fields).expect("a selection");
            foreseen(kind, &selection, KEY, br#"{"metadata":{},"spec":{"nodeName":"n"}}"#)
        };
        assert_eq!(foreseen("", ""), Some(true));
        assert_eq!(foreseen("spec.nodeName=n", ""), Some(true));
        assert_eq!(foreseen("spec.nodeName=m", ""), Some(false));
        assert_eq!(foreseen("spec.nodeName=m", "a=b"), Some(false));
        assert_eq!(foreseen("spec.nodeName=n", "a=b"), None);
        assert_eq!(foreseen("spec.nodeName=n,spec.nodeName=m", ""), None);
        assert_eq!(foreseen("spec.nodeName!=n", ""), None);
        assert_eq!(foreseen("", "a=b"), None);
    }
}
