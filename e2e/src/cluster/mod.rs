//! One local cluster: create it, find it again, look at it, delete it.

mod damage;
mod hollow;
mod logs;
mod reconcilers;
mod start;
mod state;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;

pub use damage::Throttle;
pub use hollow::Hollow;
pub(crate) use start::free_port;
pub use state::{Node, Reconciler, State, home};

use crate::{binaries::Binaries, process::Process};

/// How long a process may take to end by itself when its cluster is deleted.
const END_GRACE: Duration = Duration::from_secs(5);

/// How large a cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of nodes.
    pub nodes: u32,
    /// Subtasks at once on each.
    pub slots: u32,
}

/// A local cluster of real processes.
pub struct Cluster {
    folder: PathBuf,
    name: String,
    binaries: Binaries,
    state: State,
    /// Data of hollow nodes, gone with this.
    hollow: Vec<TempDir>,
}

impl Cluster {
    /// Creates a cluster with the built-in tasks and waits until all its nodes are ready. One that cannot be
    /// completed is deleted again.
    pub async fn create(home: &Path, name: &str, shape: Shape) -> Result<Self> {
        let folder = state::folder(home, name)?;
        ensure!(!folder.exists(), "cluster `{name}` exists; `pd-local delete {name}` deletes it");
        let binaries = Binaries::locate()?;
        fs::create_dir_all(folder.join("logs")).with_context(|| format!("creating {}", folder.display()))?;
        let state = State {
            port: free_port()?,
            apiserver: None,
            reconcilers: Vec::new(),
            nodes: Vec::new(),
            hollow: Vec::new(),
        };
        let mut cluster = Self { folder, name: name.to_owned(), binaries, state, hollow: Vec::new() };
        if let Err(error) = cluster.bring_up(shape).await {
            let logs = cluster.log_tails();
            cluster.delete().context("deleting a cluster that did not come up")?;
            return Err(error.context(format!("cluster `{name}` did not come up\n{logs}")));
        }
        Ok(cluster)
    }

    /// Finds an existing cluster.
    pub fn open(home: &Path, name: &str) -> Result<Self> {
        let folder = state::folder(home, name)?;
        if !folder.exists() {
            let known = Self::names(home)?;
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there is {}", known.join(", ")) };
            bail!("no cluster `{name}`: {known}; `pd-local create {name}` makes it");
        }
        let state = State::load(&folder)?;
        Ok(Self { folder, name: name.to_owned(), binaries: Binaries::locate()?, state, hollow: Vec::new() })
    }

    /// Names of all clusters, sorted.
    pub fn names(home: &Path) -> Result<Vec<String>> {
        if !home.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(home).with_context(|| format!("listing {}", home.display()))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Stops every process of the cluster and removes its files. What did not end is killed.
    pub fn delete(self) -> Result<()> {
        let kubelets = self.state.nodes.iter().filter_map(|node| node.kubelet);
        let executors: Vec<Process> = kubelets.clone().flat_map(Process::children).collect();
        let reconcilers = self.state.reconcilers.iter().filter_map(|reconciler| reconciler.process);
        let agents = executors.iter().copied().chain(kubelets).chain(self.state.hollow.iter().copied());
        for process in agents.chain(reconcilers).chain(self.state.apiserver) {
            process.end(END_GRACE)?;
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("removing {}", self.folder.display()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its processes and nodes.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The programs it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("apiserver/admin.kubeconfig")
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        let path = self.kubeconfig();
        let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("reading {}", path.display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A `pdctl` command against this cluster.
    pub fn pdctl(&self) -> Command {
        self.against_cluster(self.binaries.program("pdctl"))
    }

    /// A `kubectl` command against this cluster, its discovery cache in the cluster's folder.
    pub fn kubectl(&self) -> Command {
        let mut command = self.against_cluster("kubectl");
        command.arg("--cache-dir").arg(self.folder.join("kubectl-cache"));
        command
    }

    fn against_cluster(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    fn save(&self) -> Result<()> {
        self.state.save(&self.folder)
    }
}
