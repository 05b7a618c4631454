//! What a person waits for at the command line: `pdctl` started anew each time.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use super::spread;
use crate::Scenario;

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Runs of each command line.
    #[arg(long, default_value_t = 50)]
    runs: u32,
}

/// Command lines, and the most milliseconds that their median may take.
const LINES: [(&[&str], f64); 4] = [
    (&["version", "--client"], 10.0),
    (&["help"], 10.0),
    (&["get", "nodes"], 30.0),
    (&["get", "jobs", "-o", "json"], 30.0),
];

/// Most bytes of the program without its symbols.
const BYTES_MAX: u64 = 40 << 20;

pub(super) async fn run(options: Options) -> Result<()> {
    let mut scenario = Scenario::start(2, 1).await?;
    scenario.pdctl(&["run", "noop", "--name", "x", "--params", r#"{"count":10}"#, "--detach"])?;
    println!("pdctl, started anew {} times, against a server on loopback", options.runs);
    println!("{:<28} {:>9} {:>9} {:>9} {:>9}", "milliseconds", "minimum", "median", "maximum", "promised");
    let mut slow = Vec::new();
    for (arguments, most) in LINES {
        let mut took = Vec::new();
        for _ in 0..options.runs {
            let mut command = scenario.cluster().pdctl();
            command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            let start = Instant::now();
            let status = command.status().context("running pdctl")?;
            took.push(start.elapsed().as_secs_f64() * 1000.0);
            ensure!(status.success(), "pdctl {}: {status}", arguments.join(" "));
        }
        let (minimum, median, maximum) = spread(&mut took);
        println!("{:<28} {minimum:>9.1} {median:>9.1} {maximum:>9.1} {most:>9.0}", arguments.join(" "));
        if median > most {
            slow.push(arguments.join(" "));
        }
    }
    let program = scenario.cluster().binaries().program("pdctl");
    let stripped = scenario.path("pdctl");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(&program).status().context("running strip")?;
    ensure!(strip.success(), "strip: {strip}");
    let bytes = std::fs::metadata(&stripped)?.len();
    println!("the program without its symbols: {:.1} MB", bytes as f64 / 1e6);
    ensure!(bytes < BYTES_MAX, "it has {bytes} bytes, {BYTES_MAX} are promised");
    ensure!(slow.is_empty(), "slower than promised: {}", slow.join(", "));
    Ok(())
}
