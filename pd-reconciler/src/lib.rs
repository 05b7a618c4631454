//! pd-reconciler: drives Jobs to their end.
//!
//! `observe` fills caches and makes the snapshot, `pd-plan` decides, `execute` writes, `controller` is the loop
//! round them; of several reconcilers the one that `leader` elects plans, the others keep their caches warm. In: the
//! API server's news. Out: Assignments, Job statuses, nodes' Ready conditions, Events. It never runs user code and keeps
//! nothing on disk: after a restart it lists, compares and goes on.

mod cli;
mod clock;
mod connection;
mod controller;
mod events;
mod execute;
mod leader;
mod manifests;
mod metrics;
mod observe;

use std::{future::Future, path::PathBuf, sync::Arc};

use daemon::settings::Settings;
use kube::config::KubeconfigError;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use cli::Options;

/// Why a reconciler could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read or used.
    #[error("cannot use the kubeconfig {path}; pd-apiserver writes one as reconciler.kubeconfig into its data folder")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KubeconfigError,
    },
    /// No client can be made of it.
    #[error("cannot make a client of the kubeconfig {path}; its certificate, key or CA may be damaged")]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: kube::Error,
    },
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Settings(#[from] daemon::settings::SettingsError),
    /// The metrics page cannot be served.
    #[error("cannot listen on {address} for metrics; choose another --metrics-listen")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

/// Reconciles until `shutdown` is over. An API server that is away is waited for.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let settings = Arc::new(Settings::load(options.config.clone(), options.settings())?);
    let (connection, renewal) = connection::Connection::open(&options.kubeconfig).await?;
    let metrics = metrics::Metrics::new();
    let mut parts = JoinSet::new();
    parts.spawn(renewal.run());
    if let Some(address) = options.metrics.listen {
        let listener = daemon::page::listen(address).await.map_err(|source| Error::Metrics { address, source })?;
        parts.spawn(daemon::page::serve(listener, metrics.clone()));
    }
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    parts.spawn(Arc::clone(&settings).follow(ended));
    if let Some(watch) = manifests::prepare(&options.manifests).await? {
        parts.spawn(watch);
    }
    let policy = options.policy();
    let clock = clock::Clock::start();
    let (recorder, recording) = events::Recorder::new(connection.clone(), metrics.clone());
    parts.spawn(recording);
    let (news, watches) = observe::start(&connection, clock, policy.lost_after);
    let (seat_sender, seat) = watch::channel(leader::Seat::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let me = leader::identity(options.name.as_deref());
    tracing::info!(identity = me, "started");
    let stopped = async move { drop(stopped.await) };
    let campaign = tokio::spawn(leader::campaign(connection.clone(), me, seat_sender, metrics.clone(), stopped));
    let controller = controller::Controller::new(connection, policy, settings, clock, metrics, recorder, seat);
    tokio::select! {
        () = controller.run(news) => {}
        () = shutdown => tracing::info!("stopping"),
    }
    // Only now that nothing is planned any more may another take over.
    drop(stop);
    drop(campaign.await);
    drop(watches);
    drop(parts);
    Ok(())
}

/// Ends with SIGTERM or SIGINT.
pub async fn termination() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to; only SIGKILL ends this reconciler");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
