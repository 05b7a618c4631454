//! Settings: the configuration that this process goes by, read at start and again when its file changes.
//!
//! In: the file's path, the environment, flags. Out: the present `Configuration`. A reload that is wrong in any
//! part changes nothing; what only a start can change is told and left.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use schemas::configuration::{self, Configuration, ConfigurationError, Layered};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. SIGHUP asks for it at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in it, in the environment or among the flags is wrong.
    #[error("{0}")]
    Wrong(#[from] ConfigurationError),
}

/// The configuration of a running process.
#[derive(Debug, Default)]
pub struct Settings {
    file: Option<PathBuf>,
    flags: Vec<(&'static str, String)>,
    layers: RwLock<Layered>,
    configuration: RwLock<Arc<Configuration>>,
}

impl Settings {
    /// Reads all layers.
    pub fn load(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Result<Self, SettingsError> {
        let layers = read(file.as_deref(), &flags)?;
        let configuration = RwLock::new(Arc::new(layers.configuration()));
        Ok(Self { file, flags, layers: RwLock::new(layers), configuration })
    }

    /// A configuration that stays as it is.
    pub fn fixed(configuration: Configuration) -> Self {
        Self { configuration: RwLock::new(Arc::new(configuration)), ..Self::default() }
    }

    /// What is to be gone by now.
    pub fn current(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads all layers again and takes over what a running server may. A wrong file changes nothing.
    pub fn reload(&self) -> Result<(), SettingsError> {
        let newer = read(self.file.as_deref(), &self.flags)?;
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let (taken, refused) = layers.reloaded(&newer);
        for setting in refused {
            tracing::warn!(key = setting.key, "changed in the configuration; it takes a restart to go by it");
        }
        let configuration = taken.configuration();
        *layers = taken;
        drop(layers);
        *self.configuration.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configuration);
        Ok(())
    }

    /// Follows the file, and SIGHUP, until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let Some(file) = self.file.clone() else { return stop.cancelled().await };
        let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else {
            return stop.cancelled().await;
        };
        let mut seen = look(&file);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {
                    let now = look(&file);
                    if now == seen {
                        continue;
                    }
                    seen = now;
                }
            }
            match self.reload() {
                Ok(()) => tracing::info!(file = %file.display(), "the configuration was read again"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(file = %file.display(), error, "the configuration is wrong; the old one stays");
                }
            }
        }
    }
}

fn read(file: Option<&Path>, flags: &[(&'static str, String)]) -> Result<Layered, SettingsError> {
    let text = match file {
        None => None,
        Some(path) => {
            let bytes = fs::read(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
            Some((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))
        }
    };
    let text = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let variable = |name: &str| std::env::var(name).ok();
    Ok(configuration::layered(text, variable, flags.iter().cloned())?)
}

/// What a file looks like from outside.
fn look(file: &Path) -> Option<(u64, Option<SystemTime>)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_reload_keeps_the_old_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pd.yaml");
        fs::write(&file, "controller: {max_nodes: 3, port: 7000}\n").expect("writes");
        let settings = Settings::load(Some(file.clone()), vec![("max-retries", "7".to_owned())]).expect("loads");
        assert_eq!(settings.current().controller.max_nodes, 3);
        fs::write(&file, "controller: {max_nods: 4}\n").expect("writes");
        let error = settings.reload().expect_err("a misspelt key").to_string();
        assert!(error.contains("pd.yaml:1:14") && error.contains("did you mean `max_nodes`?"), "{error}");
        assert_eq!(settings.current().controller.max_nodes, 3);
        fs::write(&file, "controller: {max_nodes: 4, port: 7001}\n").expect("writes");
        settings.reload().expect("reloads");
        let now = settings.current();
        assert_eq!((now.controller.max_nodes, now.controller.port), (4, 7000), "a port takes a restart");
        assert_eq!(now.performance.max_retries, 7, "a flag stands above the file");
    }
}
