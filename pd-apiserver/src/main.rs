//! `pd-apiserver`: parses the command line and serves until it is told to stop.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use clap::Parser;
use pd_apiserver::{backup, cli::Options, run};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// JSON is many small allocations on many threads: glibc's allocator took a fifth of a write.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(file) = &options.restore {
        return restore(file, &options.data_dir);
    }
    let filter = EnvFilter::try_from_env("PD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let done: anyhow::Result<()> = async { run(options, stop_signal()?).await }.await;
    if let Err(error) = done {
        tracing::error!(error = format!("{error:#}"), "pd-apiserver failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Makes the data folder from a backup. A person waits for it: it speaks plainly and keeps no log.
fn restore(file: &Path, folder: &Path) -> ExitCode {
    match backup::restore(file, folder) {
        Ok(backup::Restored { about, objects, artifacts, revision }) => {
            eprintln!("cluster {} as it was at {}, revision {}", about.cluster, about.created, about.revision);
            eprintln!("{objects} objects, {artifacts} artifacts; its revisions go on from {revision}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

/// Completes at the first SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    })
}
