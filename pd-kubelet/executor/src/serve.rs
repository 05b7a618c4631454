//! The loop: one request after the other, until the kubelet closes the pipe.
//!
//! In: the process's standard streams. Out: the code to exit with. Decides nothing about a guest: it sends each
//! request to its room and each answer to the outbox.

use std::{
    fs::File,
    io::{self, BufReader},
    os::fd::AsFd,
    process::{self, ExitCode},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use executor_protocol::{FrameError, Limit, ReadAnswer, Reply, Request, read};

use crate::blobs::{Blobs, Link};
use crate::call::{Caller, Live};
use crate::compile::{Allowance, CompileError, compile, watch};
use crate::coredump::CoreDumps;
use crate::engine::{Engines, GUEST_STACK_BYTES, Variant};
use crate::host::Outside;
use crate::pipe::{Numbered, Outbox, listen};
use crate::prepare::{PrepareError, Prepared, prepare};
use crate::sandbox::{complain, confine_to};
use crate::usage::{Clock, Usage};
use crate::watchdog::{Calls, EndBy};

/// Read from the pipe at once.
const READ_BYTES: usize = 64 << 10;
/// Exit code after a call ran out of time.
const TIMED_OUT: u8 = 3;
/// Exit code when the pipe broke or carried nonsense.
const BROKEN_PIPE: u8 = 2;
/// Stack of the thread that calls guests: theirs, and as much again for the host's functions and traps.
pub(crate) const STACK_BYTES: usize = GUEST_STACK_BYTES + (8 << 20);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot set up the engine")]
    Engine(#[source] wasmtime::Error),
    #[error("cannot use the standard streams or start a thread")]
    System(#[from] io::Error),
    #[error("cannot reply to the kubelet")]
    Reply(#[from] FrameError),
    #[error("the executor has a bug: the thread that calls guests panicked")]
    Panicked,
}

/// Serves a kubelet on standard input and output. What takes time is done before the first request, what that
/// request allows is settled before there is a second thread.
pub(crate) fn serve() -> Result<ExitCode, ServeError> {
    let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    widen(&to);
    widen(&io::stdin());
    let engines = Arc::new(Engines::new(Variant::default()).map_err(ServeError::Engine)?);
    let mut from = BufReader::with_capacity(READ_BYTES, io::stdin());
    let first = match read(&mut from) {
        Ok(Some(first)) => first,
        Ok(None) => return Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("pd-executor: {error}");
            return Ok(ExitCode::from(BROKEN_PIPE));
        }
    };
    let usage = Arc::new(Usage::open());
    complain(&confine_to(&first));
    let (requests, queue) = mpsc::channel();
    let (answers, data) = mpsc::channel();
    let outside = outside(Outbox::new(Box::new(to)), data, EndBy::Exit, None);
    let Outside { outbox, calls, cancels, .. } = &*outside;
    let (flusher, reporter) = (Arc::clone(outbox), Arc::clone(outbox));
    let (calls, cancels) = (Arc::clone(calls), Arc::clone(cancels));
    start("pipe", move || exit(listen(first, &mut from, &requests, &answers, &cancels), 0))?;
    start("flush", move || exit(Err(flusher.flush_old()), 0))?;
    start("watchdog", move || exit(calls.watch(&reporter), TIMED_OUT))?;
    let caller = thread::Builder::new().name("calls".to_owned()).stack_size(STACK_BYTES);
    let desk = caller.spawn(move || Desk { engines, outside, prepared: None, kept: None, usage }.work(&queue))?;
    desk.join().map_err(|_| ServeError::Panicked)??;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn outside(
    outbox: Arc<Outbox>,
    answers: Receiver<Option<ReadAnswer>>,
    end_by: EndBy,
    core_dumps: Option<Arc<CoreDumps>>,
) -> Arc<Outside> {
    let blobs = Mutex::new(Blobs::new(Link { outbox: Arc::clone(&outbox), answers: Some(answers) }));
    Arc::new(Outside { outbox, calls: Calls::new(end_by), cancels: Arc::default(), blobs, core_dumps })
}

pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Ends the process: the guest may be in a loop that nothing else can end.
fn exit(ended: Result<(), FrameError>, code: u8) {
    match ended {
        Ok(()) => process::exit(code.into()),
        Err(error) => {
            eprintln!("pd-executor: {error}");
            process::exit(BROKEN_PIPE.into())
        }
    }
}

/// A pipe of the size of a batch, so that a batch leaves in one go. A smaller one is only slower.
pub(crate) fn widen(pipe: &impl AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Where requests are carried out.
pub(crate) struct Desk {
    pub(crate) engines: Arc<Engines>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) prepared: Option<Prepared>,
    /// In a batch: the instance that the last index left.
    pub(crate) kept: Option<Live>,
    pub(crate) usage: Arc<Usage>,
}

impl Desk {
    pub(crate) fn work(mut self, queue: &Receiver<Numbered>) -> Result<(), FrameError> {
        while let Ok((number, request)) = queue.recv() {
            match request {
                Request::Compile { component, compiled, cpu_ms_max, memory_bytes_max, canonical_nans } => {
                    let finished = self.watch_compilation(self.allowance(cpu_ms_max, memory_bytes_max));
                    let done = self.engines.of(canonical_nans).map_err(CompileError::Engine);
                    let done = done.and_then(|engine| compile(&engine, &component, &compiled));
                    finished.store(true, Ordering::Release);
                    let limit = done.as_ref().err().and_then(CompileError::limit);
                    self.answer_ready(done, limit)?;
                }
                Request::Prepare(context) => {
                    (self.kept, self.prepared) = (None, None);
                    self.outside.blobs().forget();
                    let prepared = self.engines.of(context.canonical_nans).map_err(PrepareError::Engine);
                    let prepared = prepared.and_then(|engine| prepare(&engine, context));
                    let done = prepared.map(|prepared| self.prepared = Some(prepared));
                    self.answer_ready(done, None)?;
                }
                call => self.call(number, call)?,
            }
        }
        Ok(())
    }

    /// Where slots share the process, what the others take does not count.
    fn allowance(&self, cpu_ms_max: u64, memory_bytes_max: u64) -> Allowance {
        let cpu = Duration::from_millis(cpu_ms_max);
        if !self.outside.calls.are_checked() {
            return Allowance { clock: Clock::PROCESS, cpu, memory_bytes: memory_bytes_max };
        }
        let before = self.usage.resident_bytes().unwrap_or(0);
        Allowance { clock: Clock::of_this_thread(), cpu, memory_bytes: memory_bytes_max.saturating_add(before) }
    }

    /// Answers the flag that ends the watch.
    fn watch_compilation(&self, allowance: Allowance) -> Arc<AtomicBool> {
        let finished = Arc::new(AtomicBool::new(false));
        let (usage, outbox, flag) = (Arc::clone(&self.usage), Arc::clone(&self.outside.outbox), Arc::clone(&finished));
        let watch = move || {
            if let Some(refused) = watch(allowance, &usage, &outbox, &flag) {
                exit(refused, TIMED_OUT);
            }
        };
        if let Err(error) = start("watch", watch) {
            eprintln!("pd-executor: nobody watches this compilation: {error}");
        }
        finished
    }

    fn answer_ready(&self, done: Result<(), impl Into<anyhow::Error>>, limit: Option<Limit>) -> Result<(), FrameError> {
        let reply = match (done, limit) {
            (Ok(()), _) => Reply::Prepared,
            (Err(error), Some(limit)) => Reply::Refused { limit, why: format!("{:#}", error.into()) },
            (Err(error), None) => Reply::Broken(format!("{:#}", error.into())),
        };
        self.outside.outbox.send(&[reply])
    }

    fn call(&mut self, number: u64, request: Request) -> Result<(), FrameError> {
        let Self { outside, prepared, kept, .. } = self;
        let outbox = &outside.outbox;
        let Some(prepared) = prepared else {
            return outbox.send(&[Reply::Broken("nothing is prepared: a call came before `Prepare`".to_owned())]);
        };
        let mut caller = Caller { prepared, outside, request: number, kept };
        let is_check = matches!(request, Request::Check { .. });
        match request {
            Request::Plan => outbox.send(&[Reply::Planned(caller.plan()), Reply::Done]),
            Request::Merge { subtasks } => {
                // Parts are numbered, not named by digest: those of an earlier merge are not this one's.
                outside.blobs().forget();
                outbox.send(&[Reply::Merged(caller.merge(subtasks)), Reply::Done])
            }
            Request::Run { first, last, careful } | Request::Check { first, last, careful } => {
                for index in first..=last {
                    if outside.cancels.include(number) {
                        break;
                    }
                    outbox.ended(if is_check { caller.check(index) } else { caller.run(index) }, careful)?;
                }
                outbox.send(&[Reply::Done])
            }
            Request::Compile { .. } | Request::Prepare(_) | Request::Data(_) | Request::Cancel => Ok(()),
        }
    }
}
