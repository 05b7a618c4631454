//! Random fault scenarios: none breaks an invariant, a seed means one run to the byte, every planted bug is found.

#![allow(clippy::panic)] // a helper of tests, which clippy takes for production code

use pd_sim::{Bug, Invariant, Trace, scenario};

/// Scenarios of one test run; `cargo xtask sim --hours N` has as many as one likes.
const SEEDS: u64 = if cfg!(debug_assertions) { 6 } else { 40 };
/// Scenarios in which a planted bug has to be found.
const SEEDS_PER_BUG: u64 = 120;

#[test]
fn no_scenario_breaks_an_invariant_and_every_job_ends() {
    for seed in 1..=SEEDS {
        let outcome = scenario::run(seed, None, Trace::default());
        let violation = outcome.violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "replay with: cargo xtask sim --seed {seed} --trace");
        assert!(outcome.stats.plans > 0 && outcome.stats.jobs > 0, "seed {seed}: {:?}", outcome.stats);
    }
}

#[test]
fn a_seed_is_one_run_to_the_byte() {
    for seed in [3, 7] {
        let [first, second] = [(); 2].map(|()| scenario::run(seed, None, Trace::hashed()));
        assert!(first.digest.is_some_and(|digest| digest != 0));
        assert_eq!((first.digest, first.stats, first.lived), (second.digest, second.stats, second.lived));
        let other = scenario::run(seed + 1, None, Trace::hashed());
        assert_ne!(first.digest, other.digest);
    }
}

/// The seeds from `first` on show `bug` as one of `invariants`.
fn finds(bug: Bug, first: u64, invariants: &[Invariant]) {
    for seed in first..first + SEEDS_PER_BUG {
        let Some(violation) = scenario::run(seed, Some(bug), Trace::default()).violation else { continue };
        assert!(invariants.contains(&violation.invariant), "{bug}, seed {seed}: {violation}");
        let sound = scenario::run(seed, None, Trace::default()).violation;
        assert!(sound.is_none(), "{bug}, seed {seed}: it breaks without the bug too: {sound:?}");
        return;
    }
    panic!("{bug} is not found within {SEEDS_PER_BUG} seeds from {first}");
}

#[test]
fn a_thief_served_before_the_acknowledgement_is_found() {
    finds(Bug::ThiefBeforeAck, 50, &[Invariant::OneOwner]);
}

#[test]
fn an_acknowledgement_before_the_drop_is_found() {
    finds(Bug::AckBeforeDrop, 50, &[Invariant::OneOwner, Invariant::AcceptedNeverReruns]);
}

#[test]
fn a_report_of_another_registration_is_found() {
    finds(Bug::ForeignReport, 1, &[Invariant::AcceptedStays, Invariant::ReportsFenced]);
}

#[test]
fn a_lost_nodes_work_done_again_is_found() {
    finds(Bug::LostWorkRedone, 1, &[Invariant::AcceptedStays, Invariant::AcceptedNeverReruns]);
}

#[test]
fn a_forgotten_retained_index_is_found() {
    finds(Bug::RetainedForgotten, 50, &[Invariant::OneOwner]);
}

#[test]
fn an_index_counted_twice_is_found() {
    finds(Bug::CopyCountedTwice, 1, &[Invariant::CountsAddUp]);
}

#[test]
fn a_lost_wake_up_is_found() {
    finds(Bug::WakeLost, 10, &[Invariant::EveryJobEnds]);
}

#[test]
fn a_start_that_forgets_what_was_reported_is_found() {
    finds(Bug::AdoptionForgotten, 1, &[Invariant::AcceptedStays]);
}

#[test]
fn overrun_slots_are_found() {
    finds(Bug::SlotsOverrun, 1, &[Invariant::SlotsKept]);
}

#[test]
fn a_forgotten_quota_is_found() {
    finds(Bug::QuotaForgotten, 1, &[Invariant::QuotaKept]);
}

#[test]
fn a_deletion_that_a_node_misses_is_found() {
    finds(Bug::DeletionMissed, 1, &[Invariant::DeletedStops]);
}

#[test]
fn a_set_up_that_is_never_tried_again_is_found() {
    finds(Bug::SetUpNotForgiven, 1, &[Invariant::EveryJobEnds]);
}

#[test]
fn a_try_beyond_the_limit_is_found() {
    finds(Bug::LimitForgotten, 1, &[Invariant::TriesCounted]);
}

#[test]
fn forgotten_rules_of_a_failure_policy_are_found() {
    finds(Bug::RulesForgotten, 1, &[Invariant::TriesCounted, Invariant::RightEnd]);
}

#[test]
fn a_forgotten_taint_is_found() {
    finds(Bug::TaintForgotten, 1, &[Invariant::PlacementKept]);
}

#[test]
fn a_forgotten_dependency_is_found() {
    finds(Bug::DependencyForgotten, 1, &[Invariant::DependenciesKept]);
}

#[test]
fn bugs_have_names() {
    for bug in Bug::ALL {
        assert_eq!(bug.name().parse::<Bug>(), Ok(bug));
    }
    assert!("other".parse::<Bug>().is_err_and(|text| text.contains("wake-lost")));
}
