//! Durable writes a second through the API server, beside etcd and the bare disk in the same run.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    alone::Alone,
    etcd::Etcd,
    load::{self, Caller, Rate, middle},
    reopen,
    wire::{Connection, Wire},
};

/// What each write carries.
pub(super) const VALUE_BYTES: usize = 1024;
/// Path of the kind that is written: of those that clients write often, the one with the least of its own.
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
/// Writes to the bare disk.
const SYNCS: u32 = 500;

/// How to measure it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Clients at once, one row each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,128")]
    clients: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Measurements of each row; the one in the middle is shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Watchers of everything that is written.
    #[arg(long, default_value_t = 4)]
    watchers: usize,
    /// Folder on the disk to measure; a new folder is made in it and removed again.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Instead: how long a store of many objects takes to open after kill -9.
    #[arg(long)]
    reopen: bool,
    /// Objects for --reopen.
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir_in(&options.folder).context("creating a folder for the benchmark")?;
    if options.reopen {
        return reopen::run(folder.path(), options.objects).await;
    }
    let time = Duration::from_secs(options.seconds);
    println!(
        "bare disk: {:.0} writes of {VALUE_BYTES} bytes a second, each followed by fdatasync",
        disk(folder.path())?
    );
    let server = Alone::start(&folder.path().join("apiserver")).await?;
    let etcd = Etcd::start(&folder.path().join("etcd")).await?;
    let wire = server.wire().await?;
    let watching = watch_all(&wire, options.watchers).await?;
    println!(
        "durable writes of {VALUE_BYTES} bytes a second; the API server with TLS, authorization, admission and {} watchers",
        options.watchers
    );
    println!(
        "{:>8} {:>12} {:>9} {:>9} {:>12} {:>9} {:>9} {:>7}",
        "clients", "pd-apiserver", "p50 ms", "p99 ms", "etcd", "p50 ms", "p99 ms", "ratio"
    );
    for clients in options.clients {
        // Turn by turn, so that what else the machine does meets both.
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            ours.push(load::run(creates(&wire, clients, round).await?, time).await?);
            if let Some(etcd) = &etcd {
                let name = |client| format!("{clients}-{round}-{client}");
                let puts = futures::future::try_join_all((0..clients).map(|client| {
                    let name = name(client);
                    async move { etcd.put(&name).await }
                }));
                theirs.push(load::run(puts.await?, time).await?);
            }
        }
        print_row(clients, middle(ours)?, middle(theirs).ok());
    }
    for watcher in watching {
        ensure!(!watcher.is_finished(), "a watch has ended");
        watcher.abort();
    }
    Ok(())
}

fn print_row(clients: usize, ours: Rate, etcd: Option<Rate>) {
    let cells = |rate: Rate| format!("{:>12.0} {:>9.2} {:>9.2}", rate.per_second, ms(rate.p50), ms(rate.p99));
    let etcd = etcd.map(|etcd| format!("{} {:>7.2}", cells(etcd), ours.per_second / etcd.per_second));
    println!("{clients:>8} {} {}", cells(ours), etcd.unwrap_or_default());
}

/// In milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Writes of a value a second, each on disk before the next.
fn disk(folder: &Path) -> Result<f64> {
    let mut file = File::create(folder.join("disk")).context("creating a file")?;
    let start = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(&[b'x'; VALUE_BYTES]).and_then(|()| file.sync_data()).context("writing to the bare disk")?;
    }
    Ok(f64::from(SYNCS) / start.elapsed().as_secs_f64())
}

/// Watches that read whatever comes.
async fn watch_all(wire: &Wire, count: usize) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let mut watching = Vec::new();
    for _ in 0..count {
        let mut connection = wire.connect().await?;
        let events = connection.watch(&format!("{LEASES}?watch=1")).await?;
        watching.push(tokio::spawn(drain(connection, events)));
    }
    Ok(watching)
}

async fn drain(_connection: Connection, mut events: Incoming) {
    while let Some(Ok(_)) = events.frame().await {}
}

async fn creates(wire: &Wire, clients: usize, round: usize) -> Result<Vec<Create>> {
    let mut callers = Vec::new();
    for client in 0..clients {
        callers.push(Create::new(wire.connect().await?, &format!("b{clients}-{round}-{client}")));
    }
    Ok(callers)
}

/// Creates Leases under ever new names.
pub(super) struct Create {
    connection: Connection,
    name: String,
    number: u64,
}

impl Create {
    pub(super) fn new(connection: Connection, name: &str) -> Self {
        Self { connection, name: name.to_owned(), number: 0 }
    }
}

impl Caller for Create {
    async fn call(&mut self) -> Result<()> {
        self.number += 1;
        let body = lease(&format!("{}-{:08}", self.name, self.number));
        self.connection.send("POST", LEASES, "application/json", body).await.map(|_| ())
    }
}

/// A Lease that carries a value. As text: what a client spends on making JSON is not what is measured.
pub(super) fn lease(name: &str) -> Bytes {
    static VALUE: LazyLock<String> = LazyLock::new(|| "x".repeat(VALUE_BYTES));
    let value = VALUE.as_str();
    format!(
        r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{name}"}},"spec":{{"holderIdentity":"{value}"}}}}"#
    )
    .into()
}
