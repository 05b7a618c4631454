//! `pdctl run TASK`: a Job from the command line, followed to its result.

use std::{fmt::Write as _, path::PathBuf};

use kube::{api::ListParams, core::DynamicObject};
use schemas::{ByteSize, Digest, Task};
use serde_json::{Map, Value, json};

use crate::{
    age,
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow::{self, End, Goal, Subject, status_of},
    inputs::{self, Uploads},
    kinds::Kind,
    manifests,
    output::{self, Format},
    params,
    progress::{self, JobBar},
    suggest, text,
    verbs::{apply::DryRun, results},
    writes::{self, How},
};

const EXAMPLES: &str = "\
Examples:
  pdctl run mandelbrot --param width=4096 --param height=4096 -o mandelbrot.png
  pdctl run noop --params '{\"count\":1000000}' --name million --detach
  pdctl run matrix-mul --input a=a.npy --input b=b.npy -o product.npy
  pdctl run noop --name x --dry-run=client -o yaml > x.yaml";

/// What to run.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name of a Task (`pdctl get tasks`), or `sha256:…` of a component
    #[arg(value_name = "TASK", add = crate::complete::tasks())]
    task: String,
    /// Name of the Job; default: the task's name and some letters
    #[arg(long)]
    name: Option<String>,
    /// Params as a JSON object, or @FILE that holds one
    #[arg(long, value_name = "JSON|@FILE")]
    params: Option<String>,
    /// One param; the value is JSON where it is JSON, else text. Goes over --params
    #[arg(long = "param", value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// A local file (or sha256:…) as an input
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = inputs::pair)]
    inputs: Vec<(String, String)>,
    /// Most subtasks running at once; default: every free slot
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    parallelism: Option<u32>,
    /// Wall-clock limit of the job, kept by the cluster: 30s, 5m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<schemas::Duration>,
    /// Wall-clock limit of one attempt at one subtask
    #[arg(long, value_name = "DURATION")]
    subtask_timeout: Option<schemas::Duration>,
    /// Retries allowed for one subtask
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Memory of one subtask: 64Mi
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Write the result to this file; with --dry-run the format: yaml, json or name
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// Create the job and return; the default when stdout is no terminal and there is no -o
    #[arg(long, conflicts_with = "output")]
    detach: bool,
    /// client: print the Job and do nothing; server: let the server check it and store nothing
    #[arg(long, value_name = "client|server", value_enum, conflicts_with = "detach")]
    dry_run: Option<DryRun>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let params = params::collect(args.params.as_deref(), &args.pairs)?;
    let mut uploads = Uploads::default();
    let inputs = hash_inputs(&args, &mut uploads).await?;
    let mut job = manifest(&args, params, inputs);
    manifests::check_made_up(&job)?;
    if args.dry_run == Some(DryRun::Client) {
        if let Some(namespace) = &global.namespace {
            job["metadata"]["namespace"] = json!(namespace);
        }
        return print_dry(&args, job);
    }
    let cluster = Cluster::connect(global).await?;
    check_task(&cluster, &args.task).await?;
    if args.dry_run == Some(DryRun::Server) || !uploads.is_empty() {
        let checked = check(&cluster, &job, &uploads).await?;
        if args.dry_run.is_some() {
            return print_dry(&args, checked.unwrap_or(job));
        }
        uploads.send(&cluster).await?;
    }
    let created = writes::create(&cluster, &Kind::job(), &cluster.namespace, &job, How::default()).await;
    let created = created.map_err(cluster.failed("cannot create the job"))?;
    let name = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let said = format!("job.processdistro.dev/{name} created");
    if args.detach || (args.output.is_none() && !output::stdout_is_terminal()) {
        return output::print_line(&said);
    }
    output::note(&said);
    let uid = created["metadata"]["uid"].as_str().map(str::to_owned);
    tokio::select! {
        done = finish(&cluster, &name, uid, args.output.as_deref()) => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(format!(
            "job/{name} goes on: `pdctl wait job/{name}` follows it, `pdctl delete job/{name}` stops it"
        ))),
    }
}

/// Input name to digest: files are to be uploaded, digests are there already.
async fn hash_inputs(args: &Args, uploads: &mut Uploads) -> Result<Map<String, Value>> {
    let mut inputs = Map::new();
    for (name, file) in &args.inputs {
        let digest = match file.parse::<Digest>() {
            Ok(digest) => digest,
            Err(_) => uploads.add(PathBuf::from(file)).await?,
        };
        inputs.insert(name.clone(), json!(digest));
    }
    Ok(inputs)
}

