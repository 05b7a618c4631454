//! The demo: a cluster, a picture, figures, and nothing left behind.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    build,
    command::{programs, read, root, run as run_command, target},
};

/// The demo's cluster.
const CLUSTER: &str = "demo";
/// The demo's job; `manifests/mandelbrot.yaml` defines it.
const JOB: &str = "mandelbrot";

/// How large a demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Number of nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// Where to write the picture.
    #[arg(long, short, default_value = "mandelbrot.png")]
    output: PathBuf,
}

/// Where the demo finds its parts.
struct Demo {
    programs: PathBuf,
    home: PathBuf,
    kubeconfig: String,
}

/// Builds, creates, renders, reports; deletes the cluster whatever happened.
pub(crate) fn run(options: &Options) -> Result<()> {
    build::run()?;
    let mut demo = Demo { programs: programs()?, home: target()?.join("demo"), kubeconfig: String::new() };
    run_command(demo.pd_local().args(["create", CLUSTER, "--nodes", &options.nodes.to_string()]))?;
    let rendered = demo.render(&options.output);
    let deleted = run_command(demo.pd_local().args(["delete", CLUSTER]));
    rendered.and(deleted)
}

impl Demo {
    fn pd_local(&self) -> Command {
        let mut command = Command::new(self.programs.join("pd-local"));
        command.env("PD_LOCAL_HOME", &self.home);
        command
    }

    fn pdctl(&self) -> Command {
        let mut command = Command::new(self.programs.join("pdctl"));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn render(&mut self, output: &Path) -> Result<()> {
        read(self.pd_local().args(["kubeconfig", CLUSTER]))?.trim().clone_into(&mut self.kubeconfig);
        let start = Instant::now();
        run_command(self.pdctl().arg("apply").arg("-f").arg(root().join("manifests/mandelbrot.yaml")))?;
        run_command(self.pdctl().args(["wait", &format!("job/{JOB}")]))?;
        let wall = start.elapsed();
        run_command(self.pdctl().args(["results", &format!("job/{JOB}"), "-o"]).arg(output))?;
        self.report()?;
        println!("wall time     {:.2} s from apply to Complete", wall.as_secs_f64());
        println!("picture       {}", output.display());
        Ok(())
    }

    /// Subtasks per node, and the job's own figures.
    fn report(&self) -> Result<()> {
        let job: Value = self.get(&["get", "job", JOB])?;
        let assignments = self.get(&["get", "assignments", "-l", &format!("processdistro.dev/job={JOB}")])?;
        println!();
        println!("{:<13} {:>8} {:>12}", "node", "subtasks", "busy seconds");
        for assignment in assignments["items"].as_array().context("a list without items")? {
            let node = assignment["spec"]["nodeName"].as_str().unwrap_or_default();
            let status = &assignment["status"];
            let (done, busy) =
                (status["succeeded"].as_u64().unwrap_or(0), status["busySeconds"].as_f64().unwrap_or(0.0));
            println!("{node:<13} {done:>8} {busy:>12.2}");
        }
        println!();
        println!("subtasks      {}", job["status"]["subtasks"]["succeeded"]);
        println!("efficiency    {}", job["status"]["efficiency"].as_str().unwrap_or("unknown"));
        Ok(())
    }

    fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = read(self.pdctl().args(arguments).args(["-o", "json"]))?;
        serde_json::from_str(&text).context("pdctl wrote something else than JSON")
    }
}
