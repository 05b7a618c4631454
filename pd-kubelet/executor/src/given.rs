//! What a person gives on the command line: params, inputs, limits.
//!
//! In: flags. Out: checked values, or which flag is wrong and why.

use std::{fs, fs::File, path::Path, path::PathBuf, sync::Arc, sync::Mutex};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use executor_protocol::{Blob, Context, Isolation};

use crate::local::{Shared, Source, Sources};

/// A Job's default (`spec.resources.memory`).
const MEMORY_BYTES: u64 = 64 << 20;
/// An output's limit in the cluster.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// A log's limit in the cluster.
const LOG_BYTES_MAX: u64 = 64 << 10;
/// No limit: more milliseconds than anybody waits.
const FOR_EVER_MS: u64 = u64::MAX >> 1;

/// What a task's calls are given.
#[derive(Debug, Args)]
pub struct Given {
    /// The job's params: JSON, or `@` and a file that holds it
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE")]
    pub params: String,
    /// An input of the job and the file that holds it; may be repeated
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = named_file)]
    pub inputs: Vec<(String, PathBuf)>,
    /// Do not offer the host's kernels, as a job with `sandbox: {hostKernels: false}`
    #[arg(long)]
    pub without_kernels: bool,
}

/// Limits of one call.
#[derive(Debug, Args)]
pub struct Limits {
    /// Linear memory of an instance, in bytes
    #[arg(long, default_value_t = MEMORY_BYTES, value_name = "BYTES")]
    pub memory: u64,
    /// Wall-clock limit of a call, in milliseconds; none unless given
    #[arg(long, value_name = "N")]
    pub timeout_ms: Option<u64>,
    /// Limit on the processor time of a call, in milliseconds; none unless given
    #[arg(long, value_name = "N")]
    pub cpu_ms: Option<u64>,
}

impl Limits {
    /// As large as a task can ask for.
    pub(crate) const NONE: Self = Self { memory: u64::MAX, timeout_ms: None, cpu_ms: None };
}

impl Given {
    /// The params as JSON text.
    pub(crate) fn params(&self) -> Result<String> {
        let text = match self.params.strip_prefix('@') {
            Some(file) => fs::read_to_string(file).with_context(|| format!("cannot read the params {file}"))?,
            None => self.params.clone(),
        };
        let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        ensure!(is_json, "--params is not JSON: {text}");
        Ok(text)
    }

    /// The inputs, opened.
    pub(crate) fn sources(&self) -> Result<Shared> {
        let mut sources = Sources::default();
        for (name, path) in &self.inputs {
            let file = open(path).with_context(|| format!("the input `{name}`"))?;
            sources.blobs.insert(Blob::Input(name.clone()), Source::File(file));
        }
        Ok(Arc::new(Mutex::new(sources)))
    }

    /// What a kubelet would prepare an executor with.
    pub(crate) fn context(&self, limits: &Limits, goal: Option<u64>) -> Result<Context> {
        Ok(Context {
            compiled: String::new(),
            params: self.params()?,
            memory_bytes_max: limits.memory,
            call_ms_max: limits.timeout_ms.unwrap_or(FOR_EVER_MS),
            cpu_ms_max: limits.cpu_ms,
            output_bytes_max: OUTPUT_BYTES_MAX,
            log_bytes_max: LOG_BYTES_MAX,
            goal,
            isolation: Isolation::Subtask,
            canonical_nans: false,
            host_kernels: !self.without_kernels,
        })
    }
}

pub(crate) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    ensure!(file.metadata()?.is_file(), "{} is not a file", path.display());
    Ok(file)
}

/// A component's bytes; a core module is wrapped first.
pub(crate) fn component(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if task_abi::is_core_module(&bytes) {
        return task_abi::wrap(&bytes).with_context(|| format!("cannot make a component of {}", path.display()));
    }
    Ok(bytes)
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("give a name and a file: `--input words=words.txt`".to_owned()),
    }
}
