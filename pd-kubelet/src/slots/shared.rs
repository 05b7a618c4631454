//! One executor process for all slots, for machines where there cannot be one for each.
//!
//! In: the executor program and how it is called. Out: a `Spawner` whose executors are lanes of that process. A lane that is
//! dropped is closed there and what it runs ends within a tick; when the process ends all lanes do, and the next one that
//! is asked for starts it anew.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use executor_protocol::{FRAME_BYTES_MAX, Parcel, decode, encode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
};

use super::executor::{Executor, Spawner};
use super::process::Process;
use crate::metrics::Metrics;

/// Bytes of a lane under way in one direction.
const LANE_BYTES: usize = 256 << 10;
/// Parcels to the process that wait: each at most of `LANE_BYTES`, and each lane waits for its own.
const PARCELS_MAX: usize = 16;

/// How the shared executor is started.
#[derive(Clone, Debug)]
pub(crate) struct SharedOptions {
    pub program: PathBuf,
    /// Its working folder.
    pub folder: PathBuf,
    pub slots: u32,
    pub components: PathBuf,
    pub modules: PathBuf,
}

/// The process with its lanes, as long as it lives.
struct Hub {
    /// Killed when this is dropped.
    _child: Child,
    parcels: mpsc::Sender<Parcel>,
    lanes: Lanes,
}

/// Of each open lane.
type LaneSenders = HashMap<u32, mpsc::UnboundedSender<Vec<u8>>>;

/// Where what a lane says goes; empty and closed once the process has ended.
#[derive(Clone, Default)]
struct Lanes(Arc<Mutex<Option<LaneSenders>>>);

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, Option<LaneSenders>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the process has ended.
    fn add(&self, lane: u32, to: mpsc::UnboundedSender<Vec<u8>>) -> bool {
        self.lock().as_mut().map(|lanes| lanes.insert(lane, to)).is_some()
    }

    fn remove(&self, lane: u32) {
        self.lock().as_mut().and_then(|lanes| lanes.remove(&lane));
    }

    fn send(&self, lane: u32, bytes: Vec<u8>) {
        // A lane that is not there was dropped by its slot.
        let _ = self.lock().as_ref().and_then(|lanes| lanes.get(&lane)).map(|to| to.send(bytes));
    }

    fn is_alive(&self) -> bool {
        self.lock().is_some()
    }
}

/// Executors that are lanes of one process, which is started with the first of them.
pub(crate) fn shared_spawner(options: SharedOptions, metrics: Arc<Metrics>) -> Spawner {
    let state: Mutex<(Option<Hub>, u32)> = Mutex::default();
    Arc::new(move || {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (process, last_lane) = &mut *state;
        let living = match process.take().filter(|process| process.lanes.is_alive()) {
            Some(living) => living,
            None => Hub::start(&options, &metrics)?,
        };
        *last_lane += 1;
        let stream = living.open(*last_lane);
        *process = Some(living);
        let (reader, writer) = tokio::io::split(stream);
        Ok(Executor::lane(reader, writer, Arc::clone(&metrics)))
    })
}

impl Hub {
    fn start(options: &SharedOptions, metrics: &Metrics) -> std::io::Result<Self> {
        let mut command = Command::new(&options.program);
        command.arg("shared").args(["--slots", &options.slots.to_string()]);
        command.arg("--components").arg(&options.components).arg("--modules").arg(&options.modules);
        let Process { child, stdin, stdout } = Process::start(&mut command, &options.folder, metrics)?;
        let (parcels, outgoing) = mpsc::channel(PARCELS_MAX);
        let lanes = Lanes(Arc::new(Mutex::new(Some(HashMap::new()))));
        tokio::spawn(write_all(outgoing, stdin));
        tokio::spawn(read_all(stdout, lanes.clone()));
        Ok(Self { _child: child, parcels, lanes })
    }

    /// The slot's end of a new lane.
    fn open(&self, lane: u32) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(LANE_BYTES);
        let (to_slot, from_process) = mpsc::unbounded_channel();
        if self.lanes.add(lane, to_slot) {
            let (from_slot, into_slot) = tokio::io::split(theirs);
            tokio::spawn(say(lane, from_slot, self.parcels.clone(), self.lanes.clone()));
            tokio::spawn(hear(from_process, into_slot));
        }
        // Otherwise the process has just ended, and the slot finds its pipe closed.
        ours
    }
}

/// From a slot to its lane, until the slot drops its end.
async fn say(lane: u32, mut from: ReadHalf<DuplexStream>, parcels: mpsc::Sender<Parcel>, lanes: Lanes) {
    let mut is_open = parcels.send(Parcel::Open { lane }).await.is_ok();
    while is_open {
        let mut bytes = Vec::with_capacity(LANE_BYTES);
        is_open = match from.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => false,
            Ok(_) => parcels.send(Parcel::Bytes { lane, bytes }).await.is_ok(),
        };
    }
    lanes.remove(lane);
    // Without the process there is nothing to close.
    let _ = parcels.send(Parcel::Close { lane }).await;
}

/// From a lane to its slot. Ends with the lane, and closes the slot's pipe.
async fn hear(mut from: mpsc::UnboundedReceiver<Vec<u8>>, mut to: WriteHalf<DuplexStream>) {
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn write_all(mut parcels: mpsc::Receiver<Parcel>, mut to: ChildStdin) {
    while let Some(parcel) = parcels.recv().await {
        let Ok(frame) = encode(&parcel) else { return };
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Sorts what the process says, until it ends; then every lane has ended.
async fn read_all(mut from: ChildStdout, lanes: Lanes) {
    while let Some(parcel) = next(&mut from).await {
        match parcel {
            Parcel::Bytes { lane, bytes } => lanes.send(lane, bytes),
            Parcel::Close { lane } => lanes.remove(lane),
            Parcel::Open { .. } => break,
        }
    }
    *lanes.lock() = None;
}

async fn next(from: &mut ChildStdout) -> Option<Parcel> {
    let length = from.read_u32_le().await.ok()? as usize;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.ok()?;
    decode(&body).ok()
}
