//! `pdctl replay job/x --index N`: one subtask again, on this machine, in the same sandbox: to see why it failed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemas::{Digest, Job};
use serde_json::Value;

use crate::{
    artifacts::{self, Sink},
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    executor, kinds, output,
    progress::Transfer,
    verbs::{get, results},
};

const EXAMPLES: &str = "\
The component, its params, its inputs and the state of its plan are fetched; nothing is written to the cluster. \
Exit code 8 when it fails as the subtask did.

Examples:
  pdctl replay job/mandelbrot --index 7
  pdctl replay job/mandelbrot --index 7 -o 7.bin --json
  pdctl replay job/mandelbrot --call plan        # how it was divided
  pdctl replay job/mandelbrot --index 7 --keep replay && gdb --args pd-executor replay …";

/// Linux takes 128 KiB in one argument; half of it leaves room for what a shell adds.
const ARGUMENT_BYTES_MAX: usize = 64 << 10;
/// What a subtask that fails here too ends with.
const FAILED: u8 = 8;

/// Which subtask.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB", add = crate::complete::jobs())]
    job: String,
    /// The index to run
    #[arg(long, value_name = "N", required_unless_present = "call")]
    index: Option<u64>,
    /// Another call than the run of an index
    #[arg(long, value_name = "CALL", value_parser = ["plan"], conflicts_with = "index")]
    call: Option<String>,
    /// Write the output to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// When it fails, write there what it had in memory, for a debugger of WebAssembly
    #[arg(long, value_name = "FILE")]
    coredump: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Keep what was fetched in this folder, and say the command that was run
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Without the job's limits of time
    #[arg(long)]
    no_time_limit: bool,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let job = results::job(&cluster, name).await?;
    check_index(&job, name, args.index)?;
    let failed = |source| Error::File { doing: "create", path: "a folder for the replay".into(), source };
    let temporary = tempfile::Builder::new().prefix("pdctl-replay-").tempdir().map_err(failed)?;
    let folder = args.keep.as_deref().unwrap_or(temporary.path());
    fs::create_dir_all(folder).map_err(Error::file("create the folder", folder))?;
    let raw = get::one(&cluster, &kinds::Kind::job(), name).await?;
    let arguments = prepare(&cluster, &job, &raw, &args, folder).await?;
    if args.keep.is_some() {
        output::note(&format!("pd-executor {}", quoted(&arguments)));
    }
    executor::settle(executor::run(executor::command(&arguments))?, FAILED)
}

fn check_index(job: &Job, name: &str, index: Option<u64>) -> Result<()> {
    let total = job.status.as_ref().map_or(0, |status| status.subtasks.total);
    match index {
        Some(index) if total > 0 && index >= total => {
            Err(Error::not_found(format!("job/{name} has indexes 0 to {}, not {index}", total - 1), None))
        }
        _ => Ok(()),
    }
}

/// Fetches everything and answers the command line.
async fn prepare(cluster: &Cluster, job: &Job, raw: &Value, args: &Args, folder: &Path) -> Result<Vec<String>> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let task = &job.spec.task;
    let module = task.module.ok_or_else(|| Error::invalid(format!("job/{name} names no component")))?;
    let component = folder.join("component.wasm");
    fetch(cluster, &module, &component).await?;
    let mut arguments = vec!["replay".to_owned(), "--module".to_owned(), text_of(&component)?];
    arguments.extend(["--params".to_owned(), params(&Value::Object(task.params.clone()).to_string(), folder)?]);
    // Results of other jobs are inputs as well, once they are known.
    let from_jobs = job.status.iter().flat_map(|status| &status.inputs);
    let inputs: BTreeMap<&String, &Digest> = from_jobs.chain(&task.inputs).collect();
    for (position, (input, digest)) in inputs.into_iter().enumerate() {
        // A name may hold what a file's name may not.
        let path = folder.join(format!("input-{position}"));
        fetch(cluster, digest, &path).await?;
        arguments.extend(["--input".to_owned(), format!("{input}={}", text_of(&path)?)]);
    }
    let layout = job.status.as_ref().and_then(|status| status.layout.as_ref()).filter(|_| args.call.is_none());
    if let Some(layout) = layout {
        // An empty state is a state: without it the plan would be called here first.
        let state = folder.join("state");
        match &layout.state {
            Some(digest) => fetch(cluster, digest, &state).await?,
            None => fs::write(&state, b"").map_err(Error::file("write", &state))?,
        }
        arguments.extend(["--state".to_owned(), text_of(&state)?]);
        arguments.extend(layout.goal.iter().flat_map(|goal| ["--goal".to_owned(), goal.to_string()]));
    }
    arguments.extend(limits(job, raw, args.no_time_limit));
    arguments.extend((!job.spec.sandbox.host_kernels).then(|| "--without-kernels".to_owned()));
    match (args.call.as_deref(), args.index) {
        (Some(call), _) => arguments.extend(["--call".to_owned(), call.to_owned()]),
        (None, Some(index)) => arguments.extend(["--index".to_owned(), index.to_string()]),
        (None, None) => {}
    }
    if let Some(path) = &args.output {
        arguments.extend(["-o".to_owned(), text_of(path)?]);
    }
    if let Some(path) = &args.coredump {
        arguments.extend(["--coredump".to_owned(), text_of(path)?]);
    }
    arguments.extend(args.json.then(|| "--json".to_owned()));
    Ok(arguments)
}

