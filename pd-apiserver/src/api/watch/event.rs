//! One change as the events of all its watchers.
//!
//! In: a change of the store. Out: what it means to a selection, and the line that says so. It is parsed at most once
//! and printed once for each form, whoever and however many ask: what is made stays beside the change.

use std::{
    borrow::Cow,
    sync::{Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::{
    error::ApiError,
    kinds::Kind,
    media::Form,
    print::{self, Item, Look},
    selectors::Selection,
    topics::foreseen,
};
use crate::store::Change;

/// What happened to an object, as one client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Added,
    Modified,
    Deleted,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

type Parsed = OnceLock<Option<Result<Value, ApiError>>>;

/// What has been made of a change.
#[derive(Default)]
struct Made {
    new: Parsed,
    old: Parsed,
    lines: Mutex<Vec<(Type, Look, Bytes)>>,
}

fn made(change: &Change) -> Result<&Made, ApiError> {
    let made = change.derived.get_or_make(Made::default);
    made.ok_or_else(|| ApiError::Internal("invariant: only this room makes something of a change".to_owned()))
}

/// One of a change's two states as it is shown, with the change's revision.
fn parsed<'a>(slot: &'a Parsed, change: &Change, bytes: Option<&Bytes>) -> Result<Option<&'a Value>, ApiError> {
    let parse = |bytes: &Bytes| {
        Item::stored(&change.key, bytes, change.revision).and_then(|item| item.shown().map(Cow::into_owned))
    };
    match slot.get_or_init(|| bytes.map(parse)) {
        None => Ok(None),
        Some(Ok(object)) => Ok(Some(object)),
        Some(Err(error)) => Err(error.clone()),
    }
}

/// The object after a change, as it is shown; `None`: it is gone.
pub(crate) fn new_object(change: &Change) -> Result<Option<&Value>, ApiError> {
    parsed(&made(change)?.new, change, change.value.as_ref())
}

/// The object before a change, as it is shown; `None`: it was not there.
fn old_object(change: &Change) -> Result<Option<&Value>, ApiError> {
    parsed(&made(change)?.old, change, change.previous.as_ref())
}

/// What a change means to those who select `selection`.
pub(super) fn meaning(change: &Change, kind: &Kind, selection: &Selection) -> Result<Option<Type>, ApiError> {
    let was_in = is_in(change, kind, selection, change.previous.as_ref(), old_object)?;
    let is_in = is_in(change, kind, selection, change.value.as_ref(), new_object)?;
    Ok(match (was_in, is_in) {
        (false, true) => Some(Type::Added),
        (true, true) => Some(Type::Modified),
        (true, false) => Some(Type::Deleted),
        (false, false) => None,
    })
}

/// Whether one of a change's two states is selected. Where that is known from its bytes, nothing is parsed.
fn is_in<'a>(
    change: &'a Change,
    kind: &Kind,
    selection: &Selection,
    state: Option<&Bytes>,
    object: impl FnOnce(&'a Change) -> Result<Option<&'a Value>, ApiError>,
) -> Result<bool, ApiError> {
    let Some(bytes) = state else { return Ok(false) };
    match foreseen(kind, selection, &change.key, bytes) {
        Some(is_in) => Ok(is_in),
        None => Ok(object(change)?.is_some_and(|object| selection.matches(object))),
    }
}

/// The same of an object before and after that no record of the store holds.
pub(super) fn transition(selection: &Selection, old: Option<Value>, new: Option<Value>) -> Option<(Type, Value)> {
    let is_selected = |object: &Value| selection.matches(object);
    match (old.filter(is_selected), new.filter(is_selected)) {
        (None, Some(new)) => Some((Type::Added, new)),
        (Some(_), Some(new)) => Some((Type::Modified, new)),
        (Some(old), None) => Some((Type::Deleted, old)),
        (None, None) => None,
    }
}

