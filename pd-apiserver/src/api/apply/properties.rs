//! Properties of server-side apply over random objects. Each is a function of the apply that it judges: `planted` holds
//! them against wrong ones.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Operation, Writer, apply, track_create, track_update};
use crate::api::error::Cause;

/// What a property holds of: an apply of one object over a live one, by force or not.
pub(super) type Apply = dyn Fn(&Value, &Value, &Writer<'_>, bool) -> Result<Value, Vec<Cause>>;
/// That it holds, or what is wrong.
pub(super) type Verdict = Result<(), TestCaseError>;

/// Ours.
pub(super) fn ours(live: &Value, applied: &Value, writer: &Writer<'_>, force: bool) -> Result<Value, Vec<Cause>> {
    apply(&schema(), live, applied, writer, force)
}

/// An apply that must not conflict.
fn agreed(apply: &Apply, live: &Value, applied: &Value, manager: &str) -> Result<Value, TestCaseError> {
    apply(live, applied, &writer(manager), false)
        .map_err(|causes| TestCaseError::fail(format!("{manager} meets a conflict: {causes:?}")))
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A schema with a declared struct, a free map, an atomic list, a map list and a set.
pub(super) fn schema() -> Value {
    json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {"type": "array", "x-kubernetes-list-type": "set"},
        }},
        "spec": {"type": "object", "properties": {
            "a": {"type": "integer"}, "b": {"type": "integer"},
            "nested": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
            "list": {"type": "array"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "conditions": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "properties": {"type": {}, "status": {}, "note": {}}},
            },
        }},
    }})
}

pub(super) fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, operation: Operation::Apply, subresource: "", api_version: "example.com/v1", now: NOW }
}

pub(super) fn empty() -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "X", "metadata": {"name": "x"}})
}

fn optional(name: &'static str, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<(String, Value)>> {
    prop::option::of(value.prop_map(move |value| (name.to_owned(), value)))
}

fn object(parts: Vec<Option<(String, Value)>>) -> Value {
    Value::Object(parts.into_iter().flatten().collect())
}

/// An applied object; all its map entries and conditions carry `tag`, so that different tags are disjoint
/// below `free`, `labels` and `conditions`.
pub(super) fn tagged(tag: &'static str) -> impl Strategy<Value = Value> {
    let number = || (0..3_i64).prop_map(Value::from);
    let entries = prop::collection::btree_map(0..3_u8, number(), 0..3).prop_map(move |entries| {
        entries.into_iter().map(|(key, value)| (format!("{tag}{key}"), value)).collect::<Map<_, _>>().into()
    });
    let labels = prop::collection::btree_map(0..3_u8, 0..3_u8, 0..3).prop_map(move |entries| {
        let entries = entries.into_iter().map(|(key, value)| (format!("{tag}{key}"), json!(value.to_string())));
        Value::Object(entries.collect())
    });
    let conditions =
        prop::collection::btree_map(0..3_u8, (number(), prop::option::of(number())), 0..3).prop_map(move |items| {
            let items = items.into_iter().map(|(key, (status, note))| {
                let mut item = json!({"type": format!("{tag}{key}"), "status": status});
                if let Some(note) = note {
                    item["note"] = note;
                }
                item
            });
            Value::Array(items.collect())
        });
    (optional("free", entries), optional("conditions", conditions), optional("labels", labels)).prop_map(
        |(free, conditions, labels)| {
            let mut value = empty();
            if let Some((_, labels)) = labels {
                value["metadata"]["labels"] = labels;
            }
            value["spec"] = object(vec![free, conditions]);
            value
        },
    )
}

/// An applied object over shared field names, so that managers meet.
pub(super) fn shared() -> impl Strategy<Value = Value> {
    let number = || (0..2_i64).prop_map(Value::from);
    let nested = (optional("x", number()), optional("y", number())).prop_map(|(x, y)| object(vec![x, y]));
    let list = prop::collection::vec(number(), 0..3).prop_map(Value::Array);
    (optional("a", number()), optional("b", number()), optional("nested", nested), optional("list", list)).prop_map(
        |(a, b, nested, list)| {
            let mut value = empty();
            value["spec"] = object(vec![a, b, nested, list]);
            value
        },
    )
}

fn without_managed(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    value
}

