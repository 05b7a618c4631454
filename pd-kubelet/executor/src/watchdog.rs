//! The call that runs, and the clock that ends it.
//!
//! In: when a call begins and ends, what it logs. Out: its log and wall time; or, when its time is up, the
//! `TimedOut` that replaces its outcome, after which the process ends: compiled code cannot be interrupted, and
//! checks inside it would cost every loop. Only where slots share a process there are such checks, and they end the call.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use executor_protocol::{Call, Context, Ended, EndedRun, FrameError, Limit, Outcome, Reply};

use crate::log::Log;
use crate::pipe::Outbox;
use crate::usage::Clock;

/// Log of one call that is kept at most, whatever the job allows: it travels in one frame with the output.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Least time between two looks at the processor's clock: a call that waits uses none, and is not hurried.
const CPU_LOOK_EVERY: Duration = Duration::from_millis(1);

/// Which of the task's functions runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Plan,
    Run(u64),
    Verify(u64),
    Merge,
}

impl What {
    /// The index that is computed or checked.
    pub(crate) fn index(self) -> Option<u64> {
        match self {
            Self::Run(index) | Self::Verify(index) => Some(index),
            Self::Plan | Self::Merge => None,
        }
    }
}

/// A call was ended from outside while the host worked for it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the call was ended")]
pub(crate) struct Halted;

/// What ends a call that has run out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndBy {
    /// The end of the process.
    Exit,
    /// A check in the guest's own loops.
    Check,
}

/// A call that has ended.
pub(crate) struct Finished {
    pub(crate) log: Log,
    pub(crate) wall_ns: u64,
    /// The limit that ended it, and what to say of it.
    pub(crate) overdue: Option<(Limit, String)>,
}

/// What is known of the running call.
pub(crate) struct Calls {
    end_by: EndBy,
    state: Mutex<State>,
    changed: Condvar,
    /// The running call is to end. Looked at where nothing else can end it.
    halted: AtomicBool,
    /// Most linear memory of the call so far, in bytes.
    pub(crate) peak: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Nobody waits for what runs, nor for anything after it.
    closed: bool,
    /// When the watchdog looks again of its own accord. A call that ends later needs not wake it, so a range
    /// of short calls costs it one wake-up per limit and not one per call.
    looks_at: Option<Instant>,
}

struct Running {
    what: What,
    started: Instant,
    limit: Duration,
    cpu: Option<CpuLimit>,
    log: Log,
    /// The limit that it has met, if it goes on nevertheless until it is checked.
    met: Option<Limit>,
}

/// A limit on processor time.
struct CpuLimit {
    limit: Duration,
    clock: Clock,
    /// Where that clock stands when it is met.
    ends_at: Duration,
    /// When that can be at the earliest: one thread uses no more of it than passes.
    look_at: Option<Instant>,
}

impl Running {
    /// When a limit may have been met. None: further away than a clock can tell.
    fn deadline(&self) -> Option<Instant> {
        if self.met.is_some() {
            return None;
        }
        let look_at = self.cpu.as_ref().and_then(|cpu| cpu.look_at);
        self.started.checked_add(self.limit).into_iter().chain(look_at).min()
    }

    /// The limit that has been met; where none has, it is known anew when the next may be.
    fn overdue(&mut self) -> Option<Limit> {
        if self.met.is_some() {
            return None;
        }
        let now = Instant::now();
        if self.started.checked_add(self.limit).is_some_and(|end| end <= now) {
            return Some(Limit::WallTime);
        }
        let cpu = self.cpu.as_mut().filter(|cpu| cpu.look_at.is_some_and(|at| at <= now))?;
        match cpu.ends_at.saturating_sub(cpu.clock.now()) {
            Duration::ZERO => Some(Limit::CpuTime),
            left => {
                cpu.look_at = now.checked_add(left.max(CPU_LOOK_EVERY));
                None
            }
        }
    }

    fn told(&self, limit: Limit) -> String {
        let (most, kind, field) = match &self.cpu {
            Some(cpu) if limit == Limit::CpuTime => (cpu.limit, "processor time", "resources.cpuTime"),
            _ => (self.limit, "wall time", "subtaskTimeout"),
        };
        format!(
            "the call took more than its limit of {most:?} of {kind}; raise spec.{field} or let each subtask do less"
        )
    }
}

