//! pd-kubelet: the agent on every machine of a cluster.
//!
//! It joins with a token, registers its Node, keeps its Lease, watches the Assignments that name it, runs
//! their subtasks in `pd-executor` processes, and reports. It is the one process of a machine that holds a
//! credential; guests run elsewhere. Rooms: `identity`, `client`, `node`, `lease`, `assignments` (what comes
//! in), `sync` (what to do; pure), `agent` (doing it), `slots` and `cache` (with what), `report` and `spool`
//! (what goes out). Nothing survives in memory only: on start it lists, compares, converges. With `hollow` one
//! process runs many of them that only pretend to work.

mod agent;
mod assignments;
mod cache;
mod cli;
mod client;
mod hollow;
mod identity;
mod lease;
mod metrics;
mod node;
mod report;
mod slots;
mod spool;
pub mod sync;
mod usage;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

pub use cli::Options;
pub use client::ClientError;
pub use identity::IdentityError;
use metrics::Metrics;
pub use slots::ExecutorMode;

/// Changes of Assignments that wait for the agent; the watch waits when there are more.
const CHANGES_MAX: usize = 256;

/// Why a kubelet did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder cannot be used.
    #[error("the data folder {path} cannot be used")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another kubelet has the data folder.
    #[error("the data folder {0} is in use by another pd-kubelet")]
    Locked(PathBuf),
    /// There is no executor to start.
    #[error("there is no pd-executor at {path}; name it with --executor")]
    NoExecutor {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The server's URL is not one.
    #[error("`{0}` is not the URL of an API server; write it like https://HOST:6443")]
    Server(String),
    /// The metrics address cannot be listened on.
    #[error("cannot serve metrics")]
    Metrics(#[source] io::Error),
    /// The node has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node could not be registered.
    #[error("the node cannot be registered")]
    Register(#[source] ClientError),
    /// A part of the kubelet ended that should not.
    #[error("a part of the kubelet ended unexpectedly; the log says which")]
    PartEnded,
}

/// Runs a kubelet until `shutdown`, or many hollow ones. What has ended by then is on disk when this returns.
pub async fn run(options: Options, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    // A merge holds every segment of its job open.
    daemon::descriptors::raise();
    let house = House::open(&options).await?;
    let page = house.page.map(|listener| {
        let serving = daemon::page::serve(listener, Arc::clone(&house.metrics));
        AbortOnDropHandle::new(tokio::spawn(serving))
    });
    let house = House { page: None, ..house };
    let mut shutdown = std::pin::pin!(shutdown);
    let result = if let Some(count) = options.hollow.nodes {
        hollow::run(&options, &house, count, shutdown).await
    } else {
        let started = tokio::select! {
            () = &mut shutdown => return Ok(()),
            started = start(&options, house.plot(&options)) => started?,
        };
        live(started, shutdown).await
    };
    drop(page);
    tracing::info!("stopped");
    result
}

/// Lets one node work until `shutdown`.
async fn live(started: Started, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let Started { agent, inbox, mut parts } = started;
    let mut shutdown = std::pin::pin!(shutdown);
    let stopped = tokio::sync::Notify::new();
    let mut failed = false;
    let wait = async {
        tokio::select! {
            () = &mut shutdown => {}
            _ = parts.join_next() => failed = true,
        }
        stopped.notify_one();
    };
    tokio::join!(agent.serve(inbox, stopped.notified()), wait);
    parts.abort_all();
    if failed { Err(Error::PartEnded) } else { Ok(()) }
}

/// Ends at the first SIGTERM or SIGINT.
pub async fn termination() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to; only SIGKILL ends this kubelet");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What a process has once, however many nodes it runs.
struct House {
    data_dir: PathBuf,
    /// The executor program; this one itself for hollow nodes, whose executors are within.
    executor: PathBuf,
    metrics: Arc<Metrics>,
    page: Option<TcpListener>,
    _lock: fs::File,
}

/// What one node starts with.
struct Plot {
    name: Option<String>,
    data_dir: PathBuf,
    token_line: usize,
    slots: u32,
    labels: Vec<(String, String)>,
    spawner: slots::Spawner,
    mode: slots::Mode,
    executor: PathBuf,
    metrics: Arc<Metrics>,
}

/// A node that is ready to work.
struct Started {
    agent: agent::Agent,
    inbox: agent::Inbox,
    /// What runs beside the agent, for ever.
    parts: JoinSet<()>,
}

impl House {
    async fn open(options: &Options) -> Result<Self, Error> {
        if options.server.scheme_str() != Some("https") || options.server.authority().is_none() {
            return Err(Error::Server(options.server.to_string()));
        }
        let in_data_dir = |source| Error::DataDir { path: options.data_dir.clone(), source };
        fs::create_dir_all(&options.data_dir).map_err(in_data_dir)?;
        let data_dir = options.data_dir.canonicalize().map_err(in_data_dir)?;
        let lock = lock(&data_dir)?;
        let executor = executor(options)?;
        let page = match options.metrics.listen {
            Some(address) => Some(daemon::page::listen(address).await.map_err(Error::Metrics)?),
            None => None,
        };
        Ok(Self { data_dir, executor, metrics: Metrics::new(), page, _lock: lock })
    }

    /// The one node of an ordinary kubelet.
    fn plot(&self, options: &Options) -> Plot {
        let processors = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let (metrics, program) = (self.metrics.another(), self.executor.clone());
        let slots = options.slots.unwrap_or_else(processors);
        let mode = options.executor_mode.decide(slots, slots::room());
        Plot {
            name: options.name.clone(),
            data_dir: self.data_dir.clone(),
            token_line: 0,
            slots,
            labels: options.labels.clone(),
            spawner: self.spawner(mode, slots, &metrics),
            mode,
            executor: program,
            metrics,
        }
    }
}

impl House {
    fn spawner(&self, mode: slots::Mode, slots: u32, metrics: &Arc<Metrics>) -> slots::Spawner {
        let (program, folder, metrics) = (self.executor.clone(), self.data_dir.clone(), Arc::clone(metrics));
        if mode == slots::Mode::Process {
            return slots::process_spawner(program, folder, metrics);
        }
        tracing::warn!(slots, "all slots share one executor process");
        let (components, modules) = (cache::folder(&folder), cache::modules_folder(&folder));
        slots::shared_spawner(slots::SharedOptions { program, folder, slots, components, modules }, metrics)
    }
}

/// Joins if need be, registers, and starts everything but the agent.
async fn start(options: &Options, plot: Plot) -> Result<Started, Error> {
    let Plot { data_dir, spawner, metrics, .. } = &plot;
    let in_data_dir = |source| Error::DataDir { path: data_dir.clone(), source };
    fs::create_dir_all(data_dir).map_err(in_data_dir)?;
    let identity_dir = identity::IdentityDir::open(data_dir)?;
    let identity = identity(options, &plot, &identity_dir).await?;
    let connection = client::Connection::new(options.server.clone(), identity.clone()).map_err(IdentityError::from)?;
    let spool = spool::Spool::open(data_dir).map_err(in_data_dir)?;
    let spooled = spool.load().map_err(in_data_dir)?;
    let cache = cache::Cache::open(data_dir, connection.clone(), Arc::clone(metrics)).map_err(in_data_dir)?;
    let modules = cache::Modules::open(data_dir, (&plot.executor, plot.mode), Arc::clone(spawner), Arc::clone(metrics));
    let modules = Arc::new(modules.map_err(in_data_dir)?);

    let mut missing_walls = slots::missing_walls(&plot.executor).await;
    if plot.mode == slots::Mode::Shared {
        missing_walls.push("a process for each slot: one serves them all (--executor-mode)".to_owned());
    }
    let (name, labels) = (identity.name.clone(), plot.labels.clone());
    let machine = node::Machine { name, slots: plot.slots, labels, mode: plot.mode, missing_walls };
    let node_uid = node::register(&connection, &machine).await.map_err(Error::Register)?;
    tracing::info!(node = machine.name, uid = node_uid, slots = plot.slots, "registered");

    let (lost, lost_inbox) = mpsc::unbounded_channel();
    let (changes, changes_inbox) = mpsc::channel(CHANGES_MAX);
    let (uids, uids_inbox) = watch::channel(node_uid.clone());
    let backlog = Arc::new(AtomicU64::new(0));
    let every = options.renew_lease_every;
    let setting = report::Setting {
        connection: connection.clone(),
        cache,
        metrics: Arc::clone(metrics),
        renew_lease_every: every,
        backlog,
        lost,
    };
    let means = agent::Means { setting, modules, spool, spawner: Arc::clone(spawner), slots: plot.slots as usize };
    let agent = agent::Agent::new(means, node_uid, spooled);

    let mut parts = JoinSet::new();
    parts.spawn(lease::keep(connection.clone(), machine.name.clone(), every, Arc::clone(metrics)));
    parts.spawn(assignments::watch(connection.clone(), machine.name.clone(), every, changes));
    parts.spawn(node::keep(connection.clone(), machine, every, uids));
    parts.spawn(identity::keep_fresh(identity_dir, identity, connection));
    let inbox = agent::Inbox { changes: changes_inbox, node_uid: uids_inbox, lost: lost_inbox };
    Ok(Started { agent, inbox, parts })
}

/// The identity of an earlier start, or a new one.
async fn identity(options: &Options, plot: &Plot, dir: &identity::IdentityDir) -> Result<identity::Identity, Error> {
    if let Some(identity) = dir.load()? {
        return match &plot.name {
            Some(asked) if *asked != identity.name => {
                Err(IdentityError::OtherName { stored: identity.name, asked: asked.clone() }.into())
            }
            _ => Ok(identity),
        };
    }
    let invitation = identity::Invitation {
        server: options.server.clone(),
        name: plot.name.clone().unwrap_or_else(node::host_name),
        ca_hash: options.ca_hash.clone(),
        token_file: options.token_file.clone(),
        token_line: plot.token_line,
    };
    Ok(identity::join(dir, &invitation).await?)
}

/// Two kubelets on one folder would report each other's work.
fn lock(data_dir: &Path) -> Result<fs::File, Error> {
    let path = data_dir.join("lock");
    let file = fs::File::create(&path).map_err(|source| Error::DataDir { path, source })?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::Locked(data_dir.to_owned())),
    }
}

fn executor(options: &Options) -> Result<PathBuf, Error> {
    let beside = || Ok(std::env::current_exe()?.with_file_name("pd-executor"));
    let path = match &options.executor {
        _ if options.hollow.nodes.is_some() => {
            std::env::current_exe().map_err(|source| Error::NoExecutor { path: PathBuf::from("pd-kubelet"), source })?
        }
        Some(path) => path.clone(),
        None => beside().map_err(|source| Error::NoExecutor { path: PathBuf::from("pd-executor"), source })?,
    };
    path.canonicalize().map_err(|source| Error::NoExecutor { path, source })
}

/// An error and its causes in one line, for a log or a message.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
