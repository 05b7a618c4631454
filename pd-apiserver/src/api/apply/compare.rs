//! Which fields differ between two objects: added, modified and removed ones alike.

use serde_json::Value;

use super::{
    fields::{FieldSet, Step},
    shape::{Shape, collect, field_schema, is_declared, item_key, set_item, shape},
};

/// The fields in which `old` and `new` differ.
pub(super) fn changed(schema: &Value, old: &Value, new: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    compare(schema, Some(old), Some(new), &mut set);
    set
}

fn compare(schema: &Value, old: Option<&Value>, new: Option<&Value>, set: &mut FieldSet) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (Some(one), None) | (None, Some(one)) => return collect(schema, one, set),
        (Some(old), Some(new)) if old == new => return,
        (Some(old), Some(new)) => (old, new),
    };
    match (shape(schema, old), shape(schema, new)) {
        (Shape::Object(old), Shape::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let mut child = FieldSet::default();
                compare(field_schema(schema, name), old.get(name), new.get(name), &mut child);
                child.is_member |= !is_declared(schema, name) && old.contains_key(name) != new.contains_key(name);
                put(set, Step::Field(name.clone()), child);
            }
        }
        (Shape::MapList(old, keys), Shape::MapList(new, _)) => {
            let find = |list: &'_ [Value], step: &Step| list.iter().position(|item| item_key(item, &keys) == *step);
            for item in old.iter().chain(new) {
                let step = item_key(item, &keys);
                let (old_at, new_at) = (find(old, &step), find(new, &step));
                let mut child = FieldSet::default();
                compare(&schema["items"], old_at.map(|at| &old[at]), new_at.map(|at| &new[at]), &mut child);
                child.is_member |= old_at.is_some() != new_at.is_some();
                put(set, step, child);
            }
        }
        (Shape::Set(old), Shape::Set(new)) => {
            let lost = old.iter().filter(|item| !new.contains(item));
            let won = new.iter().filter(|item| !old.contains(item));
            for item in lost.chain(won) {
                set.child(set_item(item)).is_member = true;
            }
        }
        _ => {
            collect(schema, old, set);
            collect(schema, new, set);
            set.is_member = true;
        }
    }
}

fn put(set: &mut FieldSet, step: Step, child: FieldSet) {
    if !child.is_empty() {
        set.children.insert(step, child);
    }
}
