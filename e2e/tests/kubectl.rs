//! The real kubectl against a live cluster, as the first page of the README shows it.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline, reference};

const MANIFEST: &str = "
apiVersion: processdistro.dev/v1
kind: Job
metadata:
  name: mandelbrot
spec:
  task:
    name: mandelbrot
    params: {width: 512, height: 512, maxIterations: 500, tileSize: 64}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_a_kubernetes() -> Result<()> {
    if !reference::has_kubectl() {
        return Ok(());
    }
    let scenario = Scenario::start(2, 1).await?;
    let nodes = scenario.kubectl(&["get", "nodes"])?;
    ensure!(nodes.matches(" Ready").count() == 2 && nodes.contains("node-1"), "{nodes}");

    let mut watch = scenario.kubectl_command().args(["get", "jobs", "-w"]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(watch.stdout.take().context("a pipe")?).lines();
    scenario.write("mandelbrot.yaml", MANIFEST)?;
    ensure!(
        scenario.kubectl(&["apply", "-f", "mandelbrot.yaml"])?.contains("job.processdistro.dev/mandelbrot created")
    );
    scenario.kubectl(&["wait", "--for=condition=Complete", "job/mandelbrot", "--timeout=120s"])?;
    let seen = std::thread::spawn(move || {
        lines.map_while(Result::ok).find(|line| line.starts_with("mandelbrot") && line.contains("Complete"))
    });
    deadline::until("kubectl get -w to show the end", Duration::from_secs(20), async || {
        Ok(seen.is_finished().then_some(()))
    })
    .await?;
    watch.kill()?;
    watch.wait()?;
    ensure!(seen.join().is_ok_and(|line| line.is_some()), "kubectl get -w never showed Complete");

    let unchanged = scenario.kubectl(&["apply", "-f", "mandelbrot.yaml"])?;
    ensure!(unchanged.contains("unchanged"), "{unchanged}");
    let described = scenario.kubectl(&["describe", "job/mandelbrot"])?;
    ensure!(described.contains("Complete") && described.contains("Events:"), "{described}");
    let yaml = scenario.kubectl(&["get", "job", "mandelbrot", "-o", "jsonpath={.status.subtasks.succeeded}"])?;
    ensure!(yaml == "64", "{yaml}");
    let subtasks = scenario.kubectl(&["get", "subtasks", "-l", "processdistro.dev/job=mandelbrot"])?;
    ensure!(subtasks.lines().count() == 65 && subtasks.contains("Succeeded"), "{subtasks}");
    ensure!(scenario.kubectl(&["explain", "job.spec.task"])?.contains("params"));
    ensure!(scenario.kubectl(&["api-resources"])?.contains("assignments"));

    ensure!(scenario.kubectl(&["delete", "job/mandelbrot"])?.contains("deleted"));
    let gone = scenario.kubectl(&["get", "job", "mandelbrot"]).expect_err("it is deleted");
    ensure!(gone.to_string().contains("not found"), "{gone}");
    deadline::until("the assignments to follow their job", Duration::from_secs(10), async || {
        Ok(scenario.assignments("mandelbrot").await?.is_empty().then_some(()))
    })
    .await
}