/// As canonical text without managers, empty containers and the order of conditions.
fn essence(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: std::collections::BTreeMap<_, _> = map
                .iter()
                .filter(|(key, _)| *key != "managedFields")
                .map(|(key, value)| (key.clone(), essence(value)))
                .filter(|(_, value)| *value != json!({}) && *value != json!([]))
                .collect();
            Value::Object(kept.into_iter().collect())
        }
        Value::Array(list) if list.iter().all(|item| item["type"].is_string()) => {
            let mut items: Vec<_> = list.iter().map(essence).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}

/// Applying twice changes nothing.
pub(super) fn idempotent(apply: &Apply, applied: &Value) -> Verdict {
    let once = agreed(apply, &empty(), applied, "a")?;
    let twice = agreed(apply, &once, applied, "a")?;
    prop_assert_eq!(once, twice);
    Ok(())
}

/// Managers of different fields come to the same in either order.
pub(super) fn commutes(apply: &Apply, left: &Value, right: &Value) -> Verdict {
    let one = agreed(apply, &agreed(apply, &empty(), left, "l")?, right, "r")?;
    let other = agreed(apply, &agreed(apply, &empty(), right, "r")?, left, "l")?;
    prop_assert_eq!(essence(&one), essence(&other));
    Ok(())
}

/// Fields of `shared` objects.
const SHARED_FIELDS: [&[&str]; 5] = [&["a"], &["b"], &["list"], &["nested", "x"], &["nested", "y"]];

/// The fields that both specs have, with different values.
fn disputed(left: &Value, right: &Value) -> Vec<&'static [&'static str]> {
    let at = |spec: &Value, path: &[&str]| path.iter().try_fold(spec.clone(), |value, key| value.get(*key).cloned());
    let differs = |path: &&[&str]| matches!((at(left, path), at(right, path)), (Some(old), Some(new)) if old != new);
    SHARED_FIELDS.into_iter().filter(differs).collect()
}

/// Two managers conflict exactly over the fields that both have and want differently. Force takes those, and no others,
/// away from the one that had them.
pub(super) fn conflicts_exactly(apply: &Apply, left: &Value, right: &Value) -> Verdict {
    let live = agreed(apply, &empty(), left, "l")?;
    let (l, r) = (&left["spec"], &right["spec"]);
    let nested_meets_empty = |one: &Value, other: &Value| one["nested"] == json!({}) && other["nested"].is_object();
    prop_assume!(!nested_meets_empty(l, r) && !nested_meets_empty(r, l));
    let disputed = disputed(l, r);

    let met = apply(&live, right, &writer("r"), false).err().unwrap_or_default();
    let mut met: Vec<String> = met.into_iter().map(|cause| cause.field).collect();
    met.sort();
    let fields: Vec<String> = disputed.iter().map(|path| format!(".spec.{}", path.join("."))).collect();
    prop_assert_eq!(met, fields);

    let Ok(forced) = apply(&live, right, &writer("r"), true) else {
        return Err(TestCaseError::fail("force meets a conflict"));
    };
    prop_assert_eq!(&agreed(apply, &forced, right, "r")?, &forced, "what was forced is owned");
    let mut rest = left.clone();
    for path in disputed {
        let (last, above) = path.split_last().expect("a path");
        let object = above.iter().fold(&mut rest["spec"], |value, key| &mut value[*key]);
        object.as_object_mut().expect("a path leads through objects").remove(*last);
    }
    let given_up = agreed(apply, &forced, &empty(), "r")?;
    prop_assert_eq!(essence(&given_up), essence(&rest), "what was forced belongs to one manager");
    Ok(())
}

/// What the only owner gives up is gone, and nothing else is.
pub(super) fn gone_with_its_owner(apply: &Apply, left: &Value, right: &Value) -> Verdict {
    let alone = agreed(apply, &empty(), right, "r")?;
    let both = agreed(apply, &alone, left, "l")?;
    let left_nothing = agreed(apply, &both, &empty(), "l")?;
    prop_assert_eq!(essence(&left_nothing), essence(&alone));
    Ok(())
}

