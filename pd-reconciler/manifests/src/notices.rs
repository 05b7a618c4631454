//! Hints that something in the folder has changed. A hint says no more than that: what has changed is found by
//! reading. Where the system tells us nothing, the rescan is all there is, and we say so.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::platform;

/// Quiet after a hint before the folder is read: an editor's write, rename and chmod come within a few
/// milliseconds of each other.
const QUIET: Duration = Duration::from_millis(40);
/// Longest wait for quiet: half of what may pass between a save and the apply goes to the rest.
const QUIET_WAIT_MAX: Duration = Duration::from_millis(200);

/// What tells of changes below one folder.
pub(crate) struct Notices {
    root: PathBuf,
    hint: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// Identity of the folder that is watched: another one may stand under its name now.
    watched: Option<(u64, u64)>,
    /// Why nothing tells of changes.
    why_not: Option<String>,
}

impl Notices {
    pub(crate) fn new(root: &Path) -> Self {
        let hint = Arc::new(Notify::new());
        Self { root: root.to_owned(), hint, watcher: None, watched: None, why_not: None }
    }

    /// Watches the folder that stands under the name now, if it does not yet.
    pub(crate) fn renew(&mut self) {
        let now = std::fs::metadata(&self.root).ok().map(|metadata| platform::identity(&metadata));
        if now == self.watched && (self.watcher.is_some() || self.why_not.is_some()) {
            return;
        }
        self.watcher = None;
        self.watched = now;
        if now.is_none() {
            self.why_not = Some("the folder does not exist".to_owned());
            return;
        }
        match watch(&self.root, Arc::clone(&self.hint)) {
            Ok(watcher) => (self.watcher, self.why_not) = (Some(watcher), None),
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(folder = %self.root.display(), reason, "changes are not told of; the folder is read again and again");
                self.why_not = Some(reason);
            }
        }
    }

    /// Why changes are not told of, if so.
    pub(crate) fn why_not(&self) -> Option<&str> {
        self.why_not.as_deref()
    }

    /// Waits for a hint and for the quiet after it, at most until `deadline`.
    pub(crate) async fn wait(&self, deadline: Instant) {
        if timeout_at(deadline, self.hint.notified()).await.is_err() {
            return;
        }
        let end = Instant::now() + QUIET_WAIT_MAX;
        while Instant::now() < end && timeout(QUIET, self.hint.notified()).await.is_ok() {}
    }
}

fn watch(root: &Path, hint: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is no change.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            hint.notify_one();
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}
