//! `pd-reconciler`: flags in, exit code out; everything else is in the library.

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// A plan over a thousand nodes is many small sets that live for one plan.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = pd_reconciler::Options::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,hyper=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    pd_reconciler::run(options, pd_reconciler::termination()).await?;
    Ok(())
}
