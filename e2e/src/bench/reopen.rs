//! How long a large store takes from kill -9 to its first answer and its first write.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};

use super::{
    alone::Alone,
    load::Caller,
    store::{Create, LEASES, ms},
    wire::Wire,
};

/// Clients that fill the store.
const FILLERS: u64 = 64;
/// Crashes that are measured.
const CRASHES: usize = 3;

pub(super) async fn run(folder: &Path, objects: u64) -> Result<()> {
    let mut server = Alone::start(&folder.join("apiserver")).await?;
    let start = Instant::now();
    fill(&server.wire().await?, objects).await?;
    let seconds = start.elapsed().as_secs_f64();
    let size = std::fs::metadata(folder.join("apiserver/store.redb")).context("looking at the store's file")?.len();
    println!("{objects} objects written in {seconds:.0} s; the store's file has {} MiB", size >> 20);
    println!(
        "{:>8} {:>22} {:>22} {:>22}",
        "crash", "start to readyz, ms", "then first write, ms", "then first page, ms"
    );
    for crash in 0..CRASHES {
        let began = server.crash()?;
        server.ready().await?;
        let ready = began.elapsed();
        let wire = server.wire().await?;
        let start = Instant::now();
        Create::new(wire.connect().await?, &format!("after-{crash}")).call().await?;
        let written = start.elapsed();
        let start = Instant::now();
        wire.connect().await?.get(&format!("{LEASES}?limit=500")).await?;
        println!("{crash:>8} {:>22.0} {:>22.0} {:>22.0}", ms(ready), ms(written), ms(start.elapsed()));
    }
    Ok(())
}

async fn fill(wire: &Wire, objects: u64) -> Result<()> {
    let mut fillers = Vec::new();
    for filler in 0..FILLERS {
        let mut create = Create::new(wire.connect().await?, &format!("fill-{filler}"));
        let count = objects / FILLERS + u64::from(filler < objects % FILLERS);
        fillers.push(tokio::spawn(async move {
            for _ in 0..count {
                create.call().await?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for filler in fillers {
        filler.await.context("a client panicked")??;
    }
    Ok(())
}
