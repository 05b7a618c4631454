//! `pdctl backup FILE`: the whole cluster in one file, taken while it runs.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use futures::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use schemas::well_known::BACKUP_PATH;

use crate::{
    artifacts,
    cli::Global,
    client::Cluster,
    errors::{self, Error, Result},
    output, platform,
    progress::Transfer,
};

const EXAMPLES: &str = "\
One state of all objects, every artifact that they name, and the cluster's certificate authority, as a tar file. It is \
as secret as the server's data folder: whoever has it can speak for the cluster.

Examples:
  pdctl backup cluster.tar
  pdctl backup - | ssh elsewhere 'cat > cluster.tar'
  tar -xOf cluster.tar backup.json       # what it is of";

/// What a tar file ends with, and no broken one does: two blocks of zeros.
const END_BYTES: usize = 1024;

/// Where to.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to write, readable by you alone; `-` is stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    if args.file == Path::new("-") && output::stdout_is_terminal() {
        return Err(Error::usage("a backup is no text for a terminal: name a file, or pipe it"));
    }
    let cluster = Cluster::connect(global).await?;
    if args.file == Path::new("-") {
        let mut stdout = io::stdout().lock();
        fetch(&cluster, &mut stdout, &Error::stdout, &Transfer::hidden()).await?;
        return stdout.flush().map_err(Error::stdout);
    }
    let path = args.file.as_path();
    let failed = |source: io::Error| Error::file("write", path)(source);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = platform::new_file_with(folder, 0o600).map_err(failed)?;
    let bar = Transfer::new(format!("writing {}", path.display()), 0);
    let size = fetch(&cluster, file.as_file_mut(), &failed, &bar).await;
    bar.finish();
    let size = size?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    output::note(&format!("wrote {} ({size} bytes); it holds the cluster's keys: keep it safe", path.display()));
    Ok(())
}

/// Streams the backup; answers the number of bytes.
async fn fetch(
    cluster: &Cluster,
    to: &mut dyn io::Write,
    failed: &dyn Fn(io::Error) -> Error,
    bar: &Transfer,
) -> Result<u64> {
    const DOING: &str = "cannot take a backup";
    let request = Request::get(BACKUP_PATH).body(Body::empty());
    let request = request.map_err(|error| Error::invalid(format!("{DOING}: {error}")))?;
    let response = cluster.client.send(request).await.map_err(cluster.failed(DOING))?;
    let status = response.status();
    let mut body = Box::pin(response.into_body().into_data_stream());
    if !status.is_success() {
        return Err(artifacts::refused(DOING.to_owned(), status, &artifacts::gather(body).await));
    }
    let (mut size, mut zeros) = (0, 0);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| errors::transport(&cluster.origin, DOING.to_owned(), &error))?;
        size += chunk.len() as u64;
        zeros = match chunk.iter().rev().take_while(|byte| **byte == 0).count() {
            trailing if trailing == chunk.len() => zeros + trailing,
            trailing => trailing,
        };
        to.write_all(&chunk).map_err(failed)?;
        bar.add(chunk.len() as u64);
    }
    if zeros < END_BYTES {
        let reason = format!("it ended after {size} bytes, before the backup did; the server's log says why");
        return Err(Error::Answer { doing: DOING.to_owned(), reason });
    }
    Ok(size)
}
