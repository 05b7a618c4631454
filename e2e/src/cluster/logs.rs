//! The logs of a cluster's processes, and its objects, for a bug report.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Cluster;

/// Lines of each log that a failure shows.
const TAIL_LINES: usize = 15;
/// Kinds whose objects are exported.
const EXPORTED_KINDS: [&str; 5] = ["jobs", "assignments", "tasks", "nodes", "events"];

impl Cluster {
    /// Where a process of this cluster writes its output.
    pub fn log(&self, process: &str) -> PathBuf {
        self.folder.join("logs").join(process).with_extension("log")
    }

    /// Copies all logs and, as far as the API server answers, all objects into `to`.
    pub fn export_logs(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
        for log in self.logs()? {
            let name = log.file_name().context("a log without a name")?;
            fs::copy(&log, to.join(name)).with_context(|| format!("copying {}", log.display()))?;
        }
        for kind in EXPORTED_KINDS {
            let listed =
                self.pdctl().args(["get", kind, "--all-namespaces", "-o", "yaml"]).output().context("running pdctl")?;
            let content = if listed.status.success() { listed.stdout } else { listed.stderr };
            let path = to.join(kind).with_extension("yaml");
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// The last lines of each log.
    pub fn log_tails(&self) -> String {
        let logs = self.logs().unwrap_or_default();
        let tails = logs.iter().map(|log| {
            let text = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            format!("--- {}\n{}\n", log.display(), tail.join("\n"))
        });
        tails.collect()
    }

    fn logs(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("logs");
        let listing = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
        let mut logs = listing.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
        logs.sort();
        Ok(logs)
    }
}
