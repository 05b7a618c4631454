//! The machine as a task sees it.
//!
//! In: the calls of `interface host` in the contract, one method each. Out: the same, as readers and a writer that a
//! task is comfortable with. It must not know whether the host is the sandbox or a test.

use crate::{Failure, Reader, ResultWriter};

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of interest to the task's author only.
    Debug,
    /// What the task is doing.
    Info,
    /// Something a user should look at.
    Warn,
    /// Why the task fails.
    Error,
}

/// All that a task can ask of the machine it runs on; the contract's interface `host`, method by method.
pub trait Host {
    /// One line for the log of this subtask.
    fn log(&self, level: Level, text: &str);
    /// How far this call has come.
    fn progress(&self, done: u64, total: u64);
    /// True once the result is no longer wanted.
    fn cancelled(&self) -> bool;
    /// Reports that target number `target` (below the layout's `goal`) was found.
    fn found(&self, target: u64);

    /// Size in bytes of the job's input `name`; none when the job has no such input.
    fn input_size(&self, name: &str) -> Option<u64>;
    /// Up to `length` bytes of input `name` from `offset`; shorter only at its end.
    fn read_input(&self, name: &str, offset: u64, length: u32) -> Vec<u8>;
    /// Size in bytes of the layout's `state`.
    fn state_size(&self) -> u64;
    /// Up to `length` bytes of the layout's `state` from `offset`.
    fn read_state(&self, offset: u64, length: u32) -> Vec<u8>;
    /// In `merge`: size of the output of `index`; none when it has no output.
    fn part_size(&self, index: u64) -> Option<u64>;
    /// In `merge`: up to `length` bytes of the output of `index` from `offset`.
    fn read_part(&self, index: u64, offset: u64, length: u32) -> Vec<u8>;
    /// In `merge`: appends to the result. [`Host::result`](trait.Host.html#method.result) buffers.
    fn write_result(&self, bytes: &[u8]);
}

impl dyn Host + '_ {
    /// The job's input `name`, if the job has it.
    pub fn input(&self, name: &str) -> Option<Reader<'_>> {
        self.input_size(name).map(|size| Reader::input(self, name, size))
    }

    /// The job's input `name`, or a permanent failure that names it.
    pub fn required_input(&self, name: &str) -> Result<Reader<'_>, Failure> {
        self.input(name)
            .ok_or_else(|| Failure::permanent(format!("the job has no input `{name}`; give it in spec.task.inputs")))
    }

    /// The layout's state.
    pub fn state(&self) -> Reader<'_> {
        Reader::state(self, self.state_size())
    }

    /// In `merge`: the output of `index`, if it has one.
    pub fn part(&self, index: u64) -> Option<Reader<'_>> {
        self.part_size(index).map(|size| Reader::part(self, index, size))
    }

    /// In `merge`: the output of `index`, or a permanent failure that names it.
    pub fn required_part(&self, index: u64) -> Result<Reader<'_>, Failure> {
        self.part(index)
            .ok_or_else(|| Failure::permanent(format!("index {index} has no output, so the result would have a hole")))
    }

    /// In `merge`: a buffered writer of the result. Use one at a time.
    pub fn result(&self) -> ResultWriter<'_> {
        ResultWriter::new(self)
    }
}
