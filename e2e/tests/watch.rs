//! A watched folder of manifests, edited with the tools that people edit with.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline, reference::has};
use kube::{Api, api::ListParams};
use schemas::{Job, ManifestSource, condition, manifest_source::conditions};

const SOON: Duration = Duration::from_secs(10);

/// A `pdctl watch` that ends with its test.
struct Watcher(Child);

impl Watcher {
    fn start(scenario: &mut Scenario, folder: &Path, flags: &[&str]) -> Result<Self> {
        let log = fs::File::create(scenario.path("watch.log"))?;
        let mut command = scenario.cluster().pdctl();
        command.arg("watch").arg(folder).args(["--source", "tested"]).args(flags);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Self(command.spawn().context("starting pdctl watch")?))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have been killed by its test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn job(name: &str, count: u32) -> String {
    format!(
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata:\n  name: {name}\n  labels: {{size: \"{count}\"}}\nspec:\n  \
         priority: {count}\n  task: {{name: noop, params: {{count: 2}}}}\n"
    )
}

async fn priorities(scenario: &Scenario) -> Result<Vec<(String, i32)>> {
    let jobs: Api<Job> = Api::default_namespaced(scenario.client());
    let jobs = jobs.list(&ListParams::default()).await?.items;
    let alive = jobs.into_iter().filter(|job| job.metadata.deletion_timestamp.is_none());
    Ok(alive.map(|job| (job.metadata.name.clone().unwrap_or_default(), job.spec.priority)).collect())
}

async fn until(scenario: &Scenario, what: &str, wanted: &[(&str, i32)]) -> Result<()> {
    let wanted: Vec<(String, i32)> = wanted.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
    deadline::until(&format!("{what}: {wanted:?}"), SOON, async || {
        let now = priorities(scenario).await?;
        Ok((now == wanted).then_some(()))
    })
    .await
}

async fn until_source(scenario: &Scenario, what: &str, seen: impl Fn(&ManifestSource) -> bool) -> Result<()> {
    let sources: Api<ManifestSource> = Api::default_namespaced(scenario.client());
    deadline::until(what, SOON, async || {
        let source = sources.get("tested").await?;
        Ok(seen(&source).then_some(()))
    })
    .await
}

fn is_ready(source: &ManifestSource) -> bool {
    source.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, conditions::READY))
}

fn shell(folder: &Path, line: &str) -> Result<()> {
    let output = Command::new("sh").arg("-ec").arg(line).current_dir(folder).output().context("running sh")?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_follow_the_files_whatever_edits_them() -> Result<()> {
    let mut scenario = Scenario::start(1, 1).await?;
    let folder = scenario.path("manifests");
    fs::create_dir(&folder)?;
    fs::write(folder.join("a.yaml"), job("a", 1))?;
    let _watcher = Watcher::start(&mut scenario, &folder, &["--prune"])?;
    until(&scenario, "the file that was there", &[("a", 1)]).await?;

    shell(&folder, "sed -i 's/priority: 1/priority: 2/' a.yaml")?;
    until(&scenario, "sed -i", &[("a", 2)]).await?;

    fs::write(scenario.path("new.yaml"), job("a", 3))?;
    shell(&folder, "mv ../new.yaml a.yaml")?;
    until(&scenario, "mv over the file", &[("a", 3)]).await?;

    if has("vim") {
        // In place, with its swap file beside it; then through another file that takes the name.
        for (backup, from, to) in [("yes", 3, 31), ("no", 31, 32)] {
            let line = format!(
                "vim -N -u NONE -es -c 'set backupcopy={backup} writebackup' -c '%s/priority: {from}/priority: {to}/' -c wq \
                 a.yaml </dev/null"
            );
            shell(&folder, &line)?;
            until(&scenario, &format!("vim with backupcopy={backup}"), &[("a", to)]).await?;
        }
    }
    fs::write(folder.join("a.yaml"), job("a", 4))?;
    until(&scenario, "a file that is written over", &[("a", 4)]).await?;

    shell(&folder, "mkdir deeper && mv a.yaml deeper/renamed.yaml")?;
    fs::write(folder.join("b.yaml"), job("b", 1))?;
    until(&scenario, "a rename is no deletion", &[("a", 4), ("b", 1)]).await?;
    until_source(&scenario, "the source to be ready", is_ready).await?;

    shell(
        &folder,
        "git init -q . && git config user.email t@example.com && git config user.name t && git add -A && git commit -qm \
         one && git checkout -qb other && git rm -q b.yaml && git commit -qm two",
    )?;
    until(&scenario, "git took a file away", &[("a", 4)]).await?;
    shell(&folder, "git checkout -q -")?;
    until(&scenario, "git checkout brought it back", &[("a", 4), ("b", 1)]).await?;

    scenario.kubectl(&["patch", "job", "b", "--type=merge", "-p", r#"{"spec":{"priority":77}}"#])?;
    scenario.kubectl(&["label", "manifestsource", "tested", "looked=1"])?;
    deadline::until("drift to be mended", Duration::from_secs(40), async || {
        Ok((priorities(&scenario).await?.iter().any(|(name, priority)| name == "b" && *priority == 1)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_and_changes_nothing() -> Result<()> {
    let mut scenario = Scenario::start(1, 1).await?;
    let folder = scenario.path("manifests");
    fs::create_dir(&folder)?;
    fs::write(folder.join("a.yaml"), job("a", 1))?;
    fs::write(folder.join("b.yaml"), job("b", 1))?;
    let mut watcher = Watcher::start(&mut scenario, &folder, &["--prune"])?;
    until(&scenario, "both", &[("a", 1), ("b", 1)]).await?;

    fs::write(
        folder.join("b.yaml"),
        "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: b}\nspec:\n  tsk: {}\n",
    )?;
    let has = |part: &'static str| {
        move |source: &ManifestSource| {
            let problems = source.status.iter().flat_map(|status| &status.problems);
            problems.map(ToString::to_string).any(|problem| problem.contains(part))
        }
    };
    until_source(&scenario, "the place of the error", has("b.yaml:5:3: spec.tsk: unknown field")).await?;
    until(&scenario, "a broken file keeps its objects", &[("a", 1), ("b", 1)]).await?;

    // A watcher that is killed and started again finds the same.
    watcher.0.kill().context("killing pdctl watch")?;
    watcher.0.wait()?;
    drop(watcher);
    fs::write(folder.join("c.yaml"), job("a", 9))?;
    let _watcher = Watcher::start(&mut scenario, &folder, &["--prune"])?;
    until_source(&scenario, "the duplicate", has("stands in a.yaml too")).await?;
    until(&scenario, "an object in two files stays as it is", &[("a", 1), ("b", 1)]).await?;

    shell(&folder, "rm a.yaml b.yaml c.yaml")?;
    until_source(&scenario, "the empty folder", |source| {
        let conditions = source.status.iter().flat_map(|status| &status.conditions);
        conditions.clone().any(|condition| condition.reason == "Empty")
    })
    .await?;
    until(&scenario, "an empty folder deletes nothing", &[("a", 1), ("b", 1)]).await?;
    fs::write(folder.join("a.yaml"), job("a", 5))?;
    until(&scenario, "one file again", &[("a", 5)]).await
}
