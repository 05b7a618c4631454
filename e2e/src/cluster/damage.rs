//! Damaging a cluster on purpose, and mending it.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use schemas::Digest;

use super::Cluster;
use crate::process::Process;

/// A throttled node is stopped and goes on once in this time: short beside what subtasks of tests take.
const THROTTLE_PERIOD: Duration = Duration::from_millis(100);

/// A node that works only part of the time, until this is dropped.
pub struct Throttle {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Cluster {
    /// Lets a node's kubelet and executors work only that share of the time, as `cpulimit` does.
    pub fn throttle_node(&mut self, node: &str, share: f64) -> Result<Throttle> {
        ensure!((0.0..=1.0).contains(&share), "a share is between 0 and 1, not {share}");
        let kubelet = self.kubelet(self.state.node(node)?)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let work = THROTTLE_PERIOD.mul_f64(share);
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) && kubelet.is_alive() {
                for (signal, span) in [(Signal::STOP, THROTTLE_PERIOD.saturating_sub(work)), (Signal::CONT, work)] {
                    // One that ends meanwhile needs no signal.
                    kubelet.children().into_iter().chain([kubelet]).for_each(|process| drop(process.signal(signal)));
                    thread::sleep(span);
                }
            }
        });
        Ok(Throttle { is_over, thread: Some(thread) })
    }

    /// `kill -9` of a node's kubelet; its executors die with it.
    pub fn kill_node(&mut self, node: &str) -> Result<()> {
        let position = self.state.node(node)?;
        let kubelet = self.kubelet(position)?;
        let executors = kubelet.children();
        kubelet.kill()?;
        for executor in executors {
            executor.kill()?;
        }
        self.state.nodes[position].kubelet = None;
        self.state.nodes[position].paused = false;
        self.save()
    }

    /// `kill -9` of one of a node's executors, whatever it is at; which one is a matter of `turn`.
    pub fn kill_executor(&self, node: &str, turn: usize) -> Result<()> {
        let executors = self.kubelet(self.state.node(node)?)?.children();
        ensure!(!executors.is_empty(), "node `{node}` has no executor");
        executors[turn % executors.len()].kill()
    }

    /// Starts the kubelet of a killed node again, on its old data, and waits until it is ready.
    pub async fn restart_node(&mut self, node: &str) -> Result<()> {
        let position = self.state.node(node)?;
        let running = self.state.nodes[position].kubelet.is_some_and(Process::is_alive);
        ensure!(!running, "node `{node}` is running; kill it first");
        self.start_kubelet(position)?;
        self.wait_until_ready(position).await
    }

    /// Stops a node's kubelet and executors where they stand (SIGSTOP), as a machine that hangs.
    pub fn pause_node(&mut self, node: &str) -> Result<()> {
        self.signal_node(node, Signal::STOP, true)
    }

    /// Lets a paused node go on.
    pub fn resume_node(&mut self, node: &str) -> Result<()> {
        self.signal_node(node, Signal::CONT, false)
    }

    /// `kill -9` of the API server.
    pub fn kill_apiserver(&mut self) -> Result<()> {
        self.state.apiserver.take().context("the API server is not running")?.kill()?;
        self.save()
    }

    /// Starts the API server on its old data and port; one that runs is killed before.
    pub async fn restart_apiserver(&mut self) -> Result<()> {
        if let Some(process) = self.state.apiserver.take() {
            process.kill()?;
        }
        self.start_apiserver().await
    }

    /// Deletes an artifact from the API server's disk, as a disk that forgets.
    pub fn lose_artifact(&self, digest: &Digest) -> Result<()> {
        let hex = digest.hex();
        let path = self.folder.join("apiserver/artifacts/sha256").join(&hex[..2]).join(&hex);
        fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))
    }

    fn signal_node(&mut self, node: &str, signal: Signal, paused: bool) -> Result<()> {
        let position = self.state.node(node)?;
        let kubelet = self.kubelet(position)?;
        kubelet.signal(signal)?;
        for executor in kubelet.children() {
            executor.signal(signal)?;
        }
        self.state.nodes[position].paused = paused;
        self.save()
    }

    fn kubelet(&self, position: usize) -> Result<Process> {
        let node = &self.state.nodes[position];
        let running = node.kubelet.filter(|kubelet| kubelet.is_alive());
        running.with_context(|| format!("the kubelet of {} is not running", node.name))
    }
}
