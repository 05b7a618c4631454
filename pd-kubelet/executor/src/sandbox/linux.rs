//! The walls that Linux offers to a process without privileges.
//!
//! In: nothing, then the first request. Out: limits, a filter of system calls (seccomp), and the few paths that are
//! left (Landlock). Everything is kept by threads started later.

use std::{collections::BTreeMap, env::consts::ARCH, fmt::Display, fs, io, path::Path};

use super::{Layer, Way};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};
use rustix::thread::set_no_new_privs;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Open files of a slot: three pipes, a compiled module with a memory image for each of its core modules (38 in a Python
/// task), and what the C library wants.
const FILES_MAX: u64 = 256;
/// Below the kubelet, the API server and whoever sits at this machine.
const NICE: i32 = 5;
/// Newest Landlock rules we know of; an older kernel enforces those that it has.
const RULES: ABI = ABI::V6;
/// System calls that no executor makes: the network, other programs, other processes, and what has often been a way
/// into the kernel. They are refused as not permitted.
const REFUSED: [libc::c_long; 47] = [
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_swapon,
    libc::SYS_reboot,
];

/// Everything that needs to know nothing of what this executor is for.
pub(super) fn enter(slots: u32) -> Vec<Layer> {
    vec![
        layer("closed descriptors", close_inherited()),
        layer("death with the parent", set_parent_process_death_signal(Some(Signal::KILL))),
        layer("no new privileges", set_no_new_privs(true)),
        layer("no core dumps", limit(Resource::Core, 0)),
        layer("limit on open files", limit(Resource::Nofile, files_max(slots))),
        layer("first to go without memory", fs::write("/proc/self/oom_score_adj", "1000")),
        layer("low priority", nice(NICE).map(drop)),
        layer("seccomp", refuse_calls()),
    ]
}

/// The file system: nothing but these ways is left of it.
pub(super) fn confine(ways: &[Way<'_>]) -> Layer {
    let to_write =
        AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let allowed: Vec<(&Path, BitFlags<AccessFs>)> = ways
        .iter()
        .map(|way| match way {
            Way::Read(path) => (*path, AccessFs::ReadFile.into()),
            Way::Write(folder) => (*folder, to_write),
        })
        .collect();
    let enforced = match allow_only(&allowed) {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => Err("this kernel has no Landlock".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    layer("Landlock", enforced)
}

/// Bytes of private memory that this process may have from here on; allocations beyond it fail.
pub(super) fn limit_memory(bytes: u64) -> Layer {
    layer("limit on memory", limit(Resource::Data, bytes))
}

/// What the slots need, or as much of it as this process may have.
fn files_max(slots: u32) -> u64 {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    most.min(FILES_MAX * u64::from(slots))
}

fn layer<E: Display>(name: &'static str, done: Result<(), E>) -> Layer {
    Layer { name, missing: done.err().map(|error| error.to_string()) }
}

fn limit(resource: Resource, to: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })
}

fn refuse_calls() -> Result<(), seccompiler::Error> {
    let refused: BTreeMap<_, _> = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, refuse, TargetArch::try_from(ARCH)?)?;
    apply_filter(&BpfProgram::try_from(filter)?)
}

/// From here on only these paths can be opened, no TCP port, and no socket or process outside can be reached. A
/// path that is not there needs no rule: it cannot be opened either.
fn allow_only(allowed: &[(&Path, BitFlags<AccessFs>)]) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?;
    for (path, access) in allowed {
        if let Ok(path) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(path, *access))?;
        }
    }
    rules.restrict_self()
}

/// Closes everything beyond the three standard streams. Kernels before 5.9 cannot do it at once; there the numbers
/// that are open are asked for, among them that of the list itself, which is closed by then: the system refuses that
/// and nothing else happens.
#[expect(unsafe_code, reason = "closing descriptors that nobody here owns")]
fn close_inherited() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: called first in `main`: nothing in this process has opened anything yet.
    if unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: as above; a number that is not open is refused with EBADF.
        unsafe { libc::close(number) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    /// Both walls hold for the calling thread alone, so that each test may put them up.
    #[test]
    fn a_refused_call_is_refused_for_this_thread_and_its_children() {
        set_no_new_privs(true).expect("is always allowed");
        refuse_calls().expect("this kernel filters calls");
        let refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        assert!(TcpListener::bind("127.0.0.1:0").is_err_and(refused));
        assert!(Command::new("true").spawn().is_err());
        let child = std::thread::spawn(|| TcpStream::connect("127.0.0.1:1").err());
        assert!(child.join().expect("ends").is_some_and(refused));
    }

    /// A kernel without Landlock is one that we run on, but no place for this test.
    fn has_landlock() -> bool {
        let enforced =
            std::thread::spawn(|| allow_only(&[]).is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced));
        let enforced = enforced.join().expect("ends");
        if !enforced {
            eprintln!("skipped: this kernel has no Landlock");
        }
        enforced
    }

    #[test]
    fn only_what_the_first_request_names_can_be_opened() {
        if !has_landlock() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("modules")).expect("makes");
        fs::create_dir(path("keys")).expect("makes");
        fs::write(path("modules/a"), "a").expect("writes");
        fs::write(path("keys/b"), "b").expect("writes");
        let root = folder.path().to_owned();
        let inside = move |compiles: bool| {
            let folder = root.clone();
            let check = move || {
                set_no_new_privs(true).expect("is always allowed");
                let modules = folder.join("modules");
                let way = if compiles { Way::Write(&modules) } else { Way::Read(&modules) };
                assert_eq!(confine(&[way]).missing, None);
                let wrote = fs::write(folder.join("modules/c"), "c").is_ok();
                (fs::read(folder.join("modules/a")).is_ok(), wrote, fs::read(folder.join("keys/b")).is_ok())
            };
            std::thread::spawn(check).join().expect("ends")
        };
        assert_eq!(inside(false), (true, false, false), "one that calls reads modules");
        assert_eq!(inside(true), (true, true, false), "one that compiles writes them");
    }
}
