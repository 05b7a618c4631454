//! What requests of each kind cost, how fast a watch hears of a write, and what idle watchers weigh.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::{
    alone::Alone,
    load::{self, Caller, Rate, middle},
    store::{Create, LEASES, lease, ms},
    subtasks,
    wire::{Connection, Wire},
};

/// Where idle watchers watch: nothing happens there.
const QUIET: &str = "/apis/processdistro.dev/v1/jobs?watch=1";
/// Objects of the page that is listed.
const PAGE: usize = 500;
/// Connections that are opened at a time.
const OPENING: usize = 64;
/// Watchers that hear of every write in the fan-out.
const LISTENERS: usize = 100;
/// For the memory and descriptors of watchers to settle.
const SETTLE: Duration = Duration::from_secs(2);

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Clients at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Measurements of each row; the one in the middle is shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Idle watchers.
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// Folder on the disk to measure; a new folder is made in it and removed again.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

pub(super) async fn run(options: Options) -> Result<()> {
    raise_descriptors();
    let folder = tempfile::tempdir_in(&options.folder).context("creating a folder for the benchmark")?;
    let server = Alone::start(&folder.path().join("apiserver")).await?;
    let bench = Bench { wire: server.wire().await?, options };
    bench.prepare().await?;
    subtasks::prepare(&bench.wire, &server.reconciler().await?).await?;
    println!("{} clients, one connection each, with TLS and authorization", bench.options.clients);
    println!("{:<34} {:>12} {:>9} {:>9}", "", "a second", "p50 ms", "p99 ms");
    bench.row("get", |connection, _| Fixed::get(connection, &format!("{LEASES}/listed-0"))).await?;
    bench.row("list a page of 500", |connection, _| Fixed::get(connection, &format!("{LEASES}?limit={PAGE}"))).await?;
    for size in subtasks::SIZES {
        let path = subtasks::page(size, PAGE);
        bench.row(&format!("list {PAGE} Subtasks of {size}"), |connection, _| Fixed::get(connection, &path)).await?;
    }
    let failed = subtasks::failed(subtasks::SIZES[1]);
    bench.row("list the 10 of them that failed", |connection, _| Fixed::get(connection, &failed)).await?;
    bench.row("create", Create::new).await?;
    bench.row("status patch", PatchStatus::new).await?;
    bench.fan_out().await?;
    bench.idle(&server).await
}

struct Bench {
    wire: Wire,
    options: Options,
}

impl Bench {
    /// The objects that are read and patched.
    async fn prepare(&self) -> Result<()> {
        let mut connection = self.wire.connect().await?;
        for number in 0..PAGE {
            let body = lease(&format!("listed-{number}"));
            connection.send("POST", LEASES, "application/json", body).await?;
        }
        for client in 0..self.options.clients {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("bench-{client}")}});
            connection.send("POST", "/api/v1/nodes", "application/json", node.to_string().into()).await?;
        }
        Ok(())
    }

    async fn measure<C: Caller>(&self, name: &str, make: impl Fn(Connection, &str) -> C) -> Result<Rate> {
        let mut rates = Vec::new();
        for round in 0..self.options.rounds {
            let mut callers = Vec::new();
            for client in 0..self.options.clients {
                callers.push(make(self.wire.connect().await?, &format!("{name}-{round}-{client}")));
            }
            rates.push(load::run(callers, Duration::from_secs(self.options.seconds)).await?);
        }
        middle(rates)
    }

    async fn row<C: Caller>(&self, what: &str, make: impl Fn(Connection, &str) -> C) -> Result<Rate> {
        let name = what.split(' ').next().unwrap_or(what);
        let rate = self.measure(name, make).await?;
        print_row(what, rate.per_second, rate.p50, rate.p99);
        Ok(rate)
    }

    /// From the moment when a write is sent to the arrival of its event at each of many watchers.
    async fn fan_out(&self) -> Result<()> {
        let base = Instant::now();
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            let mut connection = self.wire.connect().await?;
            let events = connection
                .watch(&format!(
                    "{LEASES}?watch=1&fieldSelector=metadata.namespace=default&resourceVersion={}",
                    self.revision().await?
                ))
                .await?;
            listeners.push(tokio::spawn(listen(connection, events, base)));
        }
        let writer = Stamped { connection: self.wire.connect().await?, base };
        let time = Duration::from_secs(self.options.seconds);
        let written = load::run(vec![writer], time).await?;
        let mut times = Vec::new();
        let mut stop = self.wire.connect().await?;
        stop.send("POST", LEASES, "application/json", lease("last")).await?;
        for listener in listeners {
            times.extend(listener.await.context("a watcher panicked")??);
        }
        ensure!(!times.is_empty(), "no event arrived");
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let events = times.len() as f64 / time.as_secs_f64();
        print_row(&format!("events of one writer to {LISTENERS} watches"), events, at(0.5), at(0.99));
        println!("    its writes: {:.0} a second", written.per_second);
        Ok(())
    }

    async fn revision(&self) -> Result<String> {
        let list = self.wire.connect().await?.get(&format!("{LEASES}?limit=1")).await?;
        let list: serde_json::Value = serde_json::from_slice(&list).context("reading a list")?;
        list["metadata"]["resourceVersion"].as_str().map(str::to_owned).context("a list without a resourceVersion")
    }

    /// Memory of idle watchers, and what they do to a write.
    async fn idle(&self, server: &Alone) -> Result<()> {
        let count = self.options.watchers;
        let alone = self.measure("alone", Create::new).await?;
        let (before, _) = server.process().resident_bytes()?;
        let watches: Vec<(Connection, Incoming)> = futures::stream::iter(0..count)
            .map(|_| async {
                let mut connection = self.wire.connect().await?;
                let events = connection.watch(QUIET).await?;
                Ok::<_, anyhow::Error>((connection, events))
            })
            .buffer_unordered(OPENING)
            .try_collect()
            .await?;
        tokio::time::sleep(SETTLE).await;
        let (after, _) = server.process().resident_bytes()?;
        let beside = self.measure("beside", Create::new).await?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{} idle watches: {:.1} MiB before, {:.1} MiB with them, {:.1} KiB each",
            watches.len(),
            mib(before),
            mib(after),
            (after.saturating_sub(before)) as f64 / 1024.0 / count as f64
        );
        print_row("create without them", alone.per_second, alone.p50, alone.p99);
        print_row("create beside them", beside.per_second, beside.p50, beside.p99);
        println!("a write beside them takes {:.2} of the time", alone.per_second / beside.per_second);
        Ok(())
    }
}

