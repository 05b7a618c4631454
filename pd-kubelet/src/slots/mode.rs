//! Whether each slot has an executor process of its own.
//!
//! In: what was asked for, and how many more processes and threads this one may have. Out: the mode, with the reason.

use std::fs;

use rustix::process::{Resource, geteuid, getrlimit};

/// Processes and threads of an executor: five threads of its own, and what a compilation starts.
const TASKS_PER_SLOT: u64 = 8;
/// Those of the kubelet, and of a compilation beside the slots.
const TASKS_BESIDE: u64 = 64;
/// Where a container's own limit stands: cgroup v2 and v1.
const PIDS_FOLDERS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"];

/// How slots are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExecutorMode {
    /// A process for each slot where there is room for so many, else shared
    #[default]
    Auto,
    /// A process for each slot: no checks in the guests' loops, and nothing between slots to share
    Process,
    /// One process for all slots, whose guests check in their loops whether their time is up
    Shared,
}

/// The mode that was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Process,
    Shared,
}

impl Mode {
    /// As the Node's label says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Shared => "shared",
        }
    }
}

impl ExecutorMode {
    /// The mode for that many slots where so many more processes and threads may be (none: any number).
    pub(crate) fn decide(self, slots: u32, room: Option<u64>) -> Mode {
        let wanted = u64::from(slots) * TASKS_PER_SLOT + TASKS_BESIDE;
        match self {
            Self::Shared => Mode::Shared,
            Self::Auto if room.is_some_and(|room| room < wanted) => Mode::Shared,
            Self::Process | Self::Auto => Mode::Process,
        }
    }
}

/// How many processes and threads this machine lets us have at most, as far as it says.
pub(crate) fn room() -> Option<u64> {
    // The superuser's processes are not counted.
    let user = getrlimit(Resource::Nproc).current.filter(|_| !geteuid().is_root());
    let container = PIDS_FOLDERS.iter().find_map(|folder| {
        let number = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok()?.trim().parse::<u64>().ok();
        Some(number("pids.max")?.saturating_sub(number("pids.current")?))
    });
    user.into_iter().chain(container).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_a_process_where_there_is_no_room_for_more() {
        for (asked, slots, room, mode) in [
            (ExecutorMode::Auto, 8, None, Mode::Process),
            (ExecutorMode::Auto, 8, Some(1000), Mode::Process),
            (ExecutorMode::Auto, 8, Some(100), Mode::Shared),
            (ExecutorMode::Process, 8, Some(10), Mode::Process),
            (ExecutorMode::Shared, 1, None, Mode::Shared),
        ] {
            assert_eq!(asked.decide(slots, room), mode, "{asked:?} {slots} {room:?}");
        }
    }
}
