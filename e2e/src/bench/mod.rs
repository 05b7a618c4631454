//! Benchmarks of the whole system: real processes, one run, medians, and what they are measured beside.

mod alone;
mod api;
mod client;
mod etcd;
mod exec;
mod latency;
mod load;
mod peers;
mod reopen;
mod scale;
mod store;
mod subtasks;
mod throughput;
mod watch;
mod wire;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use futures::TryStreamExt;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use schemas::{Job, job::conditions};
use serde_json::{Value, json};

use crate::scenario::has;

/// Benchmarks of the whole system.
#[derive(Parser)]
#[command(name = "pd-bench", version)]
pub struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From apply to Complete of a job of 16 trivial subtasks on a warm cluster.
    Latency(latency::Options),
    /// Trivial subtasks a second, end to end, beside the same component in a bare wasmtime loop.
    Throughput(throughput::Options),
    /// What the sandbox costs: no-op and kernels through the system, over the bare loop and native libraries.
    Exec(exec::Options),
    /// The same jobs on ProcessDistro, Dask.distributed, Ray, Python's pool and xargs, on two slots each.
    Peers(peers::Options),
    /// Durable writes a second through the API server, beside etcd and the bare disk.
    Store(store::Options),
    /// A thousand hollow nodes and a million subtasks in a hundred jobs: plan time, memory, utilisation.
    Scale(scale::Options),
    /// What requests of each kind cost, and idle watchers.
    Api(api::Options),
    /// From a file's save to its object's being applied, by `pdctl watch`.
    Watch(watch::Options),
    /// What a person waits for at the command line.
    Client(client::Options),
}

/// Runs one and prints its table.
pub async fn run(options: Options) -> Result<()> {
    match options.bench {
        Bench::Latency(options) => latency::run(options).await,
        Bench::Throughput(options) => throughput::run(options).await,
        Bench::Exec(options) => exec::run(options).await,
        Bench::Peers(options) => peers::run(options).await,
        Bench::Store(options) => store::run(options).await,
        Bench::Scale(options) => scale::run(options).await,
        Bench::Api(options) => api::run(options).await,
        Bench::Watch(options) => watch::run(options).await,
        Bench::Client(options) => client::run(options).await,
    }
}

/// A noop Job.
fn noop(name: &str, count: u64) -> Value {
    json!({
        "apiVersion": "processdistro.dev/v1",
        "kind": "Job",
        "metadata": {"name": name},
        // Measured is what is computed.
        "spec": {"task": {"name": "noop", "params": {"count": count}}, "cache": false},
    })
}

/// Applies a Job and follows it by watch until it is Complete.
async fn run_job(client: &Client, name: &str, job: &Value, limit: Duration) -> Result<Job> {
    let jobs: Api<Job> = Api::default_namespaced(client.clone());
    jobs.patch(name, &PatchParams::apply("pd-bench"), &Patch::Apply(job)).await.context("applying a job")?;
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(watcher(jobs, config).applied_objects());
    let ended = async {
        while let Some(job) = events.try_next().await? {
            ensure!(!has(&job, conditions::FAILED), "job {name} failed: {:?}", job.status);
            if has(&job, conditions::COMPLETE) {
                return Ok(job);
            }
        }
        bail!("the watch of job {name} ended")
    };
    tokio::time::timeout(limit, ended).await.with_context(|| format!("job {name} did not end within {limit:?}"))?
}

/// Minimum, median and maximum.
fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    (values[0], values[last / 2], values[last])
}
