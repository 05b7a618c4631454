//! A task without a cluster: the other end of the outbox, within this process.
//!
//! In: a task, its context, and what it reads. Out: the replies that a kubelet would get. Everything between is the
//! executor's own, so what is seen here is what a node does.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use executor_protocol::{Blob, Call, Context, Ended, Layout, Outcome, ReadAnswer, Reply, Request, decode};
use wasmtime::Engine;

use crate::coredump::CoreDumps;
use crate::engine::Engines;
use crate::host::{Host, Outside, bindings::TaskPre};
use crate::pipe::{Numbered, Outbox};
use crate::prepare::Prepared;
use crate::serve::{Desk, STACK_BYTES, outside, start};
use crate::usage::Usage;
use crate::watchdog::EndBy;

/// How often it is looked whether the thread that calls the guest still stands.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the bytes of a blob are.
pub(crate) enum Source {
    Bytes(Vec<u8>),
    File(File),
}

/// What a task may read.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) blobs: BTreeMap<Blob, Source>,
    /// A folder of parts, each a file named by its index.
    pub(crate) parts: Option<PathBuf>,
}

impl Sources {
    fn answer(&self, blob: &Blob, offset: u64, length: u32) -> io::Result<Option<ReadAnswer>> {
        match (self.blobs.get(blob), blob, &self.parts) {
            (Some(source), ..) => source.read(offset, length).map(Some),
            (None, Blob::Part(index), Some(folder)) => match File::open(folder.join(index.to_string())) {
                Ok(file) => Source::File(file).read(offset, length).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            _ => Ok(None),
        }
    }
}

impl Source {
    fn read(&self, offset: u64, length: u32) -> io::Result<ReadAnswer> {
        let size = match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.metadata()?.len(),
        };
        let start = offset.min(size);
        let wanted = (size - start).min(length.into()) as usize;
        let bytes = match self {
            Self::Bytes(bytes) => bytes[start as usize..][..wanted].to_vec(),
            Self::File(file) => {
                let mut bytes = vec![0; wanted];
                file.read_exact_at(&mut bytes, start)?;
                bytes
            }
        };
        Ok(ReadAnswer { size, bytes })
    }
}

/// The sources, as both sides share them.
pub(crate) type Shared = Arc<Mutex<Sources>>;

