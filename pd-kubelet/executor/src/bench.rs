//! The bare loop: what this machine can do at most, without pipes, limits and logs.
//!
//! In: a component, its params and inputs, and how often to run it. Out: one line for people and programs. It shares the
//! engine and the host's functions with the real thing, so that the difference is the executor's own cost.

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use executor_protocol::Blob;
use wasmtime::Store;

use crate::compile::from_bytes;
use crate::engine::{Variant, variant};
use crate::given::{Given, component};
use crate::host::{
    Host, Outside, Rights,
    bindings::{
        Task, TaskPre,
        exports::processdistro::task::contract::{Failure, Layout},
    },
};
use crate::local::{Source, lock, world};
use crate::prepare::check;
use crate::usage::cpu_time;
use crate::watchdog::What;

/// Runs before the clock starts: caches, page tables and the processor's clock settle.
const WARM_UP: u64 = 1_000;
/// Of the measured runs a tenth is enough, where each takes long.
const WARM_UP_SHARE: u64 = 10;

/// Flags of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// A task's component
    #[arg(long, value_name = "FILE")]
    pub component: PathBuf,
    #[command(flatten)]
    given: Given,
    /// How many calls; the indexes of the job in turn
    #[arg(long, default_value_t = 100_000)]
    pub count: u64,
    /// One instance for all calls
    #[arg(long)]
    pub reuse: bool,
    /// Check a flag in every loop of the guest, as time limits inside a process do
    #[arg(long)]
    pub epochs: bool,
    /// Ask the system for each instance's memory anew
    #[arg(long)]
    pub no_pool: bool,
    /// Name the guest's functions for a profiler: `perf record pd-executor bench --perfmap …`
    #[arg(long)]
    pub perfmap: bool,
}

/// Calls `run` on this thread and prints `runs_per_second=…`.
pub(crate) fn bench(options: &Bench) -> Result<()> {
    ensure!(options.count > 0, "--count must be at least 1");
    let bytes = component(&options.component)?;
    let params = options.given.params()?;
    let chosen = Variant {
        without_pool: options.no_pool,
        with_epochs: options.epochs,
        for_profiler: options.perfmap,
        ..Variant::default()
    };
    let engine = variant(chosen)?;
    let task = check(&engine, &from_bytes(&engine, &bytes)?)?;
    let sources = options.given.sources()?;
    let (outside, _replies) = world(&sources, None);
    let looped = Loop { task, params, outside, options };
    let layout = looped.plan()?;
    ensure!(layout.subtasks > 0, "the plan cuts these params into no subtasks, so there is nothing to run");
    lock(&sources).blobs.insert(Blob::State, Source::Bytes(layout.state));
    looped.runs(WARM_UP.min(options.count.div_ceil(WARM_UP_SHARE)), layout.subtasks)?;
    let (started, cpu_before) = (Instant::now(), cpu_time());
    looped.runs(options.count, layout.subtasks)?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_time().saturating_sub(cpu_before).as_secs_f64());
    let rate = options.count as f64 / seconds;
    println!("runs_per_second={rate:.3} runs={} seconds={seconds:.3} cpu_seconds={cpu:.3}", options.count);
    Ok(())
}

struct Loop<'a> {
    task: TaskPre<Host>,
    params: String,
    outside: Arc<Outside>,
    options: &'a Bench,
}

impl Loop<'_> {
    fn plan(&self) -> Result<Layout> {
        let mut store = self.store(What::Plan);
        let instance = self.task.instantiate(&mut store)?;
        let answer = instance.processdistro_task_contract().call_plan(&mut store, &self.params)?;
        answered("plan", answer)
    }

    fn runs(&self, count: u64, subtasks: u64) -> Result<()> {
        let mut kept: Option<(Store<Host>, Task)> = None;
        for call in 0..count {
            let index = call % subtasks;
            let (mut store, instance) = if let Some((mut store, instance)) = kept.take() {
                store.data_mut().begin(What::Run(index), 1);
                (store, instance)
            } else {
                let mut store = self.store(What::Run(index));
                let instance = self.task.instantiate(&mut store)?;
                (store, instance)
            };
            let answer = instance.processdistro_task_contract().call_run(&mut store, &self.params, index)?;
            answered("run", answer)?;
            kept = self.options.reuse.then_some((store, instance));
        }
        Ok(())
    }

    fn store(&self, what: What) -> Store<Host> {
        let rights =
            Rights { goal: Some(u64::MAX), memory_bytes_max: u64::MAX, kernels: !self.options.given.without_kernels };
        let mut store = Store::new(self.task.engine(), Host::new(&self.outside, what, 1, rights));
        if self.options.epochs {
            // Nobody counts them up: what is measured is the looking.
            store.set_epoch_deadline(u64::MAX >> 1);
        }
        store
    }
}

fn answered<T>(function: &str, answer: Result<T, Failure>) -> Result<T> {
    match answer {
        Ok(value) => Ok(value),
        Err(Failure::Retryable(text) | Failure::Permanent(text)) => bail!("`{function}` failed: {text}"),
    }
}
