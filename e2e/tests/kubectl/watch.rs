//! `get -w`: what no single answer shows.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline};

const MANIFEST: &str = "
apiVersion: processdistro.dev/v1
kind: Job
metadata: {name: watched}
spec:
  task: {name: noop, params: {count: 3}}
";

/// A watch begun before a job shows it Complete.
pub(crate) async fn a_watch_shows_the_end(scenario: &Scenario) -> Result<()> {
    let mut watch = scenario.kubectl_command().args(["get", "jobs", "-w"]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(watch.stdout.take().context("a pipe")?).lines();
    let seen = std::thread::spawn(move || {
        lines.map_while(Result::ok).find(|line| line.starts_with("watched") && line.contains("Complete"))
    });
    scenario.write("watched.yaml", MANIFEST)?;
    scenario.kubectl(&["apply", "-f", "watched.yaml"])?;
    deadline::until("kubectl get -w to show the end", Duration::from_secs(30), async || {
        Ok(seen.is_finished().then_some(()))
    })
    .await?;
    watch.kill()?;
    watch.wait()?;
    ensure!(seen.join().is_ok_and(|line| line.is_some()), "kubectl get -w never showed Complete");
    Ok(())
}
