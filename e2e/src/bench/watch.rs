//! From a file's save to its object's being applied, by `pdctl watch` in a folder of many files.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::TryStreamExt as _;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use schemas::Job;

use crate::Scenario;

/// For one save; far above anything worth reporting.
const APPLY_TIME: Duration = Duration::from_secs(30);
/// Between two saves: longer than the quiet that a watcher waits for, so that none hides in the one before.
const PAUSE: Duration = Duration::from_millis(300);
/// What issue and documentation promise of the slowest percent.
const P99_MAX_MS: f64 = 500.0;

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Files in the folder, an object in each.
    #[arg(long, default_value_t = 100)]
    files: u32,
    /// Measured saves.
    #[arg(long, default_value_t = 200)]
    saves: u32,
}

/// Ends with this.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("pdctl watch does not end: {error}");
        }
    }
}

/// A job that never runs: only its object is of interest.
fn job(number: u32, priority: u32) -> String {
    format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: job-{number}}}\nspec:\n  suspend: true\n  priority: \
         {priority}\n  task: {{name: noop, params: {{count: 2}}}}\n"
    )
}

/// As editors save: under another name, then renamed.
fn save(folder: &Path, number: u32, priority: u32) -> Result<()> {
    let (new, path) = (folder.join(format!(".{number}.new")), folder.join(format!("{number}.yaml")));
    fs::write(&new, job(number, priority)).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("renaming to {}", path.display()))
}

pub(super) async fn run(options: Options) -> Result<()> {
    let mut scenario = Scenario::start(1, 1).await?;
    let folder = scenario.path("manifests");
    fs::create_dir(&folder)?;
    for number in 0..options.files {
        save(&folder, number, 0)?;
    }
    let log = fs::File::create(scenario.path("watch.log"))?;
    let mut command = scenario.cluster().pdctl();
    command.arg("watch").arg(&folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let _watcher = Watcher(command.spawn().context("starting pdctl watch")?);

    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    let mut events = Box::pin(watcher(jobs, watcher::Config::default()).applied_objects());
    let mut seen = 0;
    while seen < options.files {
        let next = tokio::time::timeout(APPLY_TIME, events.try_next()).await.context("the first objects")??;
        seen += u32::from(next.is_some());
    }
    let mut took = Vec::new();
    for priority in 1..=options.saves {
        tokio::time::sleep(PAUSE).await;
        let number = priority % options.files;
        let start = Instant::now();
        save(&folder, number, priority)?;
        let applied = async {
            while let Some(job) = events.try_next().await? {
                if job.metadata.name.as_deref() == Some(&format!("job-{number}"))
                    && job.spec.priority == priority as i32
                {
                    break;
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(APPLY_TIME, applied)
            .await
            .with_context(|| format!("save {priority} was not applied"))??;
        took.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() as f64 * part) as usize).min(took.len() - 1)];
    println!("{} saves, one after the other, in a folder of {} files", options.saves, options.files);
    println!("{:<24} {:>8} {:>8} {:>8} {:>8}", "milliseconds", "minimum", "median", "p99", "maximum");
    let (least, median, p99, most) = (took[0], at(0.5), at(0.99), took[took.len() - 1]);
    println!("{:<24} {least:>8.1} {median:>8.1} {p99:>8.1} {most:>8.1}", "save to applied");
    anyhow::ensure!(p99 < P99_MAX_MS, "the slowest percent took {p99:.1} ms, {P99_MAX_MS} are promised");
    Ok(())
}
