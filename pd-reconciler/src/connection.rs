//! The way to the API server: a client of the kubeconfig, made anew whenever the file is.
//!
//! In: the path of a kubeconfig. Out: `Connection`, a handle that always has the current client and tells its holders
//! when it changed. A certificate that is renewed in the file is in use seconds later, without a restart; a file that
//! cannot be read leaves the client of before in place. The room knows no kinds.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use schemas::Digest;
use tokio::sync::watch;

use crate::Error;

/// How often the file is looked at: a renewal leaves hours, and a file costs nothing to read.
const LOOK_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2000 });

/// The current client, shared by everyone who talks to the API server.
#[derive(Clone)]
pub(crate) struct Connection(watch::Receiver<Client>);

/// Keeps a `Connection` fresh; ends when nobody holds one any more.
pub(crate) struct Renewal {
    path: PathBuf,
    seen: Digest,
    clients: watch::Sender<Client>,
}

impl Connection {
    /// Reads the kubeconfig; the second half has to run beside whoever uses the first.
    pub(crate) async fn open(path: &Path) -> Result<(Self, Renewal), Error> {
        let seen = read(path).map_err(|source| wrong(path, KubeconfigError::ReadConfig(source, path.into())))?;
        let (clients, receiver) = watch::channel(client(path).await?);
        Ok((Self(receiver), Renewal { path: path.to_owned(), seen, clients }))
    }

    pub(crate) fn current(&self) -> Client {
        self.0.borrow().clone()
    }

    /// Returns when `current` has become another; never when it will not any more.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Renewal {
    /// Looks at the file for ever.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(seen) = read(&self.path).ok().filter(|seen| *seen != self.seen) else { continue };
            self.seen = seen;
            match client(&self.path).await {
                Ok(client) => {
                    tracing::info!(path = %self.path.display(), "the kubeconfig has changed; going on with it");
                    self.clients.send_replace(client);
                }
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "the kubeconfig has changed and is not usable; keeping the old one");
                }
            }
        }
    }
}

/// What tells one version of the file from another.
fn read(path: &Path) -> io::Result<Digest> {
    fs::read(path).map(|bytes| Digest::of(&bytes))
}

/// A client with the identity of the kubeconfig.
async fn client(path: &Path) -> Result<Client, Error> {
    // An earlier provider of the process is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(path).map_err(|source| wrong(path, source))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|source| wrong(path, source))?;
    Client::try_from(config).map_err(|source| Error::Client { path: path.to_owned(), source })
}

fn wrong(path: &Path, source: KubeconfigError) -> Error {
    Error::Kubeconfig { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(server: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: '{server}'}}}}], \
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{token: t}}}}]}}"
        )
    }

    #[tokio::test]
    async fn a_missing_and_a_damaged_kubeconfig_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        assert!(matches!(Connection::open(&path).await, Err(Error::Kubeconfig { .. })));
        fs::write(&path, "clusters: 7").unwrap();
        assert!(matches!(Connection::open(&path).await, Err(Error::Kubeconfig { .. })));
    }

    #[tokio::test]
    async fn a_renewed_kubeconfig_is_taken_up_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        fs::write(&path, kubeconfig("https://127.0.0.1:1")).unwrap();
        let (mut connection, renewal) = Connection::open(&path).await.unwrap();
        let renewal = tokio::spawn(renewal.run());
        let mut changes = async |text: &str, within: Duration| {
            fs::write(&path, text).unwrap();
            tokio::time::timeout(within, connection.changed()).await.is_ok()
        };
        assert!(changes(&kubeconfig("https://127.0.0.1:2"), Duration::from_mins(1)).await);
        assert!(!changes("clusters: 7", 10 * LOOK_EVERY).await);
        assert!(changes(&kubeconfig("https://127.0.0.1:3"), Duration::from_mins(1)).await);
        renewal.abort();
    }
}
