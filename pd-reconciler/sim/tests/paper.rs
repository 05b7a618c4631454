//! The table's machinery: one small cluster of each trouble is repeated exactly and comes near its lower bound.

use pd_sim::{
    Shape, Trace,
    paper::{self, Baseline, Trouble},
};

/// A cluster of few nodes, so that the test is quick.
const SEED: u64 = 4;

#[test]
fn nothing_is_faster_than_the_lower_bound_and_ours_is_near_it() {
    let troubles: &[Trouble] = if cfg!(debug_assertions) { &Trouble::ALL[..1] } else { &Trouble::ALL };
    for trouble in troubles {
        let sample = paper::sample(SEED, Shape::Uniform, *trouble, Trace::default());
        assert!((0.999..1.2).contains(&sample.ours), "{trouble:?}: {sample:?}");
        for (baseline, over) in Baseline::ALL.iter().zip(sample.baselines) {
            assert!(over >= 0.999, "{trouble:?} {baseline:?}: {over}");
        }
        let again = paper::sample(SEED, Shape::Uniform, *trouble, Trace::default());
        assert_eq!((sample.ours, sample.writes), (again.ours, again.writes));
    }
}
