//! Running a task natively, without any sandbox.
//!
//! In: a task, params as JSON text, inputs. Out: the result and everything the task told its host. Native builds only.

pub(crate) mod kernels;

pub use kernels::with_kernels;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::{Failure, Host, Layout, Level, Task, Verify, call, metadata};

/// A host that lives in memory.
#[derive(Default)]
pub struct MemoryHost {
    inputs: BTreeMap<String, Vec<u8>>,
    state: RefCell<Vec<u8>>,
    parts: RefCell<BTreeMap<u64, Vec<u8>>>,
    result: RefCell<Vec<u8>>,
    log: RefCell<Vec<(Level, String)>>,
    found: RefCell<BTreeSet<u64>>,
    cancelled: Cell<bool>,
    part_calls: Cell<u64>,
}

impl MemoryHost {
    /// A host with these inputs.
    pub fn new<'b>(inputs: impl IntoIterator<Item = (&'b str, &'b [u8])>) -> Self {
        let inputs = inputs.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
        Self { inputs, ..Self::default() }
    }

    /// Sets what `state` gives.
    pub fn set_state(&self, state: Vec<u8>) {
        *self.state.borrow_mut() = state;
    }

    /// Sets what `part(index)` gives.
    pub fn set_part(&self, index: u64, bytes: Vec<u8>) {
        self.parts.borrow_mut().insert(index, bytes);
    }

    /// Takes the output of `index` away, as when it failed or was not needed.
    pub fn remove_part(&self, index: u64) {
        self.parts.borrow_mut().remove(&index);
    }

    /// Sets what `cancelled` answers.
    pub fn set_cancelled(&self, cancelled: bool) {
        self.cancelled.set(cancelled);
    }

    /// The result so far; empties it.
    pub fn take_result(&self) -> Vec<u8> {
        self.result.take()
    }

    /// The targets reported as found.
    pub fn found_targets(&self) -> Vec<u64> {
        self.found.borrow().iter().copied().collect()
    }

    /// The log's lines.
    pub fn log_lines(&self) -> Vec<(Level, String)> {
        self.log.borrow().clone()
    }

    /// How often the parts were asked for sizes or bytes.
    pub fn part_calls(&self) -> u64 {
        self.part_calls.get()
    }

    fn count_part_call(&self) {
        self.part_calls.set(self.part_calls.get() + 1);
    }
}

fn slice(bytes: &[u8], offset: u64, length: u32) -> Vec<u8> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(length as usize).min(bytes.len());
    bytes[start..end].to_vec()
}

impl Host for MemoryHost {
    fn log(&self, level: Level, text: &str) {
        self.log.borrow_mut().push((level, text.to_owned()));
    }

    fn progress(&self, _done: u64, _total: u64) {}

    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    fn found(&self, target: u64) {
        self.found.borrow_mut().insert(target);
    }

    fn input_size(&self, name: &str) -> Option<u64> {
        self.inputs.get(name).map(|bytes| bytes.len() as u64)
    }

    fn read_input(&self, name: &str, offset: u64, length: u32) -> Vec<u8> {
        self.inputs.get(name).map(|bytes| slice(bytes, offset, length)).unwrap_or_default()
    }

    fn state_size(&self) -> u64 {
        self.state.borrow().len() as u64
    }

    fn read_state(&self, offset: u64, length: u32) -> Vec<u8> {
        slice(&self.state.borrow(), offset, length)
    }

    fn part_size(&self, index: u64) -> Option<u64> {
        self.count_part_call();
        self.parts.borrow().get(&index).map(|bytes| bytes.len() as u64)
    }

    fn read_part(&self, index: u64, offset: u64, length: u32) -> Vec<u8> {
        self.count_part_call();
        self.parts.borrow().get(&index).map(|bytes| slice(bytes, offset, length)).unwrap_or_default()
    }

    fn write_result(&self, bytes: &[u8]) {
        self.result.borrow_mut().extend_from_slice(bytes);
    }
}

/// A job that ran to its end in memory.
pub struct Finished {
    /// What `plan` answered.
    pub layout: Layout,
    /// What `merge` wrote.
    pub result: Vec<u8>,
    /// The host with everything the task told it.
    pub host: MemoryHost,
}

/// Plans a job and runs all its indexes, the last one first, without merging.
pub fn run_parts<T: Task>(params: &str, inputs: &[(&str, &[u8])]) -> Result<(Layout, MemoryHost), Failure> {
    let host = MemoryHost::new(inputs.iter().copied());
    let layout = call::plan::<T>(params, &host)?;
    host.set_state(layout.state.clone());
    for index in (0..layout.subtasks).rev() {
        let output = call::run::<T>(params, index, &host)?;
        host.set_part(index, output);
    }
    Ok((layout, host))
}

/// Merges the parts that `host` has.
pub fn merge<T: Task>(params: &str, subtasks: u64, host: &MemoryHost) -> Result<Vec<u8>, Failure> {
    call::merge::<T>(params, subtasks, host)?;
    Ok(host.take_result())
}

/// Shows an output to `verify`; `host` has the job's inputs and the plan's state, as after [`run_parts`].
pub fn verify<T: Verify>(
    params: &str,
    index: u64,
    output: &[u8],
    seed: u64,
    host: &MemoryHost,
) -> Result<bool, Failure> {
    call::verify::<T>(params, index, output, seed, host)
}

/// Runs a whole job: plan, every index, merge.
pub fn run_whole<T: Task>(params: &str, inputs: &[(&str, &[u8])]) -> Result<Finished, Failure> {
    let (layout, host) = run_parts::<T>(params, inputs)?;
    let result = merge::<T>(params, layout.subtasks, &host)?;
    Ok(Finished { layout, result, host })
}

/// Compares `task.json` in `folder` with the code; with `PD_REGENERATE` set it writes the file instead. Also checks that
/// serde knows every property of the schema, so that no alias is promised that the code refuses.
pub fn assert_metadata_is_fresh<T: Task>(folder: &str) {
    let current = metadata::metadata::<T>();
    assert_properties_known::<T>(&current["paramsSchema"]["properties"]);
    let mut text = serde_json::to_string_pretty(&current).expect("invariant: a JSON value is JSON");
    text.push('\n');
    let file = Path::new(folder).join("task.json");
    if std::env::var_os("PD_REGENERATE").is_some() {
        std::fs::write(&file, &text).expect("task.json can be written");
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == text, "{} is stale: run the tests with PD_REGENERATE=1 and commit it", file.display());
}

fn assert_properties_known<T: Task>(properties: &Value) {
    for name in properties.as_object().into_iter().flat_map(|properties| properties.keys()) {
        // No param is a list of a list, so this value has the wrong type for every known field.
        let error = serde_json::from_value::<T::Params>(json!({ name: [[]] })).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(!error.contains("unknown field"), "the schema promises `{name}`, but: {error}");
    }
}
