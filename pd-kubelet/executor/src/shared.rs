//! Several slots in one process, for machines where a kubelet cannot have a process for each.
//!
//! In: `Parcel`s on standard input, each for a lane. Out: `Parcel`s. A lane is served as a whole process otherwise is, on
//! threads of its own; what ends a process there ends a call here, by a check in the guest's loops, which slows tight
//! ones down. The walls around the process stand as ever, but the slots have them in common: what escapes from one
//! reaches the others.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd as _,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use clap::Args;
use executor_protocol::{FrameError, PARCEL_BYTES_MAX, Parcel, encode, read};

use crate::engine::{Engines, Variant};
use crate::host::Outside;
use crate::pipe::{Outbox, listen};
use crate::sandbox::{Way, complain, confine, enter_for};
use crate::serve::{Desk, STACK_BYTES, ServeError, outside, start, widen};
use crate::usage::Usage;
use crate::watchdog::{Calls, EndBy};

/// How often guests look whether they are to end: a limit is passed by this and a little.
const TICK: Duration = Duration::from_millis(5);

/// Flags of `shared`.
#[derive(Debug, Args)]
pub struct Shared {
    /// How many slots there are at most
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: u32,
    /// Folder of components, which is read
    #[arg(long, value_name = "DIR")]
    pub components: PathBuf,
    /// Folder of compiled modules, which is written, too
    #[arg(long, value_name = "DIR")]
    pub modules: PathBuf,
}

/// Serves a kubelet's lanes until it closes the pipe.
pub(crate) fn serve(options: &Shared) -> Result<ExitCode, ServeError> {
    complain(&enter_for(options.slots));
    let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    widen(&to);
    widen(&io::stdin());
    let usage = Arc::new(Usage::open());
    complain(&[confine(&[Way::Read(&options.components), Way::Write(&options.modules)])]);
    let chosen = Variant { shared_by: Some(options.slots), ..Variant::default() };
    let engines = Arc::new(Engines::new(chosen).map_err(ServeError::Engine)?);
    let ticking = Arc::downgrade(&engines);
    start("ticks", move || {
        while let Some(engines) = ticking.upgrade() {
            engines.increment_epoch();
            thread::sleep(TICK);
        }
    })?;
    let (to, mut from) = (Arc::new(Mutex::new(to)), io::stdin().lock());
    let mut lanes = BTreeMap::new();
    while let Some(parcel) = read(&mut from)? {
        match parcel {
            Parcel::Open { lane } => {
                lanes.insert(lane, Lane::open(lane, &engines, &usage, &to)?);
            }
            // What comes for a lane that has ended by itself crossed with the word of it.
            Parcel::Bytes { lane, bytes } => drop(lanes.get(&lane).map(|lane| lane.pipe.send(bytes))),
            Parcel::Close { lane } => drop(lanes.remove(&lane)),
        }
    }
    // The process ends with all its lanes.
    lanes.clear();
    Ok(ExitCode::SUCCESS)
}

/// A slot's end of the common pipe. Dropped, it ends all that goes on behind it.
struct Lane {
    pipe: Sender<Vec<u8>>,
    outside: Arc<Outside>,
}

impl Lane {
    fn open(lane: u32, engines: &Arc<Engines>, usage: &Arc<Usage>, to: &Arc<Mutex<File>>) -> io::Result<Self> {
        let mouth = Mouth { lane, to: Arc::clone(to) };
        let (pipe, heard) = mpsc::channel();
        let (requests, queue) = mpsc::channel();
        let (answers, data) = mpsc::channel();
        let outside = outside(Outbox::new(Box::new(mouth.clone())), data, EndBy::Check, None);
        let (calls, outbox) = (Arc::clone(&outside.calls), Arc::clone(&outside.outbox));
        let cancels = Arc::clone(&outside.cancels);
        start("pipe", move || {
            let mut ear = Ear { heard, bytes: Vec::new(), at: 0 };
            if let Ok(Some(first)) = read(&mut ear) {
                // It ends when the lane is closed, or by nonsense: then the desk closes.
                let _ = listen(first, &mut ear, &requests, &answers, &cancels);
            }
        })?;
        let flusher = Arc::clone(&outbox);
        start("flush", move || drop(flusher.flush_old()))?;
        let (watched, reporter) = (Arc::clone(&calls), outbox);
        start("watchdog", move || drop(watched.watch(&reporter)))?;
        let desk = Desk {
            engines: Arc::clone(engines),
            outside: Arc::clone(&outside),
            prepared: None,
            kept: None,
            usage: Arc::clone(usage),
        };
        let caller = thread::Builder::new().name("calls".to_owned()).stack_size(STACK_BYTES);
        caller.spawn(move || {
            let _leave = Leave { mouth, calls, outbox: Arc::clone(&desk.outside.outbox) };
            let _ = desk.work(&queue);
        })?;
        Ok(Self { pipe, outside })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.outside.calls.close();
        self.outside.outbox.close();
    }
}

/// Tells the kubelet that a lane's desk has closed, in whatever way.
struct Leave {
    mouth: Mouth,
    calls: Arc<Calls>,
    outbox: Arc<Outbox>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.calls.close();
        self.outbox.close();
        // Where the common pipe is broken the process is about to end.
        let _ = self.mouth.send(&Parcel::Close { lane: self.mouth.lane });
    }
}

/// Where a lane speaks into the common pipe.
#[derive(Clone)]
struct Mouth {
    lane: u32,
    to: Arc<Mutex<File>>,
}

impl Mouth {
    fn send(&self, parcel: &Parcel) -> Result<(), FrameError> {
        let frame = encode(parcel)?;
        Ok(self.to.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)?)
    }
}

impl Write for Mouth {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PARCEL_BYTES_MAX)];
        self.send(&Parcel::Bytes { lane: self.lane, bytes: piece.to_vec() }).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a lane hears, as one stream; it ends when the lane is closed.
struct Ear {
    heard: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Ear {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.bytes.len() {
            match self.heard.recv() {
                Ok(bytes) => (self.bytes, self.at) = (bytes, 0),
                Err(_) => return Ok(0),
            }
        }
        let length = into.len().min(self.bytes.len() - self.at);
        into[..length].copy_from_slice(&self.bytes[self.at..][..length]);
        self.at += length;
        Ok(length)
    }
}
