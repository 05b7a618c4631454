//! Limits: what a user allows to fail and what is enough, and work that comes near it.

use schemas::{
    Job,
    job::{FailureAction, FailurePolicy, FailureRule, RuleOutcome, SuccessPolicy},
};

use crate::{chance::Chance, outcomes::Outcomes};

/// Every outcome that a rule can name.
const NAMED: [RuleOutcome; 5] = [
    RuleOutcome::Trap,
    RuleOutcome::OutOfMemory,
    RuleOutcome::Timeout,
    RuleOutcome::TaskError,
    RuleOutcome::InvalidOutput,
];

/// What a job's spec says of failures and success.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    retries: u32,
    failed_max: Option<u64>,
    failure: Option<FailurePolicy>,
    success: Option<SuccessPolicy>,
}

impl Limits {
    /// Those of a job of `count` indexes.
    pub(super) fn draw(count: u64, chance: &mut Chance) -> Self {
        let retries = chance.pick(&[0, 1, 1, 2, 3, 5]);
        let failed_max = chance.pick(&[None, None, None, Some(0), Some(1), Some(4)]);
        let failure = chance.permille(400).then(|| draw_rules(chance));
        let enough = 1 + chance.below(count);
        let success = chance.permille(300).then_some(SuccessPolicy { succeeded_count: Some(enough) });
        Self { retries, failed_max, failure, success }
    }

    /// How the attempts of such a job end: more of them badly than elsewhere.
    pub(super) fn outcomes(&self, chance: &mut Chance) -> Outcomes {
        Outcomes {
            seed: chance.bits(),
            hopeless: chance.pick(&[0, 0, 5, 30]),
            flaky: chance.pick(&[0, 100, 300]),
            picky: chance.pick(&[0, 0, 200]),
            deadly: chance.pick(&[0, 0, 10]),
            calls: chance.pick(&[0, 0, 0, 200]),
            is_mixed: chance.permille(500),
            attempts: self.retries + 1,
        }
    }

    /// Writes them into a job.
    pub(super) fn write(&self, job: &mut Job) {
        let spec = &mut job.spec;
        spec.backoff_limit_per_index = self.retries;
        spec.max_failed_indexes = self.failed_max;
        spec.failure_policy.clone_from(&self.failure);
        spec.success_policy.clone_from(&self.success);
    }
}

/// One or two rules; each outcome stands in one of them at most.
fn draw_rules(chance: &mut Chance) -> FailurePolicy {
    let mut named = NAMED;
    named.rotate_left(chance.below(NAMED.len() as u64) as usize);
    let rule = |outcomes: &[RuleOutcome]| {
        let action = chance.pick(&[FailureAction::Retry, FailureAction::FailIndex, FailureAction::FailJob]);
        FailureRule { action, outcomes: outcomes.to_vec() }
    };
    let mut rules: Vec<FailureRule> = named.chunks(2).take(2).map(rule).collect();
    rules.truncate(chance.between(1, 2) as usize);
    FailurePolicy { rules }
}
