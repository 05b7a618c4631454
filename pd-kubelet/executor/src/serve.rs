//! The loop: one request after the other, until the kubelet closes the pipe.
//!
//! In: the process's standard streams. Out: the code to exit with. Decides nothing about a guest: it sends each
//! request to its room and each answer to the outbox.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    process::{self, ExitCode},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use executor_protocol::{FrameError, Reply, Request};
use wasmtime::Engine;

use crate::blobs::{Blobs, Link};
use crate::call::Caller;
use crate::compile::compile;
use crate::engine::{GUEST_STACK_BYTES, engine};
use crate::host::Outside;
use crate::pipe::{Cancels, Numbered, Outbox, listen};
use crate::prepare::{Prepared, prepare};
use crate::watchdog::Calls;

/// Exit code after a call ran out of time.
const TIMED_OUT: i32 = 3;
/// Exit code when the pipe broke or carried nonsense.
const BROKEN_PIPE: i32 = 2;
/// Stack of the thread that calls guests: theirs, and as much again for the host's functions and traps.
const STACK_BYTES: usize = GUEST_STACK_BYTES + (8 << 20);

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

/// Serves a kubelet on standard input and output.
pub(crate) fn serve() -> Result<ExitCode, ServeError> {
    let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    widen(&to);
    let outbox = Outbox::new(Box::new(to));
    let (requests, queue) = mpsc::channel();
    let (answers, data) = mpsc::channel();
    let cancels = Arc::new(Cancels::default());
    let calls = Calls::new();
    let outside = Arc::new(Outside {
        outbox: Arc::clone(&outbox),
        calls: Arc::clone(&calls),
        cancels: Arc::clone(&cancels),
        blobs: Mutex::new(Blobs::new(Link { outbox: Arc::clone(&outbox), answers: data })),
    });
    let engine = engine().map_err(ServeError::Engine)?;
    start("pipe", move || exit(listen(io::stdin(), &requests, &answers, &cancels), 0))?;
    let flusher = Arc::clone(&outbox);
    start("flush", move || exit(Err(flusher.flush_old()), 0))?;
    start("watchdog", move || exit(calls.watch(&outbox), TIMED_OUT))?;
    let caller = thread::Builder::new().name("calls".to_owned()).stack_size(STACK_BYTES);
    let loop_ = caller.spawn(move || Desk { engine, outside, prepared: None }.work(&queue))?;
    loop_.join().map_err(|_| ServeError::Panicked)??;
    Ok(ExitCode::SUCCESS)
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Ends the process: the guest may be in a loop that nothing else can end.
fn exit(ended: Result<(), FrameError>, code: i32) {
    match ended {
        Ok(()) => process::exit(code),
        Err(error) => {
            eprintln!("pd-executor: {error}");
            process::exit(BROKEN_PIPE)
        }
    }
}

/// A pipe of the size of a batch, so that a batch leaves in one go. A smaller one is only slower.
fn widen(pipe: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Where requests are carried out.
struct Desk {
    engine: Engine,
    outside: Arc<Outside>,
    prepared: Option<Prepared>,
}

impl Desk {
    fn work(mut self, queue: &mpsc::Receiver<Numbered>) -> Result<(), FrameError> {
        while let Ok((number, request)) = queue.recv() {
            match request {
                Request::Compile { component, compiled } => {
                    let done = compile(&self.engine, &component, &compiled);
                    self.answer_ready(done)?;
                }
                Request::Prepare(context) => {
                    self.prepared = None;
                    self.outside.blobs().forget();
                    let prepared = prepare(&self.engine, context).map(|prepared| self.prepared = Some(prepared));
                    self.answer_ready(prepared)?;
                }
                call => self.call(number, call)?,
            }
        }
        Ok(())
    }

    fn answer_ready(&self, done: Result<(), impl Into<anyhow::Error>>) -> Result<(), FrameError> {
        let reply = match done {
            Ok(()) => Reply::Prepared,
            Err(error) => Reply::Broken(format!("{:#}", error.into())),
        };
        self.outside.outbox.send(&[reply])
    }

    fn call(&self, number: u64, request: Request) -> Result<(), FrameError> {
        let outbox = &self.outside.outbox;
        let Some(prepared) = &self.prepared else {
            return outbox.send(&[Reply::Broken("nothing is prepared: a call came before `Prepare`".to_owned())]);
        };
        let caller = Caller { prepared, outside: &self.outside, request: number };
        match request {
            Request::Plan => outbox.send(&[Reply::Planned(caller.plan()), Reply::Done]),
            Request::Merge { subtasks } => outbox.send(&[Reply::Merged(caller.merge(subtasks)), Reply::Done]),
            Request::Run { first, last, careful } => {
                for index in first..=last {
                    if self.outside.cancels.include(number) {
                        break;
                    }
                    outbox.ended(caller.run(index), careful)?;
                }
                outbox.send(&[Reply::Done])
            }
            Request::Compile { .. } | Request::Prepare(_) | Request::Data(_) | Request::Cancel => Ok(()),
        }
    }
}
