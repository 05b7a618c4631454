//! The reconcilers of a cluster: one leads, the others stand by.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::Signal;
use schemas::well_known::SYSTEM_NAMESPACE;

use super::{Cluster, start::free_port, state::Reconciler};
use crate::{deadline, process::Process, scrape};

/// From a reconciler's start to its caches being filled, on the reference machine.
const START_TIME: Duration = Duration::from_secs(15);
/// The Lease that they hold in turn.
const LEASE_NAME: &str = "pd-reconciler";

impl Cluster {
    /// Starts one more reconciler with further flags; answers its name.
    pub fn add_reconciler(&mut self, arguments: &[&str]) -> Result<String> {
        let name = format!("reconciler-{}", self.state.reconcilers.len());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let metrics_port = free_port()?;
        self.state.reconcilers.push(Reconciler { name: name.clone(), arguments, metrics_port, process: None });
        self.start_reconciler(self.state.reconcilers.len() - 1)?;
        Ok(name)
    }

    /// Starts a reconciler that was killed again.
    pub fn restart_reconciler(&mut self, name: &str) -> Result<()> {
        let position = self.reconciler_position(name)?;
        let running = self.state.reconcilers[position].process.is_some_and(Process::is_alive);
        ensure!(!running, "{name} is running; kill it first");
        self.start_reconciler(position)
    }

    /// `kill -9` of a reconciler.
    pub fn kill_reconciler(&mut self, name: &str) -> Result<()> {
        let position = self.reconciler_position(name)?;
        let process = self.state.reconcilers[position].process.take();
        process.with_context(|| format!("{name} is not running"))?.kill()?;
        self.save()
    }

    /// Stops a reconciler where it stands (SIGSTOP), as a machine that hangs.
    pub fn pause_reconciler(&mut self, name: &str) -> Result<()> {
        self.reconciler(name)?.signal(Signal::STOP)
    }

    /// Lets a paused reconciler go on.
    pub fn resume_reconciler(&mut self, name: &str) -> Result<()> {
        self.reconciler(name)?.signal(Signal::CONT)
    }

    /// The process of a reconciler.
    pub fn reconciler(&self, name: &str) -> Result<Process> {
        let process = self.state.reconcilers[self.reconciler_position(name)?].process;
        process.with_context(|| format!("{name} is not running"))
    }

    /// What a reconciler answers to a GET of a path of its metrics page.
    pub async fn reconciler_page(&self, name: &str, path: &str) -> Result<scrape::Answer> {
        let position = self.reconciler_position(name)?;
        scrape::get(self.state.reconcilers[position].metrics_port, path).await
    }

    /// Waits until a reconciler says that it is ready; answers what it says.
    pub async fn until_reconciler_ready(&self, name: &str) -> Result<String> {
        deadline::until(&format!("{name} to be ready"), START_TIME, async || {
            let answer = self.reconciler_page(name, "/readyz").await?;
            Ok((answer.code == 200).then_some(answer.text))
        })
        .await
    }

    /// Name of the reconciler that the Lease names; none while it names nobody.
    pub async fn leader(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.client().await?, SYSTEM_NAMESPACE);
        let lease = leases.get_opt(LEASE_NAME).await.context("reading the reconcilers' Lease")?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        Ok(holder.rsplit_once('_').map(|(name, _)| name.to_owned()))
    }

    fn reconciler_position(&self, name: &str) -> Result<usize> {
        let position = self.state.reconcilers.iter().position(|reconciler| reconciler.name == name);
        position.with_context(|| format!("no reconciler `{name}` in this cluster"))
    }

    fn start_reconciler(&mut self, position: usize) -> Result<()> {
        let Reconciler { name, arguments, metrics_port, .. } = &self.state.reconcilers[position];
        let mut command = Command::new(self.binaries.program("pd-reconciler"));
        command.arg("--kubeconfig").arg(self.folder.join("apiserver/reconciler.kubeconfig"));
        command.args(["--name", name, "--metrics-listen", &format!("127.0.0.1:{metrics_port}")]).args(arguments);
        // The first one is just `reconciler` to people who look for its log.
        let log = if position == 0 { "reconciler" } else { name.as_str() };
        let process = Process::start(&mut command, &self.log(log))?;
        self.state.reconcilers[position].process = Some(process);
        self.save()
    }
}
