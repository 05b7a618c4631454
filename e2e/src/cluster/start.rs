//! Bringing a cluster and its nodes up.

use std::{fs, net::TcpListener, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use schemas::{Token, TokenSpec, token::Role};

use super::{Cluster, Node, Shape};
use crate::{deadline, process::Process};

/// From start to `/readyz`, on the reference machine.
const API_SERVER_TIME: Duration = Duration::from_secs(15);
/// From a kubelet's start to its Node being ready.
const NODE_TIME: Duration = Duration::from_secs(20);

/// What is special about a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Honest,
    /// Its slots share one executor process.
    Shared,
    /// Its outputs are wrong.
    Lying,
}

/// A TCP port of 127.0.0.1 that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}

impl Cluster {
    pub(super) async fn bring_up(&mut self, shape: Shape) -> Result<()> {
        self.save()?;
        self.start_apiserver().await?;
        self.add_reconciler(&[])?;
        self.push_builtin_tasks()?;
        for _ in 0..shape.nodes {
            self.start_new_node(shape.slots, Kind::Honest).await?;
        }
        for position in 0..self.state.nodes.len() {
            self.wait_until_ready(position).await?;
        }
        Ok(())
    }

    /// Adds one node and waits until it is ready; answers its name.
    pub async fn add_node(&mut self, slots: u32) -> Result<String> {
        self.add(slots, Kind::Honest).await
    }

    /// The same of a node whose slots share one executor process.
    pub async fn add_shared_node(&mut self, slots: u32) -> Result<String> {
        self.add(slots, Kind::Shared).await
    }

    /// The same of a node that lies: every output of it is wrong in one bit.
    pub async fn add_lying_node(&mut self, slots: u32) -> Result<String> {
        self.add(slots, Kind::Lying).await
    }

    async fn add(&mut self, slots: u32, kind: Kind) -> Result<String> {
        self.start_new_node(slots, kind).await?;
        let position = self.state.nodes.len() - 1;
        self.wait_until_ready(position).await?;
        Ok(self.state.nodes[position].name.clone())
    }

    pub(super) async fn start_apiserver(&mut self) -> Result<()> {
        let mut command = Command::new(self.binaries.program("pd-apiserver"));
        command.arg("--data-dir").arg(self.folder.join("apiserver"));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.state.port));
        let process = Process::start(&mut command, &self.log("apiserver"))?;
        self.state.apiserver = Some(process);
        self.save()?;
        deadline::until("the API server to be ready", API_SERVER_TIME, async || {
            ensure!(process.is_alive(), "the API server has exited");
            let request = http_get("/readyz")?;
            let answer = self.client().await?.request_text(request).await;
            Ok(answer.is_ok().then_some(()))
        })
        .await
    }

    fn push_builtin_tasks(&self) -> Result<()> {
        for component in self.binaries.tasks()? {
            let pushed = self.pdctl().arg("push").arg(&component).output().context("running pdctl push")?;
            let errors = String::from_utf8_lossy(&pushed.stderr);
            ensure!(pushed.status.success(), "pdctl push {}: {errors}", component.display());
        }
        Ok(())
    }

    async fn start_new_node(&mut self, slots: u32, kind: Kind) -> Result<()> {
        let name = format!("node-{}", self.state.nodes.len());
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let token_file = self.folder.join(format!("{name}.token"));
        fs::write(&token_file, join_token(&self.client().await?).await?)
            .with_context(|| format!("writing {}", token_file.display()))?;
        let metrics_port = free_port()?;
        let (shared, lies) = (kind == Kind::Shared, kind == Kind::Lying);
        self.state.nodes.push(Node { name, slots, metrics_port, kubelet: None, paused: false, shared, lies });
        self.start_kubelet(self.state.nodes.len() - 1)
    }

    pub(super) fn start_kubelet(&mut self, position: usize) -> Result<()> {
        let node = &self.state.nodes[position];
        let mut command = self.kubelet_command()?;
        command
            .args(["--name", &node.name])
            .arg("--token-file")
            .arg(self.folder.join(format!("{}.token", node.name)))
            .arg("--data-dir")
            .arg(self.folder.join(&node.name))
            .args(["--slots", &node.slots.to_string()])
            .args(["--executor-mode", if node.shared { "shared" } else { "process" }])
            .arg("--metrics-listen")
            .arg(format!("127.0.0.1:{}", node.metrics_port));
        if node.lies {
            command.arg("--executor").arg(self.binaries.program("pd-liar"));
        }
        let process = Process::start(&mut command, &self.log(&node.name))?;
        let node = &mut self.state.nodes[position];
        node.kubelet = Some(process);
        node.paused = false;
        self.save()
    }

    pub(super) async fn wait_until_ready(&self, position: usize) -> Result<()> {
        let node = &self.state.nodes[position];
        let nodes: Api<v1::Node> = Api::all(self.client().await?);
        deadline::until(&format!("{} to be ready", node.name), NODE_TIME, async || {
            ensure!(node.kubelet.is_some_and(Process::is_alive), "the kubelet of {} has exited", node.name);
            let found = nodes.get_opt(&node.name).await?;
            Ok(found.filter(is_ready).map(|_| ()))
        })
        .await
    }
}

/// A token with which one node may join once.
pub(super) async fn join_token(client: &Client) -> Result<String> {
    let mut token = Token::new("", TokenSpec { role: Role::Join, namespace: None, ttl: None });
    token.metadata = ObjectMeta { generate_name: Some("join-".to_owned()), ..ObjectMeta::default() };
    let tokens: Api<Token> = Api::all(client.clone());
    let created = tokens.create(&PostParams::default(), &token).await.context("creating a join token")?;
    created.status.and_then(|status| status.token).context("the API server answered no token")
}

/// True when a Node's condition Ready is True.
pub(super) fn is_ready(node: &v1::Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    node.uid().is_some()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}
