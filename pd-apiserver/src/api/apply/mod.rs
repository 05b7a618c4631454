//! Server-side apply: who owns which field, and what an apply changes.
//!
//! In: schemas and JSON objects, the live and the applied one. Out: the merged object with its
//! `metadata.managedFields`, or the conflicts. Pure functions: no clock (times are parameters), no store.
//! The model is that of sigs.k8s.io/structured-merge-diff: objects are granular, lists atomic unless the
//! schema says `x-kubernetes-list-type: map` or `set`.

mod compare;
mod fields;
mod last_applied;
mod managed;
mod merge;
mod shape;

#[cfg(test)]
mod planted;
#[cfg(test)]
mod properties;

use serde_json::Value;

use self::{compare::changed, fields::FieldSet, managed::Managed, merge::merge, shape::fields_of};
use super::error::{Cause, reasons};

pub(crate) use self::managed::{Operation, Writer};

/// Applies `applied` over `live`. `Err` holds the conflicts with other managers.
pub(crate) fn apply(
    schema: &Value,
    live: &Value,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Vec<Cause>> {
    let mut managed = Managed::of(live);
    let wanted = fields_of(schema, applied).without_identity();
    let previous = managed.take(writer).unwrap_or_default();
    let mut merged = merge(schema, live, applied);

    let taken = changed(schema, live, &merged);
    if !force {
        let conflicts = conflicts(&managed, &taken.difference(&last_applied::own_fields(schema, live, writer)));
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    managed.forget(&taken);

    let kept = managed.all_fields().union(&wanted);
    merge::prune(schema, &mut merged, &previous, &kept);
    managed.put(writer, &previous, wanted);
    managed.retain_existing(&fields_of(schema, &merged));
    managed.store(&mut merged);
    last_applied::renew(&mut merged, applied, writer);
    Ok(merged)
}

/// Attributes all of a new object to `writer`, and stores that in it.
pub(crate) fn track_create(schema: &Value, new: &mut Value, writer: &Writer<'_>) {
    let mut managed = Managed::default();
    managed.put(writer, &FieldSet::default(), fields_of(schema, new).without_identity());
    managed.store(new);
}

/// Attributes to `writer` what differs between `live` and `new` (an update or a patch), and stores the
/// managed fields in `new`. A client that wrote `managedFields` itself sets where this starts from.
pub(crate) fn track_update(schema: &Value, live: &Value, new: &mut Value, writer: &Writer<'_>) {
    let mut managed = Managed::rewritten_by_client(live, new).unwrap_or_else(|| Managed::of(live));
    let taken = changed(schema, live, new).without_identity();
    let existing = fields_of(schema, new);
    let previous = managed.take(writer).unwrap_or_default();
    managed.forget(&taken);
    let owned = previous.union(&taken).intersection(&existing);
    managed.put(writer, &previous, owned);
    managed.retain_existing(&existing);
    managed.limit_updaters();
    managed.store(new);
}

/// Fields of `taken` that other managers own.
fn conflicts(managed: &Managed, taken: &FieldSet) -> Vec<Cause> {
    let mut causes = Vec::new();
    for entry in managed.entries() {
        for path in entry.fields.intersection(taken).paths() {
            causes.push(Cause::new(reasons::CONFLICT, path, entry.conflict_message()));
        }
    }
    causes
}
