//! Plans, judged before they are carried out.

use pd_plan::{Action, Plan, Snapshot};

use super::Invariant;
use crate::world::World;

/// Of that many plans that write, planning again is tried on one.
const REPLANNED: u64 = 4;
/// Further rounds until a plan may change nothing any more: withdrawing takes some.
const ROUNDS_MAX: usize = 3;

impl World {
    /// A plan keeps its own invariants, and planning on its result changes nothing (sampled).
    pub(crate) fn check_plan(&mut self, snapshot: &Snapshot, plan: &Plan) {
        if !self.checks.are_on {
            return;
        }
        // Planning is a function: what changes nothing changes nothing a second time.
        if plan.actions.iter().all(|action| matches!(action, Action::EmitEvent(_))) {
            return;
        }
        let broken = pd_plan::invariants::check(snapshot, plan, &self.policy);
        if !broken.is_empty() {
            return self.checks.break_(self.now, Invariant::PlanSound, || broken.join("; "));
        }
        self.checks.plans += 1;
        // A planted bug must show in what happens, not in what a plan makes of false news.
        if self.bug.is_some() || !self.checks.plans.is_multiple_of(REPLANNED) {
            return;
        }
        self.stats.replans += 1;
        let (now, mut rounds, mut after) = (self.time(), Vec::new(), pd_plan::apply(snapshot, plan));
        for _ in 0..=ROUNDS_MAX {
            let next = pd_plan::plan(&after, now, &self.policy);
            if next.actions.is_empty() {
                return;
            }
            rounds.push(next.actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            after = pd_plan::apply(&after, &next);
        }
        self.checks.break_(self.now, Invariant::PlanRests, || rounds.join("; then "));
    }
}
