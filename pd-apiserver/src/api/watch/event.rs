//! One change as the events of all its watchers.
//!
//! In: a change of the store. Out: what it means to a selection, and the line that says so. It is parsed once and
//! printed once for each form, whoever and however many ask: what is made stays beside the change.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::{
    error::ApiError,
    kinds::Kind,
    media::Form,
    registry,
    selectors::Selection,
    table::{IncludeObject, partial, table},
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

/// How a client wants its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) form: Form,
    pub(crate) include: IncludeObject,
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

fn parsed<'a>(place: &'a Parsed, change: &Change, bytes: Option<&Bytes>) -> Result<Option<&'a Value>, ApiError> {
    let made = place.get_or_init(|| bytes.map(|bytes| registry::decode(&change.key, bytes, change.revision)));
    made.as_ref().map(|result| result.as_ref().map_err(Clone::clone)).transpose()
}

/// The object after a change; `None`: it is gone.
pub(crate) fn new_object(change: &Change) -> Result<Option<&Value>, ApiError> {
    parsed(&made(change)?.new, change, change.value.as_ref())
}

/// The object before a change, with the change's revision; `None`: it was not there.
fn old_object(change: &Change) -> Result<Option<&Value>, ApiError> {
    parsed(&made(change)?.old, change, change.previous.as_ref())
}

/// What a change means to those who select `selection`: the type of their event, and its object.
pub(super) fn meaning<'a>(change: &'a Change, selection: &Selection) -> Result<Option<(Type, &'a Value)>, ApiError> {
    let new = new_object(change)?;
    let is_in = new.is_some_and(|object| selection.matches(object));
    let was_in = if selection.is_everything() {
        change.previous.is_some()
    } else {
        old_object(change)?.is_some_and(|object| selection.matches(object))
    };
    Ok(match (was_in, is_in) {
        (false, true) => new.map(|object| (Type::Added, object)),
        (true, true) => new.map(|object| (Type::Modified, object)),
        (true, false) => old_object(change)?.map(|object| (Type::Deleted, object)),
        (false, false) => None,
    })
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

/// The line of a change's event, printed for the first who asks.
pub(super) fn line(
    change: &Arc<Change>,
    kind: &Kind,
    (type_, object): (Type, &Value),
    look: Look,
) -> Result<Bytes, ApiError> {
    let made = made(change)?;
    let mut lines = made.lines.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., line)) = lines.iter().find(|(printed, as_, _)| (*printed, *as_) == (type_, look)) {
        return Ok(line.clone());
    }
    let line = print(kind, type_, object, look);
    lines.push((type_, look, line.clone()));
    Ok(line)
}

/// One event.
pub(super) fn print(kind: &Kind, type_: Type, object: &Value, look: Look) -> Bytes {
    match look.form {
        Form::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let now = jiff::Timestamp::now();
            printed(type_.name(), &table(kind, std::slice::from_ref(object), metadata, look.include, now))
        }
        Form::Partial => printed(type_.name(), &partial(object)),
        _ => printed(type_.name(), object),
    }
}

/// One line of JSON.
pub(super) fn printed(type_: &str, object: &Value) -> Bytes {
    #[derive(serde::Serialize)]
    struct Event<'a> {
        r#type: &'a str,
        object: &'a Value,
    }
    let mut line = serde_json::to_vec(&Event { r#type: type_, object }).expect("invariant: a JSON value prints");
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::kinds::{Rules, by_rules},
        *,
    };
    use crate::store::Derived;

    fn change(previous: Option<&str>, value: Option<&str>) -> Arc<Change> {
        let object = |label: &str| Bytes::from(json!({"metadata": {"name": "a", "labels": {"l": label}}}).to_string());
        let (value, previous) = (value.map(object), previous.map(object));
        Arc::new(Change { key: "/k".to_owned(), revision: 7, value, previous, derived: Derived::default() })
    }

    fn types(labels: &str) -> Vec<Option<Type>> {
        let selection = Selection::parse(by_rules(Rules::Lease), labels, "").expect("a selector");
        let cases = [
            (None, Some("x")),
            (Some("x"), Some("x")),
            (Some("x"), Some("y")),
            (Some("y"), Some("x")),
            (Some("x"), None),
        ];
        let meant =
            cases.map(|(old, new)| meaning(&change(old, new), &selection).expect("JSON").map(|(type_, _)| type_));
        meant.to_vec()
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
        let object = new_object(&change).expect("JSON").expect("an object");
        let get = |form| {
            let look = Look { form, include: IncludeObject::Metadata };
            line(&change, kind, (Type::Added, object), look).expect("a line")
        };
        let (one, other, partial) = (get(Form::Json), get(Form::Json), get(Form::Partial));
        assert_eq!(one.as_ptr(), other.as_ptr(), "printed once");
        assert_ne!(one, partial);
        let event: Value = serde_json::from_slice(&one).expect("JSON");
        assert_eq!((&event["type"], &event["object"]["metadata"]["resourceVersion"]), (&json!("ADDED"), &json!("7")));
    }
}
