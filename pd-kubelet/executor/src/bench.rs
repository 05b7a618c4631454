//! The bare loop: what this machine can do at most, without pipes, limits and logs.
//!
//! In: a component and how often to run it. Out: one line for people and programs. It shares the engine and the
//! host's functions with the real thing, so that the difference is the executor's own cost.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use executor_protocol::Blob;
use wasmtime::Store;

use crate::blobs::{Blobs, Link};
use crate::compile::load_source;
use crate::engine::engine;
use crate::host::{
    Host, Outside,
    bindings::{
        Task, TaskPre,
        exports::processdistro::task::contract::{Failure, Layout},
    },
};
use crate::pipe::Outbox;
use crate::prepare::check;
use crate::watchdog::{Calls, What};

/// Runs before the clock starts: caches, page tables and the processor's clock settle.
const WARM_UP: u64 = 1_000;

/// Calls `run` `count` times, a fresh instance each, on this thread, and prints `runs_per_second=…`.
pub(crate) fn bench(component: &Path, params: &str, count: u64) -> Result<()> {
    ensure!(count > 0, "--count must be at least 1");
    ensure!(serde_json::from_str::<serde_json::Value>(params).is_ok(), "--params is not JSON: {params}");
    let path = component.to_str().context("--component is not a UTF-8 path")?;
    let engine = engine()?;
    let task = check(&engine, &load_source(&engine, path)?)?;
    let looped = Loop { task, params, outside: alone() };
    let layout = looped.plan()?;
    ensure!(layout.subtasks > 0, "the plan cuts these params into no subtasks, so there is nothing to run");
    looped.outside.blobs().seed(Blob::State, layout.state);
    looped.runs(WARM_UP.min(count), layout.subtasks)?;
    let started = Instant::now();
    looped.runs(count, layout.subtasks)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("runs_per_second={:.0} runs={count} seconds={seconds:.3}", count as f64 / seconds);
    Ok(())
}

struct Loop<'a> {
    task: TaskPre<Host>,
    params: &'a str,
    outside: Arc<Outside>,
}

impl Loop<'_> {
    fn plan(&self) -> Result<Layout> {
        let mut store = self.store(What::Plan);
        let instance = self.task.instantiate(&mut store)?;
        let answer = instance.processdistro_task_contract().call_plan(&mut store, self.params)?;
        answered("plan", answer)
    }

    fn runs(&self, count: u64, subtasks: u64) -> Result<()> {
        for call in 0..count {
            let index = call % subtasks;
            let mut store = self.store(What::Run(index));
            let instance: Task = self.task.instantiate(&mut store)?;
            let answer = instance.processdistro_task_contract().call_run(&mut store, self.params, index)?;
            answered("run", answer)?;
        }
        Ok(())
    }

    fn store(&self, what: What) -> Store<Host> {
        Store::new(self.task.engine(), Host::new(&self.outside, what, 1, Some(u64::MAX), u64::MAX))
    }
}

fn answered<T>(function: &str, answer: Result<T, Failure>) -> Result<T> {
    match answer {
        Ok(value) => Ok(value),
        Err(Failure::Retryable(text) | Failure::Permanent(text)) => bail!("`{function}` failed: {text}"),
    }
}

/// A world without a kubelet: what a guest sends goes nowhere, and inputs are not there.
fn alone() -> Arc<Outside> {
    let outbox = Outbox::new(Box::new(std::io::sink()));
    let blobs = Mutex::new(Blobs::new(Link { outbox: Arc::clone(&outbox), answers: None }));
    Arc::new(Outside { outbox, calls: Calls::new(), cancels: Arc::default(), blobs })
}