/// Reads frames as they are written: answers those that ask for bytes, passes the others on.
struct Ear {
    heard: Vec<u8>,
    sources: Shared,
    answers: Sender<Option<ReadAnswer>>,
    replies: Sender<Reply>,
}

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = self.heard[at..].first_chunk::<4>() {
            let end = at + 4 + u32::from_le_bytes(*length) as usize;
            let Some(frame) = self.heard.get(at + 4..end) else { break };
            match decode(frame).map_err(io::Error::other)? {
                Reply::Read { blob, offset, length } => {
                    let answer = lock(&self.sources).answer(&blob, offset, length)?;
                    self.answers.send(answer).map_err(io::Error::other)?;
                }
                reply => self.replies.send(reply).map_err(io::Error::other)?,
            }
            at = end;
        }
        self.heard.drain(..at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn lock(sources: &Shared) -> MutexGuard<'_, Sources> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What lies outside the instances, with a local ear; and what that hears.
pub(crate) fn world(sources: &Shared, core_dumps: Option<Arc<CoreDumps>>) -> (Arc<Outside>, Receiver<Reply>) {
    let (answers, data) = mpsc::channel();
    let (replies, heard) = mpsc::channel();
    let ear = Ear { heard: Vec::new(), sources: Arc::clone(sources), answers, replies };
    (outside(Outbox::new(Box::new(ear)), data, EndBy::Exit, core_dumps), heard)
}

/// An executor's desk on a thread of its own, and its watchdog.
pub(crate) struct Session {
    requests: Sender<Numbered>,
    replies: Receiver<Reply>,
    thread: JoinHandle<()>,
    asked: u64,
}

impl Session {
    pub(crate) fn start(engine: &Engine, task: TaskPre<Host>, context: Context, sources: &Shared) -> Result<Self> {
        Self::start_with(engine, task, context, sources, None)
    }

    /// The same, where core dumps are wanted.
    pub(crate) fn start_with(
        engine: &Engine,
        task: TaskPre<Host>,
        context: Context,
        sources: &Shared,
        core_dumps: Option<Arc<CoreDumps>>,
    ) -> Result<Self> {
        let (outside, replies) = world(sources, core_dumps);
        let (calls, reporter) = (Arc::clone(&outside.calls), Arc::clone(&outside.outbox));
        // It ends after a call that ran out of time: its reply is heard like any other, that call never ends.
        start("watchdog", move || drop(calls.watch(&reporter)))?;
        let (requests, queue) = mpsc::channel();
        let prepared = Some(Prepared::new(context, task)?);
        let (engines, usage) = (Arc::new(Engines::around(engine.clone())), Arc::new(Usage::open()));
        let caller = thread::Builder::new().name("calls".to_owned()).stack_size(STACK_BYTES);
        let work = move || drop(Desk { engines, outside, prepared, kept: None, usage }.work(&queue));
        Ok(Self { requests, replies, thread: caller.spawn(work)?, asked: 0 })
    }

    pub(crate) fn plan(&mut self) -> Result<Call<Layout>> {
        match self.ask(Request::Plan)? {
            Reply::Planned(call) => Ok(call),
            other => bail!("the executor answered a plan with {other:?}"),
        }
    }

    pub(crate) fn run(&mut self, index: u64) -> Result<Ended> {
        match self.ask(Request::Run { first: index, last: index, careful: true })? {
            Reply::Ended(ended) if ended.count == 1 => Ok(ended.unpack()?.remove(0)),
            other => bail!("the executor answered a run with {other:?}"),
        }
    }

    /// Has `verify` look at what another node is said to have delivered.
    pub(crate) fn check(&mut self, index: u64, delivered: Vec<u8>, sources: &Shared) -> Result<Ended> {
        lock(sources).blobs.insert(Blob::Delivered(index), Source::Bytes(delivered));
        match self.ask(Request::Check { first: index, last: index, careful: true })? {
            Reply::Ended(ended) if ended.count == 1 => Ok(ended.unpack()?.remove(0)),
            other => bail!("the executor answered a check with {other:?}"),
        }
    }

    /// The result goes to `result` as it comes.
    pub(crate) fn merge(&mut self, subtasks: u64, result: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<Call<()>> {
        let mut last = self.ask(Request::Merge { subtasks })?;
        loop {
            match last {
                Reply::ResultBytes(bytes) => result(&bytes).context("cannot write the result")?,
                Reply::Merged(call) => return Ok(call),
                other => bail!("the executor answered a merge with {other:?}"),
            }
            last = self.next()?;
        }
    }

    fn ask(&mut self, request: Request) -> Result<Reply> {
        self.asked += 1;
        self.requests.send((self.asked, request)).context("the executor has ended")?;
        self.next()
    }

    /// The next reply that says something.
    fn next(&self) -> Result<Reply> {
        loop {
            match self.replies.recv_timeout(LOOK_EVERY) {
                Ok(Reply::Done | Reply::Progress { .. }) => {}
                Ok(reply) => return Ok(reply),
                Err(_) if self.thread.is_finished() => bail!("the executor has a bug: its thread ended"),
                Err(_) => {}
            }
        }
    }
}

/// The outcome's name and what it says.
pub(crate) fn told<T>(outcome: &Outcome<T>) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Success(_) => ("Success", None),
        Outcome::Retryable(text) => ("Retryable", Some(text)),
        Outcome::Permanent(text) => ("Permanent", Some(text)),
        Outcome::Trap(text) => ("Trap", Some(text)),
        Outcome::OutOfMemory(text) => ("OutOfMemory", Some(text)),
        Outcome::TimedOut(text) => ("TimedOut", Some(text)),
        Outcome::InvalidOutput(text) => ("InvalidOutput", Some(text)),
    }
}
