//! Which writes bring the cluster to what the folder asks for. Pure: what is decided here is carried out as
//! it stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use schemas::manifest_source::InventoryEntry;

use crate::desired::{Desired, ObjectId};

/// How long an object must have been missing from the folder before it is deleted: longer than an editor or a
/// version control system takes between removing a file and writing it again.
pub const PRUNE_AFTER: Duration = Duration::from_secs(1);

/// How the objects follow the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Delete what no file holds any more.
    pub prune: bool,
    /// Delete everything when no file holds anything.
    pub allow_empty: bool,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Apply the object as its file says.
    Apply(ObjectId),
    /// Delete the object, if it is still ours.
    Prune(ObjectId),
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// In this order: kinds that others rest on are applied first and deleted last.
    pub steps: Vec<Step>,
    /// Objects that would be deleted if pruning were on.
    pub unowned: Vec<ObjectId>,
    /// True when pruning was not done because the folder holds nothing.
    pub is_empty_refused: bool,
    /// When to decide again although nothing has changed.
    pub wake_at: Option<Timestamp>,
}

/// Since when each object of the inventory is missing from the folder.
pub type Missing = BTreeMap<ObjectId, Timestamp>;

/// Decides. With `everything`, objects that are as they should be are applied again, so that drift is mended.
pub fn decide(
    desired: &Desired,
    inventory: &BTreeMap<ObjectId, InventoryEntry>,
    missing: &mut Missing,
    rules: Rules,
    everything: bool,
    now: Timestamp,
) -> Steps {
    let mut decided = Steps::default();
    let mut applies: Vec<&ObjectId> = desired
        .objects
        .iter()
        .filter(|(id, wanted)| everything || inventory.get(id).and_then(|entry| entry.digest) != Some(wanted.digest))
        .map(|(id, _)| id)
        .collect();
    applies.sort_by_key(|id| rank(id));
    decided.steps.extend(applies.into_iter().cloned().map(Step::Apply));

    let mut gone: Vec<&ObjectId> =
        inventory.iter().filter(|(id, entry)| is_gone(desired, id, entry)).map(|(id, _)| id).collect();
    let still: BTreeSet<ObjectId> = gone.iter().copied().cloned().collect();
    missing.retain(|id, _| still.contains(id));
    if !rules.prune {
        decided.unowned.extend(still);
        return decided;
    }
    if desired.is_empty && !rules.allow_empty {
        decided.is_empty_refused = !gone.is_empty();
        return decided;
    }
    gone.sort_by_key(|id| std::cmp::Reverse(rank(id)));
    for id in gone {
        let since = *missing.entry(id.clone()).or_insert(now);
        let due = since.checked_add(PRUNE_AFTER).unwrap_or(now);
        if due <= now {
            decided.steps.push(Step::Prune(id.clone()));
        } else {
            decided.wake_at = Some(decided.wake_at.map_or(due, |at| at.min(due)));
        }
    }
    decided
}

/// True for what no file asks for and no broken file may still hold.
fn is_gone(desired: &Desired, id: &ObjectId, entry: &InventoryEntry) -> bool {
    !desired.objects.contains_key(id) && !desired.held.contains(id) && !desired.broken.contains(&entry.file)
}

/// Kinds that others rest on come first.
fn rank(id: &ObjectId) -> u8 {
    match id.kind.as_str() {
        "Namespace" => 0,
        "Queue" | "Task" | "ConfigMap" | "Secret" => 1,
        _ => 2,
    }
}
