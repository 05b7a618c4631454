//! `pdctl suspend`, `pdctl resume` and `pdctl cancel`: fields of a Job's spec, set by a merge patch.

use serde_json::{Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    kinds::{self, Kind},
    output,
    verbs::results,
    writes,
};

const SUSPEND: &str = "\
Examples:
  pdctl suspend job/mandelbrot       # what runs is finished, nothing new is started
  pdctl resume job/mandelbrot        # goes on where it stopped";
const CANCEL: &str = "\
A cancelled job does not come back: what runs is interrupted, it becomes Failed with the reason Cancelled, and it \
stays to be looked at. `suspend` is for a pause, `delete` removes a job with all it has.

Examples:
  pdctl cancel job/mandelbrot
  pdctl rerun job/mandelbrot         # the same work again, as a new job";
const RESUME: &str = "\
Examples:
  pdctl resume job/mandelbrot";

/// Which jobs.
#[derive(clap::Args)]
#[command(after_help = SUSPEND)]
pub(crate) struct Suspend {
    /// job/NAME or NAME
    #[arg(required = true, value_name = "JOB", add = crate::complete::jobs())]
    jobs: Vec<String>,
}

/// Which jobs.
#[derive(clap::Args)]
#[command(after_help = RESUME)]
pub(crate) struct Resume {
    /// job/NAME or NAME
    #[arg(required = true, value_name = "JOB", add = crate::complete::jobs())]
    jobs: Vec<String>,
}

/// Which jobs.
#[derive(clap::Args)]
#[command(after_help = CANCEL)]
pub(crate) struct Cancel {
    /// job/NAME or NAME
    #[arg(required = true, value_name = "JOB", add = crate::complete::jobs())]
    jobs: Vec<String>,
}

/// Runs `suspend`.
pub(crate) async fn suspend(args: Suspend, global: &Global) -> Result<()> {
    set_all(&args.jobs, global, &SUSPENDED).await
}

/// Runs `resume`.
pub(crate) async fn resume(args: Resume, global: &Global) -> Result<()> {
    set_all(&args.jobs, global, &RESUMED).await
}

/// Runs `cancel`.
pub(crate) async fn cancel(args: Cancel, global: &Global) -> Result<()> {
    set_all(&args.jobs, global, &CANCELLED).await
}

/// One field of the spec and how its change is told.
struct Setting {
    field: &'static str,
    value: bool,
    done: &'static str,
}

const SUSPENDED: Setting = Setting { field: "suspend", value: true, done: "suspended" };
const CANCELLED: Setting = Setting { field: "cancel", value: true, done: "cancelled" };
const RESUMED: Setting = Setting { field: "suspend", value: false, done: "resumed" };

/// What became of one job.
enum Outcome {
    Changed,
    Already,
}

async fn set_all(jobs: &[String], global: &Global, setting: &Setting) -> Result<()> {
    let names = jobs.iter().map(|word| kinds::job_name(word)).collect::<Result<Vec<_>>>()?;
    let cluster = Cluster::connect(global).await?;
    let mut failed = Vec::new();
    for name in &names {
        match set(&cluster, name, setting).await {
            Ok(Outcome::Changed) => output::print_line(&format!("job.processdistro.dev/{name} {}", setting.done))?,
            Ok(Outcome::Already) => {
                output::print_line(&format!("job.processdistro.dev/{name} already {}", setting.done))?;
            }
            Err(error) => failed.push(error),
        }
    }
    Error::several(failed, names.len())
}

async fn set(cluster: &Cluster, name: &str, setting: &Setting) -> Result<Outcome> {
    let job = results::job(cluster, name).await?;
    if let Some(end) = results::end_of(&job) {
        let hint = Some(format!("`pdctl rerun job/{name}` runs it anew under another name"));
        return Err(Error::Invalid { message: format!("job/{name} has ended: it is {end}"), hint });
    }
    let spec = serde_json::to_value(&job.spec).unwrap_or_default();
    if spec[setting.field].as_bool().unwrap_or(false) == setting.value {
        return Ok(Outcome::Already);
    }
    let patch = patch(setting);
    let changed = writes::merge(cluster, &Kind::job(), &cluster.namespace, name, &patch).await;
    changed.map(|_| Outcome::Changed).map_err(cluster.failed(format!("cannot change job `{name}`")))
}

fn patch(setting: &Setting) -> Value {
    json!({"spec": {(setting.field): setting.value}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_one_field() {
        assert_eq!(patch(&SUSPENDED), json!({"spec": {"suspend": true}}));
        assert_eq!(patch(&CANCELLED), json!({"spec": {"cancel": true}}));
        assert_eq!(patch(&RESUMED), json!({"spec": {"suspend": false}}));
    }
}