impl Calls {
    pub(crate) fn new(end_by: EndBy) -> Arc<Self> {
        Arc::new(Self {
            end_by,
            state: Mutex::default(),
            changed: Condvar::new(),
            halted: AtomicBool::new(false),
            peak: Arc::default(),
        })
    }

    /// True when the running call is to end.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// True when guests are to look at `is_halted` in their loops.
    pub(crate) fn are_checked(&self) -> bool {
        self.end_by == EndBy::Check
    }

    /// Ends what runs and whatever comes after it; nobody waits for it any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.halted.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// A call begins.
    pub(crate) fn begin(&self, what: What, context: &Context) {
        let limit = Duration::from_millis(context.call_ms_max);
        let log = Log::new(context.log_bytes_max.min(LOG_BYTES_MAX));
        let started = Instant::now();
        let cpu = context.cpu_ms_max.map(|milliseconds| {
            let limit = Duration::from_millis(milliseconds);
            let clock = match self.end_by {
                EndBy::Exit => Clock::PROCESS,
                EndBy::Check => Clock::of_this_thread(),
            };
            CpuLimit { limit, clock, ends_at: clock.now().saturating_add(limit), look_at: started.checked_add(limit) }
        });
        let running = Running { what, started, limit, cpu, log, met: None };
        self.peak.store(0, Ordering::Relaxed);
        let mut state = self.lock();
        let deadline = running.deadline();
        state.running = Some(running);
        if deadline.is_some_and(|deadline| state.looks_at.is_none_or(|looks_at| deadline < looks_at)) {
            self.changed.notify_one();
        }
    }

    /// The running call has ended. Where the end of the process is the limit, this never returns once the time is up,
    /// so that no call has two outcomes.
    pub(crate) fn end(&self) -> Finished {
        let mut state = self.lock();
        let running = state.running.take().expect("invariant: a call that ends has begun");
        self.halted.store(state.closed, Ordering::Relaxed);
        let overdue = running.met.map(|limit| (limit, running.told(limit)));
        Finished { wall_ns: nanoseconds(running.started), log: running.log, overdue }
    }

    /// Adds a line to the log of the running call.
    pub(crate) fn log(&self, level: &str, text: &str) {
        if let Some(running) = &mut self.lock().running {
            running.log.add(level, text);
        }
    }

    /// Waits until a call has run out of time and reports it, or has it ended. Returns when the process is to end, or
    /// when nobody waits for calls any more.
    pub(crate) fn watch(&self, outbox: &Outbox) -> Result<(), FrameError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Ok(());
            }
            let met = state.running.as_mut().and_then(Running::overdue);
            if met.is_some() && self.end_by == EndBy::Check {
                state.running.iter_mut().for_each(|running| running.met = met);
                self.halted.store(true, Ordering::Relaxed);
            } else if let Some(limit) = met {
                // The lock is held from here on: a call that ends this moment waits in `end` for ever.
                let running = state.running.take().expect("invariant: only a running call is overdue");
                let result = outbox.send(self.timed_out(running, limit).as_slice());
                std::mem::forget(state);
                return result;
            }
            let deadline = state.running.as_ref().and_then(Running::deadline);
            state.looks_at = deadline;
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            }
        }
    }

    /// Nothing of an index that was only being checked: it has no outcome yet.
    fn timed_out(&self, running: Running, limit: Limit) -> Option<Reply> {
        Some(match running.what {
            What::Plan => Reply::Planned(self.overdue(running, limit)),
            What::Run(index) => {
                let ended = Ended { index, call: self.overdue(running, limit), found: Vec::new(), checked: None };
                Reply::Ended(EndedRun::from_iter([ended]))
            }
            What::Verify(_) => return None,
            What::Merge => Reply::Merged(self.overdue(running, limit)),
        })
    }

    fn overdue<T>(&self, running: Running, limit: Limit) -> Call<T> {
        Call {
            outcome: Outcome::TimedOut(running.told(limit)),
            limits: limits_with_log(Some(limit), &running.log),
            log: running.log.into_text(),
            wall_ns: nanoseconds(running.started),
            memory_peak_bytes: self.peak.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits that a call met: the one that ended it, and that of its log.
pub(crate) fn limits_with_log(ended_by: Option<Limit>, log: &Log) -> Vec<Limit> {
    ended_by.into_iter().chain(log.is_cut().then_some(Limit::Log)).collect()
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
