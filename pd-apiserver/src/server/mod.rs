//! The server: puts the rooms together, opens the port, and takes it all down again.
//!
//! In: the command line. Out: a running server and, on disk, what its clients need to find it.

mod authenticate;
mod compress;
mod front;
mod health;
mod impersonate;
mod lanes;
mod lasting;
mod linger;
mod listener;
pub(crate) mod status;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    fs,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::Router;
use daemon::settings::Settings;
use schemas::{configuration::Configuration, well_known::groups};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{front::Front, health::HealthState, lanes::Lanes, listener::Listener};
use crate::{
    api::{self, ApiState},
    artifacts::{self, ArtifactStore, grants::NodeGrants, http::ArtifactState},
    auth::tokens::Tokens,
    backup::{self, BackupState},
    cli::Options,
    metrics::Metrics,
    pki::{self, Authority},
    store::{Store, redb_store::RedbStore},
};

/// Life of the kubeconfigs that every start writes anew.
const KUBECONFIG_LIFE: Duration = Duration::from_hours(24 * 365);

/// A server whose port is open, not yet serving.
pub struct Server {
    address: SocketAddr,
    listener: Listener,
    state: Arc<ApiState>,
    stop: CancellationToken,
}

/// Serves until `shutdown`.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    Server::start(&options).await?.serve(shutdown).await
}

impl Server {
    /// Opens the data folder and the port, and writes the files that clients need.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let settings = Arc::new(Settings::load(options.config.clone(), options.settings.given())?);
        let configuration = settings.current();
        let listen = options.address(configuration.controller.port);
        refuse_open_plain(&configuration, listen)?;
        let folder = &options.data_dir;
        create_folder(folder)?;
        // The store is first: it refuses a folder that is not ours before anything is written into it.
        let path = folder.join("store.redb");
        let store = tokio::task::spawn_blocking(move || RedbStore::open_with(&path, api::topic_of)).await??;
        let metrics = Arc::new(Metrics::new(&store.stats()));
        let store: Arc<dyn Store> = Arc::new(store);
        let authority = Arc::new(Authority::open(&folder.join("pki"))?);
        let artifacts = Arc::new(ArtifactStore::open(&folder.join("artifacts")).await?);
        let stop = CancellationToken::new();
        let state = Arc::new(ApiState {
            store,
            artifacts,
            authority,
            hidden: Arc::default(),
            settings,
            unfinished: Arc::default(),
            stop: stop.clone(),
        });
        api::bootstrap(&state).await.context("cannot create the first objects")?;

        let tcp = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = tcp.local_addr().context("cannot tell the port's own address")?;
        let names = server_names(address, &options.san);
        let certificate = state.authority.issue_server(&folder.join("pki"), &names)?;
        let tls = TlsAcceptor::from(tls::config(&state.authority, &certificate)?);
        write_client_files(folder, &state.authority, address)?;

        let front = Arc::new(Front {
            others: others(&state, &metrics, folder),
            api: Arc::clone(&state),
            tokens: Tokens::new(Arc::clone(&state.store)),
            lanes: Lanes::default(),
            metrics,
        });
        Ok(Self {
            address,
            listener: Listener { tcp, tls, is_tls_required: configuration.security.require_tls, front },
            state,
            stop,
        })
    }

    /// Where it listens; the port is known even when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets requests in flight finish and closes the store.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { address, listener, state, stop } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(stop.clone()));
        tasks.spawn(api::collect_garbage(state.clone()));
        tasks.spawn(Arc::clone(&state.settings).follow(stop.clone()));
        let (store, artifacts) = (Arc::clone(&state.store), Arc::clone(&state.artifacts));
        let collector_stop = stop.clone();
        tasks.spawn(async move { artifacts::garbage::run(store.as_ref(), &artifacts, collector_stop).await });
        drop(state);
        tracing::info!(%address, "serving");
        tokio::select! {
            () = shutdown => tracing::info!("shutting down"),
            Some(ended) = tasks.join_next() => {
                stop.cancel();
                return Err(ended.err().map_or_else(|| anyhow::anyhow!("a task of the server has ended"), Into::into));
            }
        }
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// Plain HTTP shows every token to whoever listens: it stays on this machine.
fn refuse_open_plain(configuration: &Configuration, listen: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        configuration.security.require_tls || listen.ip().is_loopback(),
        "security.require_tls is false, and {listen} is no loopback address: plain HTTP is served on loopback only; \
         listen on 127.0.0.1, or leave require_tls true"
    );
    Ok(())
}

/// What is served beside the Kubernetes API.
fn others(state: &Arc<ApiState>, metrics: &Arc<Metrics>, folder: &Path) -> Router {
    let grants = Arc::new(NodeGrants::new(Arc::clone(&state.store)));
    let artifact_state = ArtifactState { artifacts: Arc::clone(&state.artifacts), grants };
    let health_state = HealthState {
        store: Arc::clone(&state.store),
        authority: Arc::clone(&state.authority),
        metrics: Arc::clone(metrics),
    };
    let (store, artifacts) = (Arc::clone(&state.store), Arc::clone(&state.artifacts));
    let backup_state = BackupState { store, artifacts, folder: folder.to_owned() };
    let state = Arc::clone(state);
    artifacts::http::router(artifact_state)
        .merge(health::router(health_state))
        .merge(backup::router(backup_state))
        .fallback(move |request| api::serve(Arc::clone(&state), request))
}

fn create_folder(folder: &Path) -> anyhow::Result<()> {
    let create = || fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    create().with_context(|| format!("cannot create the data folder `{}`", folder.display()))
}

/// The names by which clients may call us.
fn server_names(address: SocketAddr, more: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A machine may carry a name that no certificate can: then it is not called by it.
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    names.extend(Some(host).filter(|host| !host.is_empty() && host.chars().all(legal)));
    names.extend(Some(address.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.extend(more.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// Kubeconfigs and the CA's hash, for those who may read the data folder.
fn write_client_files(folder: &Path, authority: &Authority, address: SocketAddr) -> anyhow::Result<()> {
    let server = format!("https://{}", reachable(address));
    for (user, group) in [("admin", groups::ADMINS), ("reconciler", groups::RECONCILERS)] {
        let issued = authority.issue_client(user, group, KUBECONFIG_LIFE)?;
        let text = pki::kubeconfig(authority, &server, user, &issued);
        pki::write_private(&folder.join(format!("{user}.kubeconfig")), &text)?;
    }
    pki::write_public(&folder.join("ca.hash"), &format!("{}\n", authority.ca_hash()))?;
    Ok(())
}

/// An address that a client on this machine can call when we listen on all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}
