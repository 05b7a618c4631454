//! From a call of the contract to the task's own functions: parses the params, nothing else.

use crate::{Failure, Host, Layout, Task, Verify};

pub(crate) fn plan<T: Task>(params: &str, host: &dyn Host) -> Result<Layout, Failure> {
    T::plan(&parse::<T>(params)?, host)
}

pub(crate) fn run<T: Task>(params: &str, index: u64, host: &dyn Host) -> Result<Vec<u8>, Failure> {
    T::run(&parse::<T>(params)?, index, host)
}

pub(crate) fn merge<T: Task>(params: &str, subtasks: u64, host: &dyn Host) -> Result<(), Failure> {
    T::merge(&parse::<T>(params)?, subtasks, host)
}

pub(crate) fn verify<T: Verify>(
    params: &str,
    index: u64,
    output: &[u8],
    seed: u64,
    host: &dyn Host,
) -> Result<bool, Failure> {
    T::verify(&parse::<T>(params)?, index, output, seed, host)
}

/// A job without params says nothing, `null` or `{}`: all three mean the defaults.
fn parse<T: Task>(params: &str) -> Result<T::Params, Failure> {
    let params = match params.trim() {
        "" | "null" => "{}",
        text => text,
    };
    serde_json::from_str(params).map_err(|error| Failure::permanent(format!("params of task `{}`: {error}", T::NAME)))
}
