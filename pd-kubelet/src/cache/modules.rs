//! Compiled modules: native code that an executor made on this machine for this executor's engine.
//!
//! They are executed, so they are taken from nobody: the folder is private (0700), files appear by rename,
//! and the key holds a fingerprint of the executor program beside the component's digest.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use executor_protocol::{Reply, Request};
use schemas::Digest;

use crate::{
    metrics::Metrics,
    slots::{Mode, Spawner},
};

/// Processor time of a compilation: a component at its size limit (64 MiB) takes 36 s of it, at the 0.55 s a MiB of
/// Python's.
const COMPILE_CPU: Duration = Duration::from_mins(2);
/// Memory of a compilation: Python's 18 MiB take some 800 MiB.
const COMPILE_BYTES_MAX: u64 = 3 << 30;
/// Longest compilation: the same on a machine with other things to do.
const COMPILE_TIMEOUT: Duration = Duration::from_mins(8);
/// Compiled modules kept from earlier starts, some hundred kilobytes each.
const MODULES_MAX: usize = 256;

/// Why there is no compiled module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    #[error("the component does not compile: {0}")]
    Broken(String),
    #[error("the executor that compiled the component ended: {0}")]
    Lost(String),
    #[error("the component did not compile within {COMPILE_TIMEOUT:?}")]
    TooSlow,
    #[error("the folder of compiled modules cannot be used")]
    Disk(#[from] io::Error),
}

/// The folder of compiled modules.
pub(crate) struct Modules {
    folder: PathBuf,
    fingerprint: String,
    spawner: Spawner,
    metrics: Arc<Metrics>,
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Modules {
    pub(crate) fn open(
        data_dir: &Path,
        (executor, mode): (&Path, Mode),
        spawner: Spawner,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let folder = modules_folder(data_dir);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        tidy(&folder)?;
        Ok(Self { folder, fingerprint: fingerprint(executor, mode)?, spawner, metrics, turns: Mutex::default() })
    }

    /// The compiled form of a component whose bytes are in `component`, with canonical NaNs or without.
    pub(crate) async fn get(
        &self,
        digest: Digest,
        component: &Path,
        canonical_nans: bool,
    ) -> Result<PathBuf, ModuleError> {
        let turn = Arc::clone(self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default());
        let _turn = turn.lock().await;
        let path = self.path(digest, canonical_nans);
        let is_here = path.exists();
        self.metrics.asked_cache("modules", is_here, 1);
        if is_here {
            return Ok(path);
        }
        let temporary = path.with_extension("part");
        let compiled = tokio::time::timeout(COMPILE_TIMEOUT, self.compile(component, &temporary, canonical_nans)).await;
        match compiled.unwrap_or(Err(ModuleError::TooSlow)) {
            Ok(()) => fs::rename(&temporary, &path)?,
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
        }
        Ok(path)
    }

    /// Forgets a compiled module that an executor would not load.
    pub(crate) fn forget(&self, digest: Digest) {
        for canonical_nans in [false, true] {
            let _ = fs::remove_file(self.path(digest, canonical_nans));
        }
    }

    async fn compile(&self, component: &Path, compiled: &Path, canonical_nans: bool) -> Result<(), ModuleError> {
        self.metrics.compilations.inc();
        let started = std::time::Instant::now();
        // Dropped, and so killed, on every way out.
        let mut executor = (self.spawner)()?;
        let request = Request::Compile {
            component: text(component)?,
            compiled: text(compiled)?,
            cpu_ms_max: COMPILE_CPU.as_millis() as u64,
            memory_bytes_max: COMPILE_BYTES_MAX,
            canonical_nans,
        };
        let lost = |error: executor_protocol::FrameError| ModuleError::Lost(crate::chain(&error));
        executor.send(&request).await.map_err(lost)?;
        match executor.next().await.map_err(lost)? {
            Some(Reply::Prepared) => {
                tracing::info!(ms = started.elapsed().as_millis() as u64, "component compiled");
                Ok(())
            }
            Some(Reply::Broken(why) | Reply::Refused { why, .. }) => Err(ModuleError::Broken(why)),
            Some(_) => Err(ModuleError::Lost("it spoke out of turn".to_owned())),
            None => Err(ModuleError::Lost(executor.bury().await)),
        }
    }

    fn path(&self, digest: Digest, canonical_nans: bool) -> PathBuf {
        let kind = if canonical_nans { "-nan" } else { "" };
        self.folder.join(format!("{}-{}{kind}.cwasm", digest.hex(), self.fingerprint))
    }
}

/// Where compiled modules are.
pub(crate) fn modules_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("modules")
}

/// Tells one build of the executor from another, and code with checks in its loops from code without. A wrong guess
/// costs a compilation and never more: the engine checks what it loads.
fn fingerprint(executor: &Path, mode: Mode) -> io::Result<String> {
    let metadata = fs::metadata(executor)?;
    let (program, size) = (executor.display(), metadata.len());
    let facts = format!("{program} {size} {} {} {}", metadata.mtime(), metadata.mtime_nsec(), mode.name());
    Ok(Digest::of(facts.as_bytes()).hex()[..16].to_owned())
}

/// Removes half-written files and the oldest beyond the limit.
fn tidy(folder: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
            kept.push((entry.metadata()?.modified()?, entry.path()));
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    kept.sort_unstable();
    let surplus = kept.len().saturating_sub(MODULES_MAX);
    kept.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| io::Error::other("the data folder's path is not UTF-8"))
}