/// Managers that agree on every value share its fields: a field is there exactly while one of them applies it, and
/// a third one that wants another value meets exactly those who own it. The masks say who applies which part of `all`:
/// the left manager, the right one, and the left one again.
pub(super) fn lives_with_its_owners(apply: &Apply, all: &Value, (left, right, later): (u8, u8, u8)) -> Verdict {
    let part = |mask: u8| {
        let mut part = all.clone();
        let spec = all["spec"].as_object().into_iter().flatten().enumerate();
        part["spec"] = spec.filter(|(at, _)| mask >> at & 1 == 1).map(|(_, (k, v))| (k.clone(), v.clone())).collect();
        part
    };
    let live = agreed(apply, &empty(), &part(left), "l")?;
    let live = agreed(apply, &live, &part(right), "r")?;
    let live = agreed(apply, &live, &part(later), "l")?;
    prop_assert_eq!(essence(&live), essence(&part(later | right)));

    let other = json!({"metadata": {"name": "x"}, "spec": {"a": 7}});
    let met = apply(&live, &other, &writer("third"), false).err().unwrap_or_default();
    let mut met: Vec<_> = met.iter().map(|cause| (cause.field.as_str(), cause.message.clone())).collect();
    met.sort();
    let owners = [("l", later), ("r", right)].into_iter().filter(|(_, mask)| part(*mask)["spec"].get("a").is_some());
    let expected: Vec<_> =
        owners.map(|(m, _)| (".spec.a", format!("conflict with \"{m}\" using example.com/v1"))).collect();
    prop_assert_eq!(met, expected);
    Ok(())
}

proptest! {
    #[test]
    fn applying_twice_changes_nothing(applied in prop_oneof![shared(), tagged("p")]) {
        idempotent(&ours, &applied)?;
    }

    #[test]
    fn disjoint_managers_commute(left in tagged("p"), right in tagged("q")) {
        commutes(&ours, &left, &right)?;
    }

    #[test]
    fn managers_conflict_exactly_over_what_both_want_differently(left in shared(), right in shared()) {
        conflicts_exactly(&ours, &left, &right)?;
    }

    #[test]
    fn what_nobody_owns_any_more_is_gone(left in tagged("p"), right in tagged("q")) {
        gone_with_its_owner(&ours, &left, &right)?;
    }

    #[test]
    fn a_field_lives_as_long_as_it_has_an_owner(all in shared(), masks: (u8, u8, u8)) {
        lives_with_its_owners(&ours, &all, masks)?;
    }

    #[test]
    fn an_update_takes_exactly_what_it_changed(left in shared(), right in shared()) {
        let schema = schema();
        let live = apply(&schema, &empty(), &left, &writer("l"), false).expect("no other manager");
        let mut new = without_managed(right.clone());
        let update = Writer { operation: Operation::Update, ..writer("u") };
        track_update(&schema, &live, &mut new, &update);
        prop_assert_eq!(without_managed(new.clone()), right.clone());
        let reapplied = apply(&schema, &new, &right, &writer("l"), false);
        prop_assert!(reapplied.is_ok(), "equal values never conflict");
        let mut same = new.clone();
        track_update(&schema, &new, &mut same, &update);
        prop_assert_eq!(same, new);
    }

    #[test]
    fn a_creator_owns_what_an_update_of_nothing_would_have_taken(new in prop_oneof![shared(), tagged("p")]) {
        let schema = schema();
        let create = Writer { operation: Operation::Update, ..writer("c") };
        let (mut created, mut updated) = (new.clone(), new);
        track_create(&schema, &mut created, &create);
        track_update(&schema, &json!({"metadata": {}}), &mut updated, &create);
        prop_assert_eq!(created, updated);
    }
}

#[test]
fn a_conflict_names_the_manager_and_the_field() {
    let schema = schema();
    let one = json!({"metadata": {"name": "x"}, "spec": {"a": 1, "free": {"k": 1}}});
    let live = apply(&schema, &empty(), &one, &writer("first"), false).expect("no other manager");
    let other = json!({"metadata": {"name": "x"}, "spec": {"a": 2}});
    let causes = apply(&schema, &live, &other, &writer("second"), false).expect_err("a conflict");
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].field, ".spec.a");
    assert_eq!(causes[0].message, "conflict with \"first\" using example.com/v1");
}

#[test]
fn a_list_item_goes_when_its_last_owner_gives_it_up() {
    let schema = schema();
    let condition = |status: i64| json!({"metadata": {}, "spec": {"conditions": [{"type": "t", "status": status}]}});
    let live = apply(&schema, &empty(), &condition(1), &writer("a"), false).expect("no other manager");
    let shared = apply(&schema, &live, &condition(1), &writer("b"), false).expect("the same value");
    let one_left = apply(&schema, &shared, &empty(), &writer("a"), false).expect("giving up");
    assert_eq!(one_left["spec"]["conditions"][0]["status"], 1);
    let none_left = apply(&schema, &one_left, &empty(), &writer("b"), false).expect("giving up");
    assert_eq!(none_left.get("spec"), None);
}
