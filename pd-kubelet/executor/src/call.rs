//! One call into the guest, in a fresh instance.
//!
//! In: a prepared task and which of its functions to call. Out: a typed outcome with log, time and memory.
//! Nothing of an instance outlives its call.

use std::{collections::BTreeSet, sync::Arc, sync::atomic::Ordering};

use executor_protocol::{Call, Ended, Layout, Outcome};
use wasmtime::{Result, Store};

use crate::host::bindings::{
    Task,
    exports::processdistro::task::contract::{Failure, Guest, Layout as GuestLayout},
};
use crate::host::{Host, Outside};
use crate::limits::{call_bytes_max, merge_bytes_max, output_bytes_max};
use crate::prepare::Prepared;
use crate::trap::{self, Stage};
use crate::watchdog::What;

/// A media type longer than this is not one (RFC 6838 allows 127 characters on each side of the slash).
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// Where calls are made: what they need and the number of the request they are made for.
pub(crate) struct Caller<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) outside: &'a Arc<Outside>,
    pub(crate) request: u64,
}

impl Caller<'_> {
    /// Calls `plan`.
    pub(crate) fn plan(&self) -> Call<Layout> {
        let params = &self.prepared.context.params;
        let (call, _) = self.call(What::Plan, |guest, store| guest.call_plan(store, params));
        checked(call, |layout| layout_of(layout, self.output_bytes_max()))
    }

    /// Calls `run` for an index.
    pub(crate) fn run(&self, index: u64) -> Ended {
        let params = &self.prepared.context.params;
        let (call, found) = self.call(What::Run(index), |guest, store| guest.call_run(store, params, index));
        let limit = self.output_bytes_max();
        let call = checked(call, |output: Vec<u8>| match output.len() as u64 {
            bytes if bytes > limit => Err(format!("the output has {bytes} bytes, more than the limit of {limit}")),
            _ => Ok(output),
        });
        let found = if matches!(call.outcome, Outcome::Success(_)) { found.into_iter().collect() } else { Vec::new() };
        Ended { index, call, found }
    }

    /// Calls `merge`; on success its whole result has been sent.
    pub(crate) fn merge(&self, subtasks: u64) -> Call<()> {
        let params = &self.prepared.context.params;
        self.outside.blobs().set_parts(subtasks);
        let (call, _) = self.call(What::Merge, |guest, store| {
            let answer = guest.call_merge(&mut *store, params, subtasks)?;
            store.data_mut().flush_result()?;
            Ok(answer)
        });
        self.outside.blobs().set_parts(0);
        call
    }

    fn call<T>(
        &self,
        what: What,
        function: impl FnOnce(&Guest, &mut Store<Host>) -> Result<Result<T, Failure>>,
    ) -> (Call<T>, BTreeSet<u64>) {
        let Prepared { context, task } = self.prepared;
        let calls = &self.outside.calls;
        calls.begin(what, context);
        let host = Host::new(self.outside, what, self.request, context.goal, context.memory_bytes_max);
        let mut store = Store::new(task.engine(), host);
        store.limiter(|host| &mut host.meter);
        store.set_hostcall_fuel(if what == What::Merge { merge_bytes_max(context) } else { call_bytes_max(context) });
        let answer = match task.instantiate(&mut store) {
            Ok(instance) => {
                let guest = Task::processdistro_task_contract(&instance);
                function(guest, &mut store).map_err(|error| (error, Stage::Call))
            }
            Err(error) => Err((error, Stage::Instantiate)),
        };
        let (log, wall_ns) = calls.end();
        let outcome = match answer {
            Ok(Ok(value)) => Outcome::Success(value),
            Ok(Err(Failure::Retryable(text))) => Outcome::Retryable(text),
            Ok(Err(Failure::Permanent(text))) => Outcome::Permanent(text),
            Err((error, stage)) => trap::outcome(&error, stage, log.last_error(), self.output_bytes_max()),
        };
        let memory_peak_bytes = calls.peak.load(Ordering::Relaxed);
        let call = Call { outcome, log: log.into_text(), wall_ns, memory_peak_bytes };
        (call, std::mem::take(&mut store.data_mut().found))
    }

    fn output_bytes_max(&self) -> u64 {
        output_bytes_max(&self.prepared.context)
    }
}

/// The call with its answer looked through: a text says what is wrong with it.
fn checked<T, U>(call: Call<T>, check: impl FnOnce(T) -> Result<U, String>) -> Call<U> {
    let call = call.map(check);
    let Call { outcome, log, wall_ns, memory_peak_bytes } = call;
    let outcome = match outcome {
        Outcome::Success(Err(wrong)) => Outcome::InvalidOutput(wrong),
        other => other.map(|answer| answer.expect("invariant: a wrong answer was taken out above")),
    };
    Call { outcome, log, wall_ns, memory_peak_bytes }
}

fn layout_of(layout: GuestLayout, state_bytes_max: u64) -> Result<Layout, String> {
    let GuestLayout { subtasks, media_type, goal, state } = layout;
    if state.len() as u64 > state_bytes_max {
        return Err(format!("the plan's state has {} bytes, more than the limit of {state_bytes_max}", state.len()));
    }
    if media_type.len() > MEDIA_TYPE_BYTES_MAX || media_type.chars().any(char::is_control) {
        return Err("the plan's media type is not one: at most 255 printable characters".to_owned());
    }
    Ok(Layout { subtasks, media_type, goal, state })
}
