//! One call into the guest.
//!
//! In: a prepared task and which of its functions to call. Out: a typed outcome with log, time and memory.
//! Nothing of an instance outlives its call, but where the job asks for batches: there the next index may have it.

use std::{collections::BTreeSet, sync::Arc, sync::atomic::Ordering};

use executor_protocol::{Call, Ended, Isolation, Layout, Limit, Outcome};
use wasmtime::{Result, Store, UpdateDeadline, component::Instance};

use crate::host::bindings::{
    Task,
    exports::processdistro::task::contract::{Failure, Layout as GuestLayout},
};
use crate::host::{Host, Outside, Rights};
use crate::limits::{OutOfMemory, call_bytes_max, merge_bytes_max, output_bytes_max};
use crate::prepare::Prepared;
use crate::trap::{self, Bytes, Stage};
use crate::watchdog::{Finished, Halted, What, limits_with_log};

/// A media type longer than this is not one (RFC 6838 allows 127 characters on each side of the slash).
const MEDIA_TYPE_BYTES_MAX: usize = 255;
/// Calls of one instance in a batch: a fresh one costs 20 µs (Python: 1 ms), spread over so many it is nothing, and
/// what leaks at each call has no time to grow.
const BATCH_CALLS_MAX: u32 = 10_000;
/// Of its memory limit an instance may have a half at the end of a call and is still used again: what creeps up is
/// thrown away long before it fails an index.
const BATCH_MEMORY_SHARE: u64 = 2;

/// Where calls are made: what they need and the number of the request they are made for.
pub(crate) struct Caller<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) outside: &'a Arc<Outside>,
    pub(crate) request: u64,
    /// The instance that the last index left.
    pub(crate) kept: &'a mut Option<Live>,
}

/// An instance that can be called.
pub(crate) struct Live {
    pub(crate) store: Store<Host>,
    pub(crate) instance: Instance,
    task: Task,
    calls: u32,
}

impl Live {
    fn is_worn(&self, memory_bytes_max: u64) -> bool {
        self.calls >= BATCH_CALLS_MAX || self.store.data().meter.bytes() > memory_bytes_max / BATCH_MEMORY_SHARE
    }
}

