//! What is written down of a cluster, so that the next command finds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::process::Process;

/// Its file in the cluster's folder.
const FILE: &str = "cluster.json";

/// One cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The API server's port on 127.0.0.1.
    pub port: u16,
    /// The API server, unless it was killed.
    pub apiserver: Option<Process>,
    /// The reconcilers, of which one leads.
    #[serde(default)]
    pub reconcilers: Vec<Reconciler>,
    /// The nodes, in the order of their numbers.
    pub nodes: Vec<Node>,
    /// Processes with many pretended nodes each.
    #[serde(default)]
    pub hollow: Vec<Process>,
}

/// One reconciler.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reconciler {
    /// `reconciler-0`, `reconciler-1`, ...
    pub name: String,
    /// Its flags beside those that every one gets.
    pub arguments: Vec<String>,
    /// Port of its metrics on 127.0.0.1.
    pub metrics_port: u16,
    /// Its process, unless it was killed.
    pub process: Option<Process>,
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// `node-0`, `node-1`, ...
    pub name: String,
    /// Subtasks at once.
    pub slots: u32,
    /// Port of its metrics on 127.0.0.1.
    pub metrics_port: u16,
    /// Its kubelet, unless it was killed.
    pub kubelet: Option<Process>,
    /// True while it is stopped.
    pub paused: bool,
    /// True when its slots share one executor process.
    #[serde(default)]
    pub shared: bool,
    /// True when every output of it is wrong.
    #[serde(default)]
    pub lies: bool,
}

impl State {
    /// Reads it.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let (path, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
        fs::write(&new, serde_json::to_vec_pretty(self)?).with_context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("renaming {} into place", new.display()))
    }

    /// The position of a node given by its number or name.
    pub fn node(&self, number_or_name: &str) -> Result<usize> {
        let by_name = self.nodes.iter().position(|node| node.name == number_or_name);
        let by_number = || number_or_name.parse().ok().filter(|number| *number < self.nodes.len());
        if let Some(position) = by_name.or_else(by_number) {
            return Ok(position);
        }
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!("no node `{number_or_name}`: the cluster has {}", names.join(", "))
    }
}

/// Where clusters live: `$PD_LOCAL_HOME`, else `~/.local/share/pd-local`.
pub fn home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("PD_LOCAL_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("neither PD_LOCAL_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".local/share/pd-local"))
}

/// The folder of the cluster `name` under `home`.
pub(super) fn folder(home: &Path, name: &str) -> Result<PathBuf> {
    let legal = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    ensure!(legal, "`{name}` is no name for a cluster: use up to 63 lower-case letters, digits and dashes");
    Ok(home.join(name))
}
