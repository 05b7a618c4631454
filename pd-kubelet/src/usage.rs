//! What this machine and our executors use, for `kubectl top`.
//!
//! In: the system's own counters. Out: a `NodeUsage`, measured anew every few seconds and for the whole process, however
//! many kubelets it runs.

use std::{
    process,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use schemas::usage::{NodeUsage, Usage};
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Between two measurements: looking through all processes takes some milliseconds.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

struct Meter {
    /// None where the system tells nothing.
    system: Option<System>,
    measured: Instant,
    /// Processor time of all executors so far, in milliseconds.
    executors_ms: u64,
    usage: NodeUsage,
}

/// The one of this process.
static METER: OnceLock<Mutex<Meter>> = OnceLock::new();

/// The newest measurement as the Lease carries it. It may read files: not for the async threads.
pub(crate) fn text() -> String {
    let meter = METER.get_or_init(|| Mutex::new(Meter::new()));
    let usage = meter.lock().unwrap_or_else(PoisonError::into_inner).measure();
    serde_json::to_string(&usage).expect("invariant: numbers print as JSON")
}

/// What the last Lease carried.
pub(crate) fn latest() -> NodeUsage {
    METER.get().map(|meter| meter.lock().unwrap_or_else(PoisonError::into_inner).usage).unwrap_or_default()
}

impl Meter {
    fn new() -> Self {
        let mut meter =
            Self { system: System::new().ok(), measured: Instant::now(), executors_ms: 0, usage: NodeUsage::default() };
        meter.refresh(Duration::ZERO);
        meter
    }

    fn measure(&mut self) -> NodeUsage {
        let elapsed = self.measured.elapsed();
        if elapsed >= MEASURE_EVERY {
            self.refresh(elapsed);
            self.measured = Instant::now();
        }
        self.usage
    }

    fn refresh(&mut self, elapsed: Duration) {
        let Some(system) = &mut self.system else { return };
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, wanted);
        let own = Pid::from_u32(process::id());
        let executors = system.processes().values().filter(|process| process.parent() == Some(own));
        let (cpu_ms, bytes) = executors.fold((0_u64, 0_u64), |(cpu, bytes), process| {
            (cpu + process.accumulated_cpu_time(), bytes + process.memory())
        });
        // An executor that has ended takes its time with it: the next window is right again.
        let spent_ms = cpu_ms.saturating_sub(self.executors_ms);
        self.executors_ms = cpu_ms;
        let processors = system.cpus().len() as f64;
        let machine_millis = f64::from(system.global_cpu_usage()) / 100.0 * processors * 1_000.0;
        self.usage = NodeUsage {
            window_seconds: elapsed.as_secs(),
            machine: Usage { cpu_millis: machine_millis as u64, memory_kib: system.used_memory() >> 10 },
            executors: Usage {
                cpu_millis: spent_ms * 1_000 / (elapsed.as_millis() as u64).max(1),
                memory_kib: bytes >> 10,
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory_in_use_and_its_text_reads_back() {
        let usage: NodeUsage = serde_json::from_str(&text()).expect("JSON");
        assert!(usage.machine.memory_kib > 0);
        assert_eq!(text(), text(), "measured once in a while, not at each call");
    }
}