impl Caller<'_> {
    /// Calls `plan`.
    pub(crate) fn plan(&mut self) -> Call<Layout> {
        let params = &self.prepared.context.params;
        let plan = |live: &mut Live| live.task.processdistro_task_contract().call_plan(&mut live.store, params);
        let (call, _) = self.call(What::Plan, plan);
        let limit = self.output_bytes_max();
        checked(call, |layout| layout_of(layout, limit))
    }

    /// Calls `run` for an index.
    pub(crate) fn run(&mut self, index: u64) -> Ended {
        let params = &self.prepared.context.params;
        let run = |live: &mut Live| live.task.processdistro_task_contract().call_run(&mut live.store, params, index);
        let (call, found) = self.call(What::Run(index), run);
        let limit = self.output_bytes_max();
        let call = checked(call, |output: Vec<u8>| match output.len() as u64 {
            bytes if bytes > limit => {
                Err((format!("the output has {bytes} bytes, more than the limit of {limit}"), Some(Limit::Output)))
            }
            _ => Ok(output),
        });
        if matches!(call.outcome, Outcome::Success(_)) {
            return Ended { index, call, found: found.into_iter().collect(), checked: None };
        }
        *self.kept = None;
        Ended { index, call, found: Vec::new(), checked: None }
    }

    /// Calls `merge`; on success its whole result has been sent.
    pub(crate) fn merge(&mut self, subtasks: u64) -> Call<()> {
        let params = &self.prepared.context.params;
        self.outside.blobs().set_parts(subtasks);
        let (call, _) = self.call(What::Merge, |live| {
            let answer = live.task.processdistro_task_contract().call_merge(&mut live.store, params, subtasks)?;
            live.store.data_mut().flush_result()?;
            Ok(answer)
        });
        self.outside.blobs().set_parts(0);
        call
    }

    /// Makes one call; beside its outcome, what it found.
    pub(crate) fn call<T>(
        &mut self,
        what: What,
        function: impl FnOnce(&mut Live) -> Result<Result<T, Failure>>,
    ) -> (Call<T>, BTreeSet<u64>) {
        let context = &self.prepared.context;
        let calls = &self.outside.calls;
        calls.begin(what, context);
        let ready = self.ready(what);
        let (answer, mut live) = match ready {
            Ok(mut live) => {
                let answer = function(&mut live).map_err(|error| (error, Stage::Call));
                (answer, Some(live))
            }
            Err(error) => (Err((error, Stage::Instantiate)), None),
        };
        let Finished { log, wall_ns, overdue } = calls.end();
        if let (Some(core_dumps), Some(live), Err((error, _))) = (&self.outside.core_dumps, &mut live, &answer) {
            core_dumps.keep(error, &mut live.store);
        }
        let (outcome, limit) = match (overdue, answer) {
            (Some((limit, text)), _) => (Outcome::TimedOut(text), Some(limit)),
            (None, Ok(Ok(value))) => (Outcome::Success(value), None),
            (None, Ok(Err(Failure::Retryable(text)))) => (Outcome::Retryable(text), None),
            (None, Ok(Err(Failure::Permanent(text)))) => (Outcome::Permanent(text), None),
            (None, Err((error, stage))) => trap::outcome(&error, stage, log.last_error(), self.bytes_max(what)),
        };
        let memory_peak_bytes = calls.peak.load(Ordering::Relaxed);
        let limits = limits_with_log(limit, &log);
        let call = Call { outcome, log: log.into_text(), wall_ns, memory_peak_bytes, limits };
        let found = live.as_mut().map(|live| std::mem::take(&mut live.store.data_mut().found)).unwrap_or_default();
        if context.isolation == Isolation::Batch && what.index().is_some() {
            *self.kept = live.filter(|live| !live.is_worn(context.memory_bytes_max));
        }
        (call, found)
    }

    /// The instance that the last index left, or a fresh one.
    fn ready(&mut self, what: What) -> Result<Live> {
        let Prepared { context, task, indices, initial_bytes, .. } = self.prepared;
        // Asked here, since the engine sets up a memory's first contents before it asks.
        if *initial_bytes > context.memory_bytes_max {
            return Err(OutOfMemory { wanted: *initial_bytes, limit: context.memory_bytes_max }.into());
        }
        let mut live = match self.kept.take() {
            Some(mut live) if what.index().is_some() => {
                live.store.data_mut().begin(what, self.request);
                self.outside.calls.peak.store(live.store.data().meter.bytes(), Ordering::Relaxed);
                live
            }
            _ => {
                let host = Host::new(self.outside, what, self.request, Rights::of(context));
                let mut store = Store::new(task.engine(), host);
                store.limiter(|host| &mut host.meter);
                store.set_hostcall_fuel(self.call_bytes_max(what));
                if self.outside.calls.are_checked() {
                    check_in_loops(&mut store);
                }
                let instance = task.instance_pre().instantiate(&mut store)?;
                let task = indices.load(&mut store, &instance)?;
                Live { store, instance, task, calls: 0 }
            }
        };
        live.calls += 1;
        Ok(live)
    }

    pub(crate) fn output_bytes_max(&self) -> u64 {
        output_bytes_max(&self.prepared.context)
    }

    fn call_bytes_max(&self, what: What) -> usize {
        let context = &self.prepared.context;
        if what == What::Merge { merge_bytes_max(context) } else { call_bytes_max(context) }
    }

    fn bytes_max(&self, what: What) -> Bytes {
        Bytes { output_max: self.output_bytes_max(), call_max: self.call_bytes_max(what) as u64 }
    }
}

/// At each tick of the engine's clock the guest looks whether it is to end.
fn check_in_loops(store: &mut Store<Host>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        if store.data().is_halted() { Err(Halted.into()) } else { Ok(UpdateDeadline::Continue(1)) }
    });
}

/// The call with its answer looked through: a text says what is wrong with it.
fn checked<T, U>(call: Call<T>, check: impl FnOnce(T) -> Result<U, (String, Option<Limit>)>) -> Call<U> {
    let mut call = call.map(check);
    if let Outcome::Success(Err((wrong, limit))) = call.outcome {
        call.limits.extend(limit);
        call.outcome = Outcome::InvalidOutput(wrong);
    }
    call.map(|answer| answer.unwrap_or_else(|_| unreachable!("invariant: a wrong answer was taken out above")))
}

fn layout_of(layout: GuestLayout, state_bytes_max: u64) -> Result<Layout, (String, Option<Limit>)> {
    let GuestLayout { subtasks, media_type, goal, state } = layout;
    if state.len() as u64 > state_bytes_max {
        let text = format!("the plan's state has {} bytes, more than the limit of {state_bytes_max}", state.len());
        return Err((text, Some(Limit::Output)));
    }
    if media_type.len() > MEDIA_TYPE_BYTES_MAX || media_type.chars().any(char::is_control) {
        return Err(("the plan's media type is not one: at most 255 printable characters".to_owned(), None));
    }
    Ok(Layout { subtasks, media_type, goal, state })
}
