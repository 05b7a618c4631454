//! One executor for several slots: each lane is as an executor of its own, and what ends in one is not noticed in another.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use executor_protocol::{Limit, Outcome, Parcel, Reply, Request, read, write};
use tempfile::TempDir;

use crate::driver::{Node, guest, text};

type Lanes = Arc<Mutex<HashMap<u32, Sender<Vec<u8>>>>>;

/// A shared executor.
pub(crate) struct Shared {
    folder: Arc<TempDir>,
    child: Child,
    stdin: Arc<Mutex<ChildStdin>>,
    lanes: Lanes,
    last: AtomicU32,
}

impl Shared {
    pub(crate) fn start(slots: u32) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let path = text(folder.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_pd-executor"))
            .args(["shared", "--slots", &slots.to_string(), "--components", &path, "--modules", &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the executor starts");
        let stdin = Arc::new(Mutex::new(child.stdin.take().expect("piped")));
        let mut stdout = child.stdout.take().expect("piped");
        let lanes = Lanes::default();
        let heard = Arc::clone(&lanes);
        thread::spawn(move || {
            while let Ok(Some(parcel)) = read(&mut stdout) {
                let mut lanes = heard.lock().expect("not poisoned");
                match parcel {
                    Parcel::Bytes { lane, bytes } => drop(lanes.get(&lane).map(|lane| lane.send(bytes))),
                    Parcel::Close { lane } => drop(lanes.remove(&lane)),
                    Parcel::Open { .. } => panic!("only a kubelet opens lanes"),
                }
            }
            heard.lock().expect("not poisoned").clear();
        });
        Self { folder, child, stdin, lanes, last: AtomicU32::new(0) }
    }

    pub(crate) fn lane(&self) -> Node {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, heard) = channel();
        self.lanes.lock().expect("not poisoned").insert(number, sender);
        let mouth = Mouth { number, stdin: Arc::clone(&self.stdin) };
        mouth.send(&Parcel::Open { lane: number }).expect("the executor listens");
        Node::over(Ear { heard, bytes: Vec::new() }, mouth, Arc::clone(&self.folder), number.to_string())
    }

    fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it lives").count()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Closes its lane when it is dropped.
struct Mouth {
    number: u32,
    stdin: Arc<Mutex<ChildStdin>>,
}

impl Mouth {
    fn send(&self, parcel: &Parcel) -> io::Result<()> {
        write(&mut *self.stdin.lock().expect("not poisoned"), parcel).map_err(io::Error::other)
    }
}

impl Write for Mouth {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(&Parcel::Bytes { lane: self.number, bytes: bytes.to_vec() })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Mouth {
    fn drop(&mut self) {
        // Its process may have gone before.
        let _ = self.send(&Parcel::Close { lane: self.number });
    }
}

struct Ear {
    heard: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Read for Ear {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.bytes.is_empty() {
            let Ok(bytes) = self.heard.recv() else { return Ok(0) };
            self.bytes = bytes;
        }
        let length = into.len().min(self.bytes.len());
        into[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        Ok(length)
    }
}

fn prepared(shared: &Shared, params: &str, call_ms_max: u64, cpu_ms_max: Option<u64>) -> Node {
    let mut node = shared.lane();
    assert_eq!(node.compile(&guest()), Reply::Prepared);
    let change = |context: &mut executor_protocol::Context| {
        (context.call_ms_max, context.cpu_ms_max) = (call_ms_max, cpu_ms_max);
    };
    assert_eq!(node.prepare(params, change), Reply::Prepared);
    node
}

#[test]
fn a_time_limit_ends_the_call_and_the_lane_goes_on() {
    let shared = Shared::start(2);
    let mut busy = prepared(&shared, "l", 60_000, None);
    busy.send(&Request::Run { first: 2, last: 2, careful: false });
    for (call_ms, cpu_ms, limit) in [(300, None, Limit::WallTime), (60_000, Some(100), Limit::CpuTime)] {
        let mut node = prepared(&shared, "l", call_ms, cpu_ms);
        // Index 2 runs for ever; the one beside it does so all the time, which takes nothing from this one's limit.
        let ended = node.run(0, 4);
        let late = &ended[2].call;
        assert!(matches!(&late.outcome, Outcome::TimedOut(text) if text.contains("its limit of")), "{late:?}");
        assert_eq!((ended.len(), &late.limits[..], &late.log[..]), (5, &[limit][..], "info: hello\n"));
        assert!(ended.iter().filter(|ended| ended.index != 2).all(|e| matches!(e.call.outcome, Outcome::Success(_))));
        assert_eq!(node.run(5, 9).len(), 5, "and on");
    }
}

#[test]
fn a_lane_that_is_closed_stops_what_it_runs_and_nothing_else() {
    let shared = Shared::start(3);
    let before = shared.threads();
    let mut good = prepared(&shared, "e", 60_000, None);
    let beside = shared.threads();
    assert!(beside > before);
    let mut endless = prepared(&shared, "l", 3_600_000, None);
    endless.send(&Request::Run { first: 2, last: 2, careful: false });
    let mut waiting = prepared(&shared, "i", 3_600_000, None);
    waiting.send(&Request::Run { first: 0, last: 0, careful: false });
    assert!(shared.threads() >= beside + 6, "each has threads of its own");
    drop((endless, waiting));
    let until = Instant::now() + Duration::from_mins(1);
    while shared.threads() > beside {
        assert!(Instant::now() < until, "{} threads are left of {beside}", shared.threads());
        assert_eq!(good.run(0, 9).len(), 10);
    }
    assert_eq!(good.run(0, 999).len(), 1000);
}

#[test]
fn nonsense_closes_a_lane_and_no_other() {
    let shared = Shared::start(2);
    let mut good = prepared(&shared, "e", 60_000, None);
    let mut mad = shared.lane();
    mad.send_raw(&[0xff; 64]);
    assert!(mad.try_next().is_none(), "it is closed");
    assert_eq!(good.run(0, 9).len(), 10);
}

#[test]
fn an_endless_compilation_ends_the_process_after_saying_so() {
    let shared = Shared::start(1);
    let mut node = shared.lane();
    let many = "(func (param i64) (result i64) (i64.mul (local.get 0) (local.get 0)))".repeat(60_000);
    let bytes = wat::parse_str(format!("(component (core module {many}))")).expect("parses");
    let Reply::Refused { limit, .. } = node.compile_within(&bytes, 30, 2 << 30) else { panic!("is not refused") };
    assert_eq!(limit, Limit::CompileTime);
    assert!(node.try_next().is_none(), "and all lanes end with it");
}
