//! Properties of server-side apply over random objects.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Operation, Writer, apply, track_create, track_update};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A schema with a declared struct, a free map, an atomic list, a map list and a set.
fn schema() -> Value {
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

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, operation: Operation::Apply, subresource: "", api_version: "example.com/v1", now: NOW }
}

fn empty() -> Value {
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
fn tagged(tag: &'static str) -> impl Strategy<Value = Value> {
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
fn shared() -> impl Strategy<Value = Value> {
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

proptest! {
    #[test]
    fn applying_twice_changes_nothing(first in shared(), second in tagged("p")) {
        let schema = schema();
        for applied in [first, second] {
            let once = apply(&schema, &empty(), &applied, &writer("a"), false).expect("no other manager");
            let twice = apply(&schema, &once, &applied, &writer("a"), false).expect("no other manager");
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn disjoint_managers_commute(left in tagged("p"), right in tagged("q")) {
        let schema = schema();
        let run = |steps: [(&str, &Value); 2]| {
            steps.iter().fold(empty(), |live, (manager, applied)| {
                apply(&schema, &live, applied, &writer(manager), false).expect("disjoint managers do not conflict")
            })
        };
        let one = run([("l", &left), ("r", &right)]);
        let other = run([("r", &right), ("l", &left)]);
        prop_assert_eq!(essence(&one), essence(&other));
    }

    #[test]
    fn managers_conflict_only_over_a_field_that_would_change(left in shared(), right in shared()) {
        let schema = schema();
        let live = apply(&schema, &empty(), &left, &writer("l"), false).expect("no other manager");
        let (l, r) = (&left["spec"], &right["spec"]);
        let differs = |path: &[&str]| {
            let at = |spec: &Value| path.iter().try_fold(spec.clone(), |value, key| value.get(key).cloned());
            matches!((at(l), at(r)), (Some(old), Some(new)) if old != new)
        };
        let nested_meets_empty = |one: &Value, other: &Value| one["nested"] == json!({}) && other["nested"].is_object();
        prop_assume!(!nested_meets_empty(l, r) && !nested_meets_empty(r, l));
        let expected = [&["a"][..], &["b"], &["list"], &["nested", "x"], &["nested", "y"]].iter().any(|path| differs(path));
        let result = apply(&schema, &live, &right, &writer("r"), false);
        prop_assert_eq!(result.is_err(), expected);
        let forced = apply(&schema, &live, &right, &writer("r"), true).expect("force never conflicts");
        let again = apply(&schema, &forced, &right, &writer("r"), false).expect("forced fields are owned");
        prop_assert_eq!(forced, again);
    }

    #[test]
    fn what_nobody_owns_any_more_is_gone(left in tagged("p"), right in tagged("q")) {
        let schema = schema();
        let alone = apply(&schema, &empty(), &right, &writer("r"), false).expect("no other manager");
        let both = apply(&schema, &alone, &left, &writer("l"), false).expect("disjoint managers do not conflict");
        let left_nothing = apply(&schema, &both, &empty(), &writer("l"), false).expect("giving up never conflicts");
        prop_assert_eq!(essence(&left_nothing), essence(&alone));
    }

    /// Managers that agree on every value share its fields: a field is there exactly while one of them applies it, and
    /// a third one that wants another value meets exactly those who own it.
    #[test]
    fn a_field_lives_as_long_as_it_has_an_owner(
        all in shared(),
        (left, right, later) in (any::<u8>(), any::<u8>(), any::<u8>()),
    ) {
        let schema = schema();
        let part = |mask: u8| {
            let mut part = all.clone();
            let spec = all["spec"].as_object().into_iter().flatten().enumerate();
            part["spec"] = spec.filter(|(at, _)| mask >> at & 1 == 1).map(|(_, (k, v))| (k.clone(), v.clone())).collect();
            part
        };
        let apply_as = |live: &Value, manager, mask| {
            apply(&schema, live, &part(mask), &writer(manager), false).expect("equal values never conflict")
        };
        let live = apply_as(&apply_as(&apply_as(&empty(), "l", left), "r", right), "l", later);
        prop_assert_eq!(essence(&live), essence(&part(later | right)));

        let other = json!({"metadata": {"name": "x"}, "spec": {"a": 7}});
        let met = apply(&schema, &live, &other, &writer("third"), false).err().unwrap_or_default();
        let mut met: Vec<_> = met.iter().map(|cause| (cause.field.as_str(), cause.message.clone())).collect();
        met.sort();
        let owners = [("l", later), ("r", right)].into_iter().filter(|(_, mask)| part(*mask)["spec"].get("a").is_some());
        let expected: Vec<_> =
            owners.map(|(m, _)| (".spec.a", format!("conflict with \"{m}\" using example.com/v1"))).collect();
        prop_assert_eq!(met, expected);
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
