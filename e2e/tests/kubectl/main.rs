//! The real kubectl against a live cluster: every verb, as a transcript.
//!
//! The commands and what they must answer stand in `transcript/*.txt`; a new one needs no Rust. They run in order
//! against one cluster.

mod transcript;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, deadline, reference};

use self::transcript::Step;

/// The parts, in the order in which they build on each other.
const PARTS: [(&str, &str); 5] = [
    ("discovery", include_str!("transcript/discovery.txt")),
    ("objects", include_str!("transcript/objects.txt")),
    ("writes", include_str!("transcript/writes.txt")),
    ("stores", include_str!("transcript/stores.txt")),
    ("nodes", include_str!("transcript/nodes.txt")),
];
/// Commands that the transcript has at least.
const COMMANDS_MIN: usize = 90;
/// For what the cluster needs a moment for; the longest is a small job.
const EVENTUALLY: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_a_kubernetes() -> Result<()> {
    let parts = PARTS.map(|(name, text)| transcript::parse(name, text));
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    let commands: usize = parts.iter().map(Vec::len).sum();
    ensure!(commands >= COMMANDS_MIN, "the transcript has only {commands} commands");
    if !reference::has_kubectl() {
        return Ok(());
    }
    let scenario = Scenario::start(2, 1).await?;
    let started = Instant::now();
    for step in parts.iter().flatten() {
        play(&scenario, step).await.with_context(|| step.to_string())?;
    }
    println!("{commands} commands in {:?}", started.elapsed());
    watch::a_watch_shows_the_end(&scenario).await
}

async fn play(scenario: &Scenario, step: &Step) -> Result<()> {
    if !step.is_eventual {
        return step.run(scenario);
    }
    let command = step.to_string();
    deadline::until(&command, EVENTUALLY, async || step.run(scenario).map(Some)).await
}
