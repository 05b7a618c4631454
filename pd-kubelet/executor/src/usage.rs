//! What this process has used so far.
//!
//! In: nothing. Out: processor time and memory, as the kernel counts them. Its files are opened before the walls go up.

use std::{fs::File, os::unix::fs::FileExt as _, time::Duration};

/// Longest of the files that are read here.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The kernel's accounts of this process.
#[derive(Debug)]
pub(crate) struct Usage {
    status: Option<File>,
}

impl Usage {
    /// Called before the walls go up. Where there is no `/proc` nothing is known.
    pub(crate) fn open() -> Self {
        Self { status: File::open("/proc/self/status").ok() }
    }

    /// Memory that it has now, in bytes.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.field("VmRSS:")
    }

    /// The most it ever had.
    pub(crate) fn resident_peak_bytes(&self) -> Option<u64> {
        self.field("VmHWM:")
    }

    fn field(&self, name: &str) -> Option<u64> {
        let mut bytes = [0; TEXT_BYTES_MAX];
        let length = self.status.as_ref()?.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    }
}

/// Processor time of all threads since the process began. Only one of them calls guests, the others wait for it.
pub(crate) fn cpu_time() -> Duration {
    Clock::PROCESS.now()
}

/// A clock that goes while its owner has a processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(libc::clockid_t);

impl Clock {
    /// That of all threads of this process.
    pub(crate) const PROCESS: Self = Self(libc::CLOCK_PROCESS_CPUTIME_ID);

    /// That of the thread that asks; other threads may read it while that one lives. Where a system has none, the
    /// process's: limits are then met early, never late.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the standard library does not have this clock")]
    pub(crate) fn of_this_thread() -> Self {
        let mut clock = libc::CLOCK_PROCESS_CPUTIME_ID;
        // SAFETY: writes to `clock` and to nothing else; the thread that is named is this one.
        unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        Self(clock)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of_this_thread() -> Self {
        Self::PROCESS
    }

    #[expect(unsafe_code, reason = "the standard library does not have this clock")]
    pub(crate) fn now(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes to `time` and to nothing else; it fails only for a clock that does not exist, and leaves 0.
        unsafe { libc::clock_gettime(self.0, &raw mut time) };
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_has_a_clock_of_its_own() {
        let (told, heard) = std::sync::mpsc::channel();
        let (wait, go) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            told.send(Clock::of_this_thread()).expect("is heard");
            go.recv().ok();
        });
        let (its, start) = (heard.recv().expect("is told"), cpu_time());
        while cpu_time().saturating_sub(start) < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
        assert!(its.now() < Duration::from_millis(15), "it has only waited: {:?}", its.now());
        drop(wait);
        other.join().expect("ends");
    }

    #[test]
    fn time_passes_and_memory_is_counted() {
        let start = cpu_time();
        let mut sum = 0_u64;
        while cpu_time() == start {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let usage = Usage::open();
        if cfg!(target_os = "linux") {
            let now = usage.resident_bytes().expect("is known");
            assert!(now > 1 << 20 && usage.resident_peak_bytes().expect("is known") >= now, "{now}");
        }
    }
}