/// The line of a change's event, printed for the first who asks. What is deleted is shown as it was.
pub(super) fn line(change: &Change, kind: &Kind, type_: Type, look: Look) -> Result<Bytes, ApiError> {
    let made = made(change)?;
    let mut lines = made.lines.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., line)) = lines.iter().find(|(printed, as_, _)| (*printed, *as_) == (type_, look)) {
        return Ok(line.clone());
    }
    let state = if type_ == Type::Deleted { &change.previous } else { &change.value };
    let item = Item::stored(&change.key, state.as_deref().unwrap_or_default(), change.revision)?;
    let line = print(kind, type_, item, look)?;
    lines.push((type_, look, line.clone()));
    Ok(line)
}

/// One event.
pub(super) fn print(kind: &Kind, type_: Type, item: Item<'_>, look: Look) -> Result<Bytes, ApiError> {
    let mut out = begin(type_.name());
    print::object(&mut out, kind, item, look, jiff::Timestamp::now())?;
    Ok(end(out))
}

/// The event that says that nothing has happened for a while.
pub(super) fn bookmark(kind: &Kind, metadata: &Value, form: Form) -> Bytes {
    let mut out = begin("BOOKMARK");
    let (name, api_version) = match form {
        Form::Partial => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
        _ => (kind.name, kind.api_version()),
    };
    let object = json!({"kind": name, "apiVersion": api_version, "metadata": metadata});
    if form == Form::Table {
        print::bookmark_table(&mut out, kind, &object);
    } else {
        print::write_json(&mut out, &object);
    }
    end(out)
}

/// The event that ends a watch which cannot go on.
pub(super) fn failure(error: &ApiError) -> Bytes {
    let mut out = begin("ERROR");
    print::write_json(&mut out, &error.status());
    end(out)
}

fn begin(type_: &str) -> Vec<u8> {
    format!("{{\"type\":\"{type_}\",\"object\":").into_bytes()
}

fn end(mut out: Vec<u8>) -> Bytes {
    out.extend_from_slice(b"}\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::super::{
            kinds::{Rules, by_rules},
            table::IncludeObject,
        },
        *,
    };
    use crate::store::Derived;

    fn change(previous: Option<&str>, value: Option<&str>) -> Arc<Change> {
        let object = |label: &str| Bytes::from(json!({"metadata": {"name": "a", "labels": {"l": label}}}).to_string());
        let (value, previous) = (value.map(object), previous.map(object));
        Arc::new(Change { key: "/k".to_owned(), revision: 7, value, previous, derived: Derived::default() })
    }

    fn types(labels: &str) -> Vec<Option<Type>> {
        let kind = by_rules(Rules::Lease);
        let selection = Selection::parse(kind, labels, "").expect("a selector");
        let cases = [
            (None, Some("x")),
            (Some("x"), Some("x")),
            (Some("x"), Some("y")),
            (Some("y"), Some("x")),
            (Some("x"), None),
        ];
        cases.map(|(old, new)| meaning(&change(old, new), kind, &selection).expect("JSON")).to_vec()
    }

    #[test]
    fn entering_and_leaving_a_selection_is_being_added_and_deleted() {
        use Type::{Added, Deleted, Modified};
        assert_eq!(types(""), [Some(Added), Some(Modified), Some(Modified), Some(Modified), Some(Deleted)]);
        assert_eq!(types("l=x"), [Some(Added), Some(Modified), Some(Deleted), Some(Added), Some(Deleted)]);
        assert_eq!(types("l=z"), [None; 5]);
    }

    #[test]
    fn all_watchers_share_one_line_for_each_form() {
        let (kind, change) = (by_rules(Rules::Lease), change(None, Some("x")));
        let get = |form| {
            let look = Look { form, include: IncludeObject::Metadata };
            line(&change, kind, Type::Added, look).expect("a line")
        };
        let (one, other, partial) = (get(Form::Json), get(Form::Json), get(Form::Partial));
        assert_eq!(one.as_ptr(), other.as_ptr(), "printed once");
        assert_ne!(one, partial);
        let event: Value = serde_json::from_slice(&one).expect("JSON");
        assert_eq!((&event["type"], &event["object"]["metadata"]["resourceVersion"]), (&json!("ADDED"), &json!("7")));
    }
}
