//! The walls around the whole process: it stands where even an escape from the engine ends.
//!
//! In: whatever the parent left us, and the first request. Out: a process without environment, without foreign
//! descriptors, network or other programs, that sees the files its first request names and no others, is first in
//! line when memory runs out, and is gone when its parent is. What this system does not have is left out: the
//! guest's own walls are the engine's.

#[cfg(target_os = "linux")]
mod linux;

use executor_protocol::Request;

/// Puts up the walls that need to know nothing; called first in the process. What fails is said on standard error
/// and is no reason to stop: every one of them stands behind the engine's.
pub(crate) fn enter() {
    clear_environment();
    #[cfg(target_os = "linux")]
    linux::enter();
}

/// Shuts every door but those that this executor's first request needs: one that compiles may write where the
/// compiled module goes, one that calls may read where compiled modules are. Called while there is one thread.
pub(crate) fn confine(first: &Request) {
    #[cfg(target_os = "linux")]
    linux::confine(first);
    #[cfg(not(target_os = "linux"))]
    let _ = first;
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
