//! Outcomes: how the subtasks of a job really end. The plan and the kubelets never see this; they find out by running.

use schemas::assignment::FailureOutcome;

use crate::chance::hashed;

/// How a task's own attempts fail. That its executor dies, or that it cannot be set up, is not its own doing.
const KINDS: [FailureOutcome; 6] = [
    FailureOutcome::Trap,
    FailureOutcome::OutOfMemory,
    FailureOutcome::Timeout,
    FailureOutcome::TaskErrorRetryable,
    FailureOutcome::TaskErrorPermanent,
    FailureOutcome::InvalidOutput,
];

/// How the attempts of a job end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    /// What the outcomes depend on.
    pub seed: u64,
    /// In a thousand: indexes that always fail.
    pub hopeless: u64,
    /// In a thousand: attempts that fail, but for the last that is allowed.
    pub flaky: u64,
    /// In a thousand: pairs of an index and a node on which it always fails.
    pub picky: u64,
    /// In a thousand: indexes that kill their executor each time.
    pub deadly: u64,
    /// In a thousand: tries of the plan and the merge call that fail.
    pub calls: u64,
    /// False: what fails traps; true: it fails in every way there is.
    pub is_mixed: bool,
    /// Attempts that one index has.
    pub attempts: u32,
}

impl Outcomes {
    /// True when nothing fails.
    pub fn is_sound(&self) -> bool {
        self.hopeless == 0 && self.flaky == 0 && self.picky == 0 && self.deadly == 0
    }

    /// True when every attempt at it fails.
    pub fn is_hopeless(&self, index: u64) -> bool {
        self.strikes(self.hopeless, index, 3) || self.is_deadly(index)
    }

    /// True when every attempt at it ends the executor.
    fn is_deadly(&self, index: u64) -> bool {
        self.strikes(self.deadly, index, 4)
    }

    /// The first of `first..=last` that ends its executor.
    pub fn deadly(&self, first: u64, last: u64) -> Option<u64> {
        if self.deadly == 0 { None } else { (first..=last).find(|index| self.is_deadly(*index)) }
    }

    /// How this attempt fails on that node, if it does. The last one does only if the index is hopeless, or on a node
    /// on which it always fails.
    pub fn failure(&self, index: u64, attempt: u32, node: usize) -> Option<FailureOutcome> {
        let is_flaky = || attempt < self.attempts && self.strikes(self.flaky, index, 10 + u64::from(attempt));
        let is_picky = || self.strikes(self.picky, index, 1000 + node as u64);
        let fails = self.is_hopeless(index) || is_flaky() || is_picky();
        fails.then(|| self.kind(index, attempt))
    }

    /// How that try of the plan or the merge call fails on that node, if it does.
    pub fn call_failure(&self, attempt: u32, node: usize) -> Option<FailureOutcome> {
        let call = (u64::from(attempt) << 8) + node as u64;
        self.strikes(self.calls, call, 5).then(|| self.kind(call, 0))
    }

    fn kind(&self, index: u64, attempt: u32) -> FailureOutcome {
        let kind = hashed(self.seed, index, 2000 + u64::from(attempt)) * KINDS.len() as f64;
        if self.is_mixed { KINDS[kind as usize] } else { FailureOutcome::Trap }
    }

    /// True so many times in a thousand, for `purpose`.
    fn strikes(&self, permille: u64, index: u64, purpose: u64) -> bool {
        permille > 0 && hashed(self.seed, index, purpose) * 1000.0 < permille as f64
    }
}
