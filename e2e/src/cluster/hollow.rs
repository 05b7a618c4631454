//! Hollow nodes: many in one process, to measure the control plane with.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1;
use kube::{Api, api::ListParams};
use tempfile::TempDir;

use super::{
    Cluster,
    start::{free_port, is_ready, join_token},
};
use crate::{deadline, process::Process};

/// Where memory is a folder. A thousand nodes have as many disks; on the one of this machine their spools
/// would cost more than all else that they do.
const MEMORY: &str = "/dev/shm";
/// They stand for other machines, which take no processor from the control plane: what is left of this one's is theirs.
const NICE: [&str; 2] = ["-n", "10"];
/// Join tokens created at once.
const TOKENS_AT_ONCE: usize = 16;
/// From the start of a hollow process to all its nodes being ready, for each node.
const NODE_TIME: Duration = Duration::from_millis(250);

/// A process with many hollow nodes.
#[derive(Clone, Copy, Debug)]
pub struct Hollow {
    /// The process.
    pub process: Process,
    /// Port of its metrics on 127.0.0.1.
    pub metrics_port: u16,
}

impl Cluster {
    /// Starts `count` hollow nodes NAME-0, NAME-1, ... in one process, and waits until all of them are ready.
    pub async fn start_hollow(&mut self, name: &str, count: usize, arguments: &[String]) -> Result<Hollow> {
        let before = self.ready_nodes().await?;
        let hollow = self.start_hollow_process(name, count, arguments).await?;
        let limit = NODE_TIME.saturating_mul(u32::try_from(count)?) + Duration::from_secs(20);
        deadline::until(&format!("{count} hollow nodes to be ready"), limit, async || {
            ensure!(hollow.process.is_alive(), "the process of the hollow nodes has exited");
            Ok((self.ready_nodes().await? >= before + count).then_some(()))
        })
        .await?;
        Ok(hollow)
    }

    async fn start_hollow_process(&mut self, name: &str, count: usize, arguments: &[String]) -> Result<Hollow> {
        let client = self.client().await?;
        let tokens = stream::iter(0..count).map(|_| join_token(&client)).buffer_unordered(TOKENS_AT_ONCE);
        let tokens: Vec<String> = tokens.try_collect().await?;
        let token_file = self.folder.join(format!("{name}.tokens"));
        fs::write(&token_file, tokens.join("\n")).with_context(|| format!("writing {}", token_file.display()))?;
        let metrics_port = free_port()?;
        let data = if Path::new(MEMORY).is_dir() { TempDir::new_in(MEMORY) } else { TempDir::new() };
        let data = data.context("making a folder for the data of hollow nodes")?;
        let kubelet = self.kubelet_command()?;
        let mut command = Command::new("nice");
        command.args(NICE).arg(kubelet.get_program()).args(kubelet.get_args());
        command
            .args(["--name", name, "--hollow", &count.to_string()])
            .arg("--token-file")
            .arg(token_file)
            .arg("--data-dir")
            .arg(data.path())
            .args(["--metrics-listen", &format!("127.0.0.1:{metrics_port}")])
            .args(arguments);
        let process = Process::start(&mut command, &self.log(name))?;
        self.state.hollow.push(process);
        self.hollow.push(data);
        self.save()?;
        Ok(Hollow { process, metrics_port })
    }

    /// A kubelet's command with what tells it the cluster.
    pub(super) fn kubelet_command(&self) -> Result<Command> {
        let hash = fs::read_to_string(self.folder.join("apiserver/ca.hash")).context("reading the CA's hash")?;
        let mut command = Command::new(self.binaries.program("pd-kubelet"));
        command.arg("--server").arg(format!("https://127.0.0.1:{}", self.state.port));
        command.args(["--ca-hash", hash.trim()]);
        Ok(command)
    }

    async fn ready_nodes(&self) -> Result<usize> {
        let nodes: Api<v1::Node> = Api::all(self.client().await?);
        let listed = nodes.list(&ListParams::default()).await.context("listing the nodes")?;
        Ok(listed.items.iter().filter(|node| is_ready(node)).count())
    }
}
