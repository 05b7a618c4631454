//! That the properties of apply can fail: each is held against applies that are wrong in one way, and must say so.

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;

use super::{
    Writer,
    compare::changed,
    conflicts,
    managed::Managed,
    merge::{merge, prune},
    properties::{self, Verdict, schema, shared, tagged},
    shape::fields_of,
};
use crate::api::error::Cause;

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// What a manager gives up stays.
    ForgetsRemovals,
    /// What a manager gives up goes, whoever else wants it.
    RobsTheOthers,
    /// A manager stays the owner of what it gave up.
    OwnsForEver,
    /// Nobody is told that somebody else wants it differently.
    Overwrites,
    /// Managers conflict over a value that they agree on.
    QuarrelsOverEqualValues,
    /// What is forced still belongs to the one that it was taken from.
    ForcesWithoutTaking,
    /// Items of a map list come again with each apply.
    RepeatsItems,
    /// A map is taken as a whole.
    ReplacesMaps,
}

/// Our own apply, step by step, wrong in one way.
fn wrong(bug: Bug, live: &Value, applied: &Value, writer: &Writer<'_>, force: bool) -> Result<Value, Vec<Cause>> {
    let schema = &schema();
    let mut managed = Managed::of(live);
    let wanted = fields_of(schema, applied).without_identity();
    let previous = managed.take(writer).unwrap_or_default();
    let mut merged = merge(schema, live, applied);
    if let (Bug::RepeatsItems, Some(old), Some(new)) =
        (bug, live["spec"]["conditions"].as_array(), applied["spec"]["conditions"].as_array())
    {
        merged["spec"]["conditions"] = [old.as_slice(), new].concat().into();
    }
    if let (Bug::ReplacesMaps, Some(new)) = (bug, applied["spec"].get("free")) {
        merged["spec"]["free"] = new.clone();
    }
    let mut taken = changed(schema, live, &merged);
    if bug == Bug::QuarrelsOverEqualValues {
        taken = taken.union(&wanted);
    }
    if force && bug != Bug::ForcesWithoutTaking {
        managed.forget(&taken);
    }
    if !force && bug != Bug::Overwrites {
        let conflicts = conflicts(&managed, &taken);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    let kept = if bug == Bug::RobsTheOthers { wanted.clone() } else { managed.all_fields().union(&wanted) };
    if bug != Bug::ForgetsRemovals {
        prune(schema, &mut merged, &previous, &kept);
    }
    let owned = if bug == Bug::OwnsForEver { previous.union(&wanted) } else { wanted };
    managed.put(writer, &previous, owned);
    managed.retain_existing(&fields_of(schema, &merged));
    managed.store(&mut merged);
    Ok(merged)
}

/// Whether a property holds for every one of some hundred random cases.
fn holds<S: Strategy>(cases: S, property: impl Fn(S::Value) -> Verdict) -> bool {
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&cases, property).is_ok()
}

/// Whether the property of this name holds of the apply with this bug.
fn judge(property: &str, bug: Bug) -> bool {
    let apply =
        move |live: &Value, applied: &Value, writer: &Writer<'_>, force| wrong(bug, live, applied, writer, force);
    let disjoint = (tagged("p"), tagged("q"));
    match property {
        "idempotent" => holds(prop_oneof![shared(), tagged("p")], |applied| properties::idempotent(&apply, &applied)),
        "commutes" => holds(disjoint, |(l, r)| properties::commutes(&apply, &l, &r)),
        "conflicts" => holds((shared(), shared()), |(l, r)| properties::conflicts_exactly(&apply, &l, &r)),
        "gone" => holds(disjoint, |(l, r)| properties::gone_with_its_owner(&apply, &l, &r)),
        "lives" => holds((shared(), any::<(u8, u8, u8)>()), |(all, masks)| {
            properties::lives_with_its_owners(&apply, &all, masks)
        }),
        other => unreachable!("no property is called {other}"),
    }
}

#[test]
fn every_property_finds_the_bugs_that_it_guards_against() {
    for (bug, property) in [
        (Bug::ForgetsRemovals, "gone"),
        (Bug::ForgetsRemovals, "lives"),
        (Bug::RobsTheOthers, "lives"),
        (Bug::OwnsForEver, "lives"),
        (Bug::Overwrites, "conflicts"),
        (Bug::QuarrelsOverEqualValues, "conflicts"),
        (Bug::QuarrelsOverEqualValues, "lives"),
        (Bug::ForcesWithoutTaking, "conflicts"),
        (Bug::RepeatsItems, "idempotent"),
        (Bug::ReplacesMaps, "commutes"),
    ] {
        assert!(!judge(property, bug), "{property} holds of an apply with the bug {bug:?}");
    }
}

#[test]
fn without_a_bug_every_property_holds() {
    for property in ["idempotent", "commutes", "conflicts", "gone", "lives"] {
        assert!(judge(property, Bug::None), "{property}");
    }
}

proptest! {
    /// The copy above must not fall behind.
    #[test]
    fn without_a_bug_it_is_our_own_apply(left in shared(), right in shared(), force: bool) {
        let writers = ["l", "r"].map(properties::writer);
        let live = properties::ours(&properties::empty(), &left, &writers[0], false).expect("no other manager");
        let expected = properties::ours(&live, &right, &writers[1], force);
        prop_assert_eq!(wrong(Bug::None, &live, &right, &writers[1], force), expected);
    }
}
