//! pd-reconciler: drives Jobs to their end.
//!
//! `observe` fills caches and makes the snapshot, `pd-plan` decides, `execute` writes, `controller` is the loop
//! round them. In: the API server's news. Out: Assignments, Job statuses, nodes' Ready conditions, Events. It
//! never runs user code and keeps nothing on disk: after a restart it lists, compares and goes on.

mod cli;
mod clock;
mod controller;
mod events;
mod execute;
mod metrics;
mod observe;

use std::{future::Future, path::PathBuf};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

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
    let client = client(&options.kubeconfig).await?;
    let metrics = metrics::Metrics::new();
    let mut parts = JoinSet::new();
    if let Some(address) = options.metrics_listen {
        let listener = metrics::listen(address).await.map_err(|source| Error::Metrics { address, source })?;
        parts.spawn(metrics::serve(listener, metrics.clone()));
    }
    let policy = options.policy();
    let clock = clock::Clock::start();
    let (recorder, recording) = events::Recorder::new(client.clone());
    parts.spawn(recording);
    let (news, watches) = observe::start(&client, clock, policy.lost_after);
    let controller = controller::Controller::new(client, policy, clock, metrics, recorder);
    tracing::info!("started");
    tokio::select! {
        () = controller.run(news) => {}
        () = shutdown => tracing::info!("stopping"),
    }
    drop(watches);
    drop(parts);
    Ok(())
}

/// A client with the identity of the kubeconfig.
async fn client(path: &PathBuf) -> Result<Client, Error> {
    // An earlier provider of the process is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wrong = |source| Error::Kubeconfig { path: path.clone(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(wrong)?;
    Client::try_from(config).map_err(|source| Error::Client { path: path.clone(), source })
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
