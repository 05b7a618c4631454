//! `pdctl results job/x -o FILE`: the merged result, or the outputs of single indexes.

mod indexes;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use schemas::{
    IndexSet, Job, condition,
    job::{JobResult, conditions},
};

use crate::{
    artifacts::{self, Sink},
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow,
    kinds::{self, Kind},
    output, platform,
    progress::Transfer,
    text,
};

/// The largest result that is shown on a terminal when nobody asked for it.
const SHOWN_BYTES_MAX: u64 = 16 << 10;
/// The largest text that is read whole to be made safe for a terminal.
const TERMINAL_BYTES_MAX: u64 = 64 << 20;

const EXAMPLES: &str = "\
Examples:
  pdctl results job/mandelbrot -o mandelbrot.png
  pdctl results job/report | less                # to stdout
  pdctl results job/mandelbrot --index 7 -o 7.bin
  pdctl results job/mandelbrot --all -o outputs  # every index into outputs/INDEX
  pdctl results job/mandelbrot --indexes 1-3,7 -o outputs";

/// Which result, and where to.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// job/NAME or NAME
    #[arg(value_name = "JOB", add = crate::complete::jobs())]
    job: String,
    /// Write it to this file; `-` is stdout, the default. With --all or --indexes: the folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The output of this index alone
    #[arg(long, value_name = "N", conflicts_with_all = ["indexes", "all"])]
    index: Option<u64>,
    /// The outputs of these indexes (`1-3,7`), a file each in the folder that -o names
    #[arg(long, value_name = "SET", requires = "output", conflicts_with = "all")]
    indexes: Option<IndexSet>,
    /// The outputs of all indexes that are done, a file each in the folder that -o names
    #[arg(long, requires = "output")]
    all: bool,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let name = kinds::job_name(&args.job)?;
    let cluster = Cluster::connect(global).await?;
    let job = job(&cluster, name).await?;
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if let Some(index) = args.index {
        return indexes::one(&cluster, &job, index, file).await;
    }
    if args.all || args.indexes.is_some() {
        let folder = file.ok_or_else(|| Error::usage("several outputs need a folder: -o FOLDER"))?;
        return indexes::into_folder(&cluster, &job, args.indexes.as_ref(), folder).await;
    }
    let result = result_of(&job, name)?;
    match file {
        Some(path) => to_file(&cluster, &result, path).await,
        _ => to_stdout(&cluster, &result, name).await,
    }
}

/// A Job by name, or not found with the nearest.
pub(crate) async fn job(cluster: &Cluster, name: &str) -> Result<Job> {
    match cluster.api::<Job>(&cluster.namespace).get_opt(name).await.map_err(cluster.failed("cannot get the job"))? {
        Some(job) => Ok(job),
        None => Err(follow::absent(cluster, &Kind::job(), &cluster.namespace, name).await),
    }
}

/// How a job has ended, in a word; absent while it has not.
pub(crate) fn end_of(job: &Job) -> Option<&'static str> {
    let conditions = &job.status.as_ref()?.conditions;
    match (condition::is_true(conditions, conditions::COMPLETE), condition::is_true(conditions, conditions::FAILED)) {
        (true, _) => Some("complete"),
        (_, true) => Some("failed"),
        _ => None,
    }
}

/// Where the result is, or why there is none.
fn result_of(job: &Job, name: &str) -> Result<JobResult> {
    let status = job.status.clone().unwrap_or_default();
    if let Some(result) = status.result {
        return Ok(result);
    }
    if let Some(failed) = status.conditions.iter().find(|c| c.type_ == conditions::FAILED && c.status == "True") {
        let why = format!("it has no result: {}", failed.message);
        let hint = Some(format!("`pdctl logs job/{name} --failed` shows what the failed subtasks said"));
        return Err(Error::JobFailed { job: format!("job/{name}"), why, hint });
    }
    if condition::is_true(&status.conditions, conditions::COMPLETE) {
        return Err(Error::invalid(format!("job/{name} is complete and has no result")));
    }
    let counts = status.subtasks;
    let message = format!("job/{name} is not complete: {} of {} subtasks are done", counts.succeeded, counts.total);
    Err(Error::Invalid { message, hint: Some(format!("`pdctl wait job/{name}` waits for it")) })
}

/// Into a file, under a temporary name until it is whole and verified.
pub(crate) async fn to_file(cluster: &Cluster, result: &JobResult, path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source: io::Error| Error::file("write", path)(source);
    let mut file = platform::new_file(folder).map_err(failed)?;
    let bar = Transfer::new(format!("fetching {}", path.display()), result.size);
    let fetched =
        artifacts::download(cluster, &result.artifact, &mut Sink { to: file.as_file_mut(), failed: &failed }, &bar)
            .await;
    bar.finish();
    let size = fetched?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    output::note(&format!("wrote {} ({size} bytes, {})", path.display(), text::one_line(&result.media_type)));
    Ok(())
}

/// To stdout; a terminal gets text only.
pub(crate) async fn to_stdout(cluster: &Cluster, result: &JobResult, name: &str) -> Result<()> {
    let bar = Transfer::hidden();
    if !output::stdout_is_terminal() {
        let mut stdout = io::stdout().lock();
        artifacts::download(cluster, &result.artifact, &mut Sink { to: &mut stdout, failed: &Error::stdout }, &bar)
            .await?;
        return stdout.flush().map_err(Error::stdout);
    }
    match as_text(cluster, result, TERMINAL_BYTES_MAX).await? {
        Some(shown) => output::print(&shown),
        None => Err(Error::Invalid {
            message: format!(
                "the result is binary ({}, {} bytes) and stdout is a terminal",
                text::one_line(&result.media_type),
                result.size
            ),
            hint: Some(format!("`pdctl results job/{name} -o FILE` writes it to a file")),
        }),
    }
}

/// After `run` on a terminal: a short text is shown, anything else is told how to fetch.
pub(crate) async fn show(cluster: &Cluster, result: &JobResult, name: &str) -> Result<()> {
    match as_text(cluster, result, SHOWN_BYTES_MAX).await? {
        Some(shown) if shown.is_empty() => Ok(()),
        Some(shown) => output::print(&if shown.ends_with('\n') { shown } else { shown + "\n" }),
        None => {
            let media_type = text::one_line(&result.media_type);
            output::note(&format!(
                "result: {} bytes of {media_type}; fetch it: pdctl results job/{name} -o FILE",
                result.size
            ));
            Ok(())
        }
    }
}

/// The result if it is text and not larger than `limit`, safe for a terminal.
async fn as_text(cluster: &Cluster, result: &JobResult, limit: u64) -> Result<Option<String>> {
    let may_be_text = ["text/", "application/json", "application/yaml", "application/x-ndjson"];
    if result.size > limit || !may_be_text.iter().any(|prefix| result.media_type.starts_with(prefix)) {
        return Ok(None);
    }
    let bytes = artifacts::bytes(cluster, &result.artifact, limit).await?;
    Ok(String::from_utf8(bytes).ok().map(|shown| text::plain(&shown).into_owned()))
}
