//! `pdctl watch DIR`: the objects of a folder of manifests follow its files until Ctrl-C.

use std::path::PathBuf;

use pd_manifests::{Change, Options, Rules};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output,
};

const EXAMPLES: &str = "\
Examples:
  pdctl watch manifests/                 # apply what is there, and every change
  pdctl watch manifests/ --prune         # and delete what is taken out";

/// Which folder to follow, and how.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The folder with the manifests
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Delete an object when no file holds it any more; only objects that this folder has applied
    #[arg(long)]
    prune: bool,
    /// With --prune: delete everything when no file holds anything
    #[arg(long, requires = "prune")]
    allow_empty: bool,
    /// Name of the ManifestSource object that tells of this folder; default: made of the folder and this machine
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    if !args.folder.is_dir() {
        return Err(Error::Invalid {
            message: format!("{} is not a folder", args.folder.display()),
            hint: Some("`pdctl apply -f FILE` applies a single file once".to_owned()),
        });
    }
    let folder = args.folder.canonicalize().map_err(Error::file("read", &args.folder))?;
    let cluster = Cluster::connect(global).await?;
    let host = pd_manifests::host_name();
    let options = Options {
        name: args.source.unwrap_or_else(|| pd_manifests::source_name(&folder, &host)),
        namespace: cluster.namespace.clone(),
        host,
        rules: Rules { prune: args.prune, allow_empty: args.allow_empty },
        rescan: pd_manifests::RESCAN,
        resync: pd_manifests::RESYNC,
        folder,
    };
    output::note(&format!("watching {} as manifestsource/{}; Ctrl-C ends it", options.folder.display(), options.name));
    tokio::select! {
        ended = pd_manifests::run(&cluster.config, &options, &tell) => ended.map_err(|error| failed(&cluster, error)),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn failed(cluster: &Cluster, error: pd_manifests::Error) -> Error {
    let doing = error.to_string();
    match error {
        pd_manifests::Error::Client(source)
        | pd_manifests::Error::Discovery(source)
        | pd_manifests::Error::Record(source) => cluster.failed(doing)(source),
    }
}

/// What is done goes to stdout, what is wrong to stderr.
fn tell(change: Change) {
    let line = match change {
        Change::Applied(id) => format!("{id} applied"),
        Change::Pruned(id) => format!("{id} pruned"),
        Change::Settled(1) => return output::note("1 object is as the folder says"),
        Change::Settled(objects) => return output::note(&format!("{objects} objects are as the folder says")),
        Change::Problem(problem) => return output::note(&problem.to_string()),
        Change::Obstacle(obstacle) => return output::note(&obstacle),
    };
    // A closed stdout ends the watch with the next signal, not in the middle of a pass.
    let _ = output::print_line(&line);
}
