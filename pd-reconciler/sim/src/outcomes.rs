//! Outcomes: how the subtasks of a job really end. The plan and the kubelets never see this; they find out by running.

use schemas::assignment::FailureOutcome;

use crate::chance::hashed;

/// How the attempts of a job end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    /// What the outcomes depend on.
    pub seed: u64,
    /// In a thousand: indexes that always fail.
    pub hopeless: u64,
    /// In a thousand: attempts that fail, but for the last that is allowed.
    pub flaky: u64,
    /// In a thousand: indexes that kill their executor each time.
    pub deadly: u64,
    /// Attempts that one index has.
    pub attempts: u32,
}

impl Outcomes {
    /// True when nothing fails.
    pub fn is_sound(&self) -> bool {
        self.hopeless == 0 && self.flaky == 0 && self.deadly == 0
    }

    /// True when every attempt at it fails.
    pub fn is_hopeless(&self, index: u64) -> bool {
        self.hopeless > 0 && hashed(self.seed, index, 3) * 1000.0 < self.hopeless as f64 || self.is_deadly(index)
    }

    /// True when every attempt at it ends the executor.
    fn is_deadly(&self, index: u64) -> bool {
        self.deadly > 0 && hashed(self.seed, index, 4) * 1000.0 < self.deadly as f64
    }

    /// The first of `first..=last` that ends its executor.
    pub fn deadly(&self, first: u64, last: u64) -> Option<u64> {
        if self.deadly == 0 { None } else { (first..=last).find(|index| self.is_deadly(*index)) }
    }

    /// How this attempt fails, if it does. The last one does only if the index is hopeless.
    pub fn failure(&self, index: u64, attempt: u32) -> Option<FailureOutcome> {
        let is_flaky = || hashed(self.seed, index, 10 + u64::from(attempt)) * 1000.0 < self.flaky as f64;
        (self.is_hopeless(index) || (attempt < self.attempts && is_flaky())).then_some(FailureOutcome::Trap)
    }
}