/// The params as one argument; large ones through a file.
fn params(json: &str, folder: &Path) -> Result<String> {
    if json.len() <= ARGUMENT_BYTES_MAX {
        return Ok(json.to_owned());
    }
    let path = folder.join("params.json");
    fs::write(&path, json).map_err(Error::file("write", &path))?;
    Ok(format!("@{}", text_of(&path)?))
}

/// The job's limits, as flags.
fn limits(job: &Job, raw: &Value, no_time_limit: bool) -> Vec<String> {
    let mut flags = vec!["--memory".to_owned(), job.spec.resources.memory.0.to_string()];
    if !no_time_limit {
        flags.extend(["--timeout-ms".to_owned(), job.spec.subtask_timeout.0.as_millis().to_string()]);
        let cpu = raw.pointer("/spec/resources/cpuTime").and_then(Value::as_str);
        let cpu = cpu.and_then(|text| text.parse::<schemas::Duration>().ok());
        flags.extend(cpu.iter().flat_map(|cpu| ["--cpu-ms".to_owned(), cpu.0.as_millis().to_string()]));
    }
    flags
}

/// As one would write it for a shell.
fn quoted(arguments: &[String]) -> String {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./=@:".contains(&byte));
    let quote =
        |text: &String| if is_plain(text) { text.clone() } else { format!("'{}'", text.replace('\'', "'\\''")) };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

async fn fetch(cluster: &Cluster, digest: &Digest, path: &Path) -> Result<()> {
    let failed = |source| Error::file("write", path)(source);
    let mut file = fs::File::create(path).map_err(failed)?;
    let bar = Transfer::hidden();
    artifacts::download(cluster, digest, &mut Sink { to: &mut file, failed: &failed }, &bar).await.map(drop)
}

fn text_of(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::invalid(format!("{} is not text; choose another path", path.display())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_jobs_limits_become_flags() {
        let raw = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": "x"},
            "spec": {"task": {"name": "noop"}, "subtaskTimeout": "5s", "resources": {"memory": "1Mi", "cpuTime": "2s"}},
            "status": {"subtasks": {"total": 3, "succeeded": 0, "failed": 0, "running": 0, "pending": 3}}});
        let job: Job = serde_json::from_value(raw.clone()).expect("a job");
        let expected = ["--memory", "1048576", "--timeout-ms", "5000", "--cpu-ms", "2000"];
        assert_eq!(limits(&job, &raw, false), expected);
        assert_eq!(limits(&job, &raw, true), expected[..2]);
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(params("{}", folder.path()).expect("inline"), "{}");
        let large = format!("\"{}\"", "x".repeat(ARGUMENT_BYTES_MAX));
        assert_eq!(quoted(&["--params".to_owned(), "{\"a\":1}".to_owned()]), "--params '{\"a\":1}'");
        assert!(params(&large, folder.path()).expect("a file").starts_with('@'));
        assert!(check_index(&job, "x", Some(2)).is_ok());
        let error = check_index(&job, "x", Some(3)).expect_err("out of range");
        assert_eq!((error.exit_code(), error.to_string().as_str()), (3, "job/x has indexes 0 to 2, not 3"));
    }
}
