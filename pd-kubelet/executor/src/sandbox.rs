//! The walls around the whole process, put up before it reads its first byte.
//!
//! In: whatever the parent left us. Out: a process without environment, without foreign descriptors, without a
//! way to gain privileges, first in line when memory runs out, and gone when its parent is. What this system
//! does not have is left out: the guest's own walls are the engine's.

/// Puts up the walls. What fails is said on standard error and is no reason to stop: every one of them stands
/// behind the engine's.
pub(crate) fn enter() {
    clear_environment();
    #[cfg(target_os = "linux")]
    linux::enter();
}

/// Nothing of what the kubelet was started with is for us.
#[expect(unsafe_code, reason = "removing a variable is unsafe while other threads may read it")]
fn clear_environment() {
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: called first in `main`, when this is the only thread.
        unsafe { std::env::remove_var(name) };
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, io};

    use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
    use rustix::thread::set_no_new_privs;

    /// Open files: three pipes, a compiled module with a memory image for each of its core modules (38 in a
    /// Python task), and what the C library wants.
    const FILES_MAX: u64 = 256;
    /// Below the kubelet, the API server and whoever sits at this machine.
    const NICE: i32 = 5;

    pub(super) fn enter() {
        say("close inherited descriptors", close_inherited());
        say("follow the parent into death", set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into));
        say("refuse new privileges", set_no_new_privs(true).map_err(Into::into));
        say("forbid core dumps", limit(Resource::Core, 0));
        say("limit open files", limit(Resource::Nofile, FILES_MAX));
        say("be the first to go without memory", fs::write("/proc/self/oom_score_adj", "1000"));
        say("lower the priority", nice(NICE).map(drop).map_err(Into::into));
    }

    fn say(what: &str, done: io::Result<()>) {
        if let Err(error) = done {
            eprintln!("pd-executor: cannot {what}: {error}");
        }
    }

    fn limit(resource: Resource, to: u64) -> io::Result<()> {
        Ok(setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })?)
    }

    /// Closes everything beyond the three standard streams.
    #[expect(unsafe_code, reason = "closing a descriptor that nobody here owns")]
    fn close_inherited() -> io::Result<()> {
        let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|number| *number > 2)
            .collect();
        for number in numbers {
            // SAFETY: called first in `main`: nothing in this process has opened anything yet. The one that
            // listed the folder is in the list and closed already; closing it again is refused.
            unsafe { rustix::io::close(number) };
        }
        Ok(())
    }
}
