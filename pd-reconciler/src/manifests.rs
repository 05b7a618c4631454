//! A folder of manifests on the server: watched as `pdctl watch` does it, with an identity of its own.

use std::{future::Future, time::Duration};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use pd_manifests::{Change, Rules};

use crate::{Error, cli::ManifestOptions};

/// Pause before the next try when the source could not start: the API server may be starting itself.
const RETRY: Duration = Duration::from_secs(2);

/// What follows the folder until it is dropped; none when no folder is asked for.
pub(crate) async fn prepare(
    options: &ManifestOptions,
) -> Result<Option<impl Future<Output = ()> + Send + use<>>, Error> {
    let (Some(folder), Some(path)) = (&options.folder, &options.kubeconfig) else { return Ok(None) };
    let wrong = |source| Error::Kubeconfig { path: path.clone(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(wrong)?;
    let host = pd_manifests::host_name();
    let source = pd_manifests::Options {
        name: pd_manifests::source_name(folder, &host),
        folder: folder.clone(),
        namespace: config.default_namespace.clone(),
        host,
        rules: Rules { prune: options.prune, allow_empty: options.allow_empty },
        rescan: pd_manifests::RESCAN,
        resync: pd_manifests::RESYNC,
    };
    Ok(Some(follow(config, source)))
}

async fn follow(config: Config, source: pd_manifests::Options) {
    // The source logs what it does; nobody else is told.
    let tell = |_: Change| {};
    while let Err(error) = pd_manifests::run(&config, &source, &tell).await {
        tracing::warn!(folder = %source.folder.display(), error = format!("{error:#}"), "the folder is not followed yet");
        tokio::time::sleep(RETRY).await;
    }
}