fn print_row(what: &str, per_second: f64, p50: Duration, p99: Duration) {
    println!("{what:<34} {per_second:>12.0} {:>9.2} {:>9.2}", ms(p50), ms(p99));
}

/// Reads events until the last one; the time that each took to arrive.
async fn listen(_connection: Connection, mut events: Incoming, base: Instant) -> Result<Vec<Duration>> {
    const NAME: &str = "\"name\":\"at-";
    let (mut times, mut rest) = (Vec::new(), Vec::new());
    while let Some(frame) = events.frame().await {
        let Ok(data) = frame.context("reading an event")?.into_data() else { continue };
        let now = base.elapsed();
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if line.contains("\"name\":\"last\"") {
                return Ok(times);
            }
            let stamp = line.find(NAME).and_then(|at| line[at + NAME.len()..].split('"').next()?.parse().ok());
            times.extend(stamp.map(|micros| now.saturating_sub(Duration::from_micros(micros))));
        }
    }
    anyhow::bail!("a watch has ended")
}

/// Creates Leases whose names say when.
struct Stamped {
    connection: Connection,
    base: Instant,
}

impl Caller for Stamped {
    async fn call(&mut self) -> Result<()> {
        let body = lease(&format!("at-{}", self.base.elapsed().as_micros()));
        self.connection.send("POST", LEASES, "application/json", body).await.map(|_| ())
    }
}

/// The same GET again and again.
struct Fixed {
    connection: Connection,
    path: String,
}

impl Fixed {
    fn get(connection: Connection, path: &str) -> Self {
        Self { connection, path: path.to_owned() }
    }
}

impl Caller for Fixed {
    async fn call(&mut self) -> Result<()> {
        self.connection.get(&self.path).await.map(|_| ())
    }
}

/// Patches the status of one Node of its own.
struct PatchStatus {
    connection: Connection,
    path: String,
    number: u64,
}

impl PatchStatus {
    fn new(connection: Connection, name: &str) -> Self {
        let client = name.rsplit('-').next().unwrap_or(name);
        Self { connection, path: format!("/api/v1/nodes/bench-{client}/status"), number: 0 }
    }
}

impl Caller for PatchStatus {
    async fn call(&mut self) -> Result<()> {
        self.number += 1;
        let patch = json!({"status": {"phase": self.number.to_string()}});
        let body = Bytes::from(patch.to_string());
        self.connection.send("PATCH", &self.path, "application/merge-patch+json", body).await.map(|_| ())
    }
}

/// As many descriptors as this process may have.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("cannot raise the limit of descriptors: {error}");
    }
}
