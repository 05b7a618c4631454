//! `pd-local`: create, grow, damage and delete local clusters.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    cluster::{Cluster, Shape, home},
    process::Process,
};

/// Local ProcessDistro clusters of real processes on this machine.
#[derive(Parser)]
#[command(name = "pd-local", version)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Create a cluster, with the built-in tasks pushed into namespace `default`.
    Create {
        /// Its name.
        #[arg(default_value = "local")]
        name: String,
        /// Number of nodes.
        #[arg(long, default_value_t = 3)]
        nodes: u32,
        /// Subtasks at once on each node.
        #[arg(long, default_value_t = 1)]
        slots: u32,
    },
    /// Delete a cluster: its processes, ports and files.
    Delete {
        /// Its name.
        #[arg(default_value = "local")]
        name: String,
    },
    /// List clusters with their nodes.
    List,
    /// Print the path of a cluster's kubeconfig.
    Kubeconfig {
        /// Its name.
        #[arg(default_value = "local")]
        name: String,
    },
    /// Add a node.
    AddNode {
        /// The cluster's name.
        name: String,
        /// Subtasks at once.
        #[arg(long, default_value_t = 1)]
        slots: u32,
    },
    /// Kill a node's kubelet with SIGKILL.
    KillNode(NodeName),
    /// Start a killed node's kubelet again.
    RestartNode(NodeName),
    /// Stop a node with SIGSTOP, as a machine that hangs.
    PauseNode(NodeName),
    /// Let a paused node go on.
    ResumeNode(NodeName),
    /// Kill the API server with SIGKILL.
    KillApiserver {
        /// The cluster's name.
        name: String,
    },
    /// Start the API server again.
    RestartApiserver {
        /// The cluster's name.
        name: String,
    },
    /// Add a reconciler; one of them leads, the others stand by.
    AddReconciler {
        /// The cluster's name.
        name: String,
    },
    /// Kill a reconciler with SIGKILL.
    KillReconciler {
        /// The cluster's name.
        name: String,
        /// The reconciler's name: reconciler-0, reconciler-1, ...
        reconciler: String,
    },
    /// Add hollow nodes, all in one process: they pretend to run the task `noop`.
    AddHollow {
        /// The cluster's name.
        name: String,
        /// How many.
        #[arg(long, default_value_t = 100)]
        nodes: usize,
        /// Time that they pretend a subtask takes.
        #[arg(long, default_value = "10ms")]
        spin: String,
    },
    /// Copy the logs of all processes and the objects of all kinds into a folder.
    ExportLogs {
        /// The cluster's name.
        name: String,
        /// The folder.
        #[arg(default_value = "pd-local-logs")]
        to: PathBuf,
    },
}

#[derive(clap::Args)]
struct NodeName {
    /// The cluster's name.
    name: String,
    /// The node's number, counted from 0, or its name.
    node: String,
}

/// Does what the flags say.
pub async fn run(options: Options) -> Result<ExitCode> {
    let home = home()?;
    match options.verb {
        Verb::Create { name, nodes, slots } => {
            let cluster = Cluster::create(&home, &name, Shape { nodes, slots }).await?;
            eprintln!("cluster `{name}` is ready: {nodes} nodes with {slots} slots each");
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Verb::Delete { name } => {
            Cluster::open(&home, &name)?.delete()?;
            eprintln!("cluster `{name}` is deleted");
        }
        Verb::List => list(&home)?,
        Verb::Kubeconfig { name } => println!("{}", Cluster::open(&home, &name)?.kubeconfig().display()),
        Verb::AddNode { name, slots } => println!("{}", Cluster::open(&home, &name)?.add_node(slots).await?),
        Verb::KillNode(at) => Cluster::open(&home, &at.name)?.kill_node(&at.node)?,
        Verb::RestartNode(at) => Cluster::open(&home, &at.name)?.restart_node(&at.node).await?,
        Verb::PauseNode(at) => Cluster::open(&home, &at.name)?.pause_node(&at.node)?,
        Verb::ResumeNode(at) => Cluster::open(&home, &at.name)?.resume_node(&at.node)?,
        Verb::KillApiserver { name } => Cluster::open(&home, &name)?.kill_apiserver()?,
        Verb::RestartApiserver { name } => Cluster::open(&home, &name)?.restart_apiserver().await?,
        Verb::AddReconciler { name } => println!("{}", Cluster::open(&home, &name)?.add_reconciler(&[])?),
        Verb::KillReconciler { name, reconciler } => Cluster::open(&home, &name)?.kill_reconciler(&reconciler)?,
        Verb::AddHollow { name, nodes, spin } => {
            let mut cluster = Cluster::open(&home, &name)?;
            let process = format!("hollow-{}", cluster.state().hollow.len());
            cluster.start_hollow(&process, nodes, &["--hollow-spin".to_owned(), spin]).await?;
            eprintln!("{nodes} hollow nodes {process}-0, {process}-1, ... are ready");
        }
        Verb::ExportLogs { name, to } => {
            Cluster::open(&home, &name)?.export_logs(&to)?;
            println!("{}", to.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a process: cluster, name, what it is doing, pid.
fn list(home: &std::path::Path) -> Result<()> {
    println!("{:<16} {:<12} {:<8} {:>8} {:>6}", "CLUSTER", "PROCESS", "STATE", "PID", "SLOTS");
    for name in Cluster::names(home)? {
        let cluster = Cluster::open(home, &name)?;
        let state = cluster.state();
        let row = |process: &str, of: Option<Process>, paused: bool, slots: &str| {
            let alive = of.filter(|process| process.is_alive());
            let word = match (alive, paused) {
                (None, _) => "dead",
                (Some(_), true) => "paused",
                (Some(_), false) => "running",
            };
            let pid = alive.map(|process| process.pid().to_string()).unwrap_or_default();
            println!("{name:<16} {process:<12} {word:<8} {pid:>8} {slots:>6}");
        };
        row("apiserver", state.apiserver, false, "");
        for reconciler in &state.reconcilers {
            row(&reconciler.name, reconciler.process, false, "");
        }
        for process in &state.hollow {
            row("hollow", Some(*process), false, "");
        }
        for node in &state.nodes {
            row(&node.name, node.kubelet, node.paused, &node.slots.to_string());
        }
    }
    Ok(())
}
