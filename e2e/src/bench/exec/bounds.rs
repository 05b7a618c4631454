//! How far beyond its limits a task gets before it is stopped.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Scenario, binaries::Binaries, guests, scenario::text};

/// Limit on processor time of the task that never ends.
const CPU_MS: u64 = 100;
/// Limits on memory of the task that takes all it gets.
const MEMORY_MIB: [u64; 3] = [16, 64, 256];
/// What is allowed beyond them.
const CPU_OVER_MS_MAX: f64 = 100.0;
const MEMORY_OVER_MIB_MAX: f64 = 32.0;

/// Meets each limit so often and prints by how much it was passed.
pub(super) fn measure(scenario: &Scenario, times: u32) -> Result<()> {
    let endless = scenario.write("endless.wasm", guests::harmful(guests::LOOP)?)?;
    let greedy = scenario.write("greedy.wasm", guests::harmful(guests::MEMORY)?)?;
    let state = scenario.write("state", "")?;
    let mut over = Vec::new();
    for _ in 0..times {
        let report = replay(&endless, &state, &["--cpu-ms", &CPU_MS.to_string()])?;
        ensure!(report["limits"][0] == "CpuTime", "{report}");
        over.push(report["cpuNs"].as_f64().context("cpuNs")? / 1e6 - CPU_MS as f64);
    }
    over.sort_by(f64::total_cmp);
    let at = |share: f64| over[((over.len() - 1) as f64 * share).round() as usize];
    println!(
        "\nprocessor time beyond a limit of {CPU_MS} ms, {times} times: median {:.1} ms, p99 {:.1} ms (goal < {CPU_OVER_MS_MAX:.0})",
        at(0.5),
        at(0.99)
    );
    for mebibytes in MEMORY_MIB {
        let limit = (mebibytes << 20).to_string();
        let report = replay(&greedy, &state, &["--memory", &limit])?;
        ensure!(report["outcome"] == "OutOfMemory", "{report}");
        let resident = report["residentPeakBytes"].as_f64().context("residentPeakBytes")? / f64::from(1 << 20);
        println!(
            "resident memory beyond a limit of {mebibytes} MiB: {:.1} MiB (goal < {MEMORY_OVER_MIB_MAX:.0}), the engine and the program included",
            resident - mebibytes as f64
        );
    }
    Ok(())
}

fn replay(component: &str, state: &str, flags: &[&str]) -> Result<Value> {
    let program = text(&Binaries::locate()?.program("pd-executor"))?;
    let mut command = Command::new(program);
    command.args(["replay", "--json", "--index", "1", "--module", component, "--state", state]).args(flags);
    let output = command.output().context("running pd-executor")?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{}", String::from_utf8_lossy(&output.stderr)))
}