/// The Job that the arguments describe.
fn manifest(args: &Args, params: Map<String, Value>, inputs: Map<String, Value>) -> Value {
    let is_digest = args.task.starts_with("sha256:");
    let mut task = json!({ (if is_digest { "module" } else { "name" }): args.task, "params": params });
    if !inputs.is_empty() {
        task["inputs"] = Value::Object(inputs);
    }
    let metadata = match &args.name {
        Some(name) => json!({ "name": name }),
        None if is_digest => json!({"generateName": "job-"}),
        None => json!({"generateName": format!("{}-", args.task)}),
    };
    let mut spec = json!({ "task": task });
    let optional = [
        ("parallelism", args.parallelism.map(|n| json!(n))),
        ("timeout", args.timeout.map(|t| json!(t))),
        ("subtaskTimeout", args.subtask_timeout.map(|t| json!(t))),
        ("backoffLimitPerIndex", args.retries.map(|n| json!(n))),
        ("resources", args.memory.map(|memory| json!({ "memory": memory }))),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            spec[field] = value;
        }
    }
    json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": metadata, "spec": spec})
}

fn print_dry(args: &Args, job: Value) -> Result<()> {
    let format = args.output.as_deref().unwrap_or("yaml").parse::<Format>();
    match format {
        Ok(format @ (Format::Yaml | Format::Json | Format::Name)) => {
            output::objects(&format, vec![output::without_managed_fields(job)], false)
        }
        _ => Err(Error::usage("with --dry-run, -o is the format: yaml, json or name")),
    }
}

/// A Task that does not exist is told before anything is uploaded, with the nearest that does.
pub(crate) async fn check_task(cluster: &Cluster, name: &str) -> Result<()> {
    if name.starts_with("sha256:") {
        return match name.parse::<Digest>() {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::usage(error.to_string())),
        };
    }
    let api: kube::Api<Task> = cluster.api(&cluster.namespace);
    if api.get_metadata_opt(name).await.map_err(cluster.failed("cannot get the task"))?.is_some() {
        return Ok(());
    }
    let listed = api.list_metadata(&ListParams::default()).await.map_err(cluster.failed("cannot list tasks"))?;
    let known: Vec<String> = listed.items.into_iter().filter_map(|task| task.metadata.name).collect();
    let hint =
        suggest::did_you_mean(name, known.iter().map(String::as_str)).unwrap_or_else(|| match known.as_slice() {
            [] => "there are none: `pdctl push FILE` registers one".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        });
    let what = format!("Task `{}` does not exist in namespace `{}`", text::one_line(name), cluster.namespace);
    Err(Error::not_found(what, Some(hint)))
}

/// A dry run on the server: what is wrong is told before anything is uploaded. That the inputs are not there
/// yet is not wrong; then there is no answer to show.
async fn check(cluster: &Cluster, job: &Value, uploads: &Uploads) -> Result<Option<Value>> {
    match writes::create(cluster, &Kind::job(), &cluster.namespace, job, How { dry_run: true, force: false }).await {
        Ok(answer) => Ok(Some(answer)),
        Err(kube::Error::Api(status)) if !uploads.is_empty() && only_inputs(&status) => Ok(None),
        Err(error) => Err(cluster.failed("cannot create the job")(error)),
    }
}

/// Whether a refusal speaks of nothing but `spec.task.inputs`.
pub(crate) fn only_inputs(status: &kube::core::Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    status.code == 422 && !causes.is_empty() && causes.iter().all(|cause| cause.field.starts_with("spec.task.inputs"))
}

/// Follows the job and fetches its result.
async fn finish(cluster: &Cluster, name: &str, uid: Option<String>, file: Option<&str>) -> Result<()> {
    let kind = Kind::job();
    let mut bar = JobBar::new(&format!("job/{name}"));
    let subject = Subject { kind: &kind, namespace: &cluster.namespace, name, uid };
    let end = follow::follow(cluster, subject, &Goal::Terminal, None, &mut bar).await;
    bar.clear();
    let job = match end? {
        End::Complete(job) => job,
        End::Failed(why) => {
            let hint = Some(format!("`pdctl logs job/{name} --failed` shows what the failed subtasks said"));
            return Err(Error::JobFailed { job: format!("job/{name}"), why, hint });
        }
        _ => return Err(Error::not_found(format!("job/{name} was deleted before it ended"), None)),
    };
    output::note(&summary(name, &job));
    let Some(result) = status_of(&job).result else { return Ok(()) };
    match file {
        Some("-") => results::to_stdout(cluster, &result, name).await,
        Some(path) => results::to_file(cluster, &result, PathBuf::from(path).as_path()).await,
        None => results::show(cluster, &result, name).await,
    }
}

/// `job/x complete in 1.2s: 1024 subtasks, 850/s, efficiency 97%`
fn summary(name: &str, job: &DynamicObject) -> String {
    let status = status_of(job);
    let mut line = format!("job/{name} complete");
    if let (Some(start), Some(end)) = (status.start_time, status.completion_time) {
        let _ = write!(line, " in {}", age::exact(end.duration_since(start).as_millis()));
    }
    let _ = write!(line, ": {}", text::counted(status.subtasks.succeeded, "subtask"));
    let rate = status.throughput.filter(|rate| *rate > 0.0).map(progress::rate);
    let extras = rate.into_iter().chain(status.efficiency.map(|e| format!("efficiency {}", text::one_line(&e))));
    extras.fold(line, |line, extra| line + ", " + &extra)
}
