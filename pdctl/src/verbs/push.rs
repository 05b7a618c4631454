//! `pdctl push FILE…`: each component becomes an artifact and a Task that names it.

use std::path::{Path, PathBuf};

use schemas::{Task, limits::MODULE_BYTES_MAX};
use serde_json::{Value, json};
use task_abi::Inspection;

use crate::{
    artifacts,
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    kinds::Kind,
    output, text,
    verbs::apply,
};

const EXAMPLES: &str = "\
Examples:
  pdctl push my_task.wasm
  pdctl push /usr/share/processdistro/tasks/*.wasm   # those that come with ProcessDistro
  pdctl push my_task.wasm --check                    # asks no server";

/// Which components.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// WebAssembly components; a core module built with the SDK is wrapped into one
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Name of the Task, for one component; default: what the component calls itself
    #[arg(long)]
    name: Option<String>,
    /// Check the files only; asks no server and stores nothing
    #[arg(long)]
    check: bool,
}

/// Runs the verb. Everything that can be wrong with the files is found before the server hears of them.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Error::usage("--name goes with one FILE only"));
    }
    let mut components = Vec::new();
    for file in &args.files {
        let (bytes, inspection) = read(file)?;
        let metadata = &inspection.metadata;
        output::note(&format!(
            "{}: {} {}, contract {}, {} bytes",
            file.display(),
            text::one_line(&metadata.name),
            text::one_line(&metadata.version),
            inspection.abi,
            bytes.len()
        ));
        components.push((args.name.clone().unwrap_or_else(|| metadata.name.clone()), bytes));
    }
    if args.check {
        return Ok(());
    }
    let cluster = Cluster::connect(global).await?;
    for (name, bytes) in components {
        output::print_line(&register(&cluster, &name, bytes).await?)?;
    }
    Ok(())
}

/// Stores a component and its Task; answers which object it made or changed.
pub(crate) async fn register(cluster: &Cluster, name: &str, component: Vec<u8>) -> Result<String> {
    let module = artifacts::ensure_bytes(cluster, component).await?;
    let task: Value = json!({
        "apiVersion": "processdistro.dev/v1", "kind": "Task",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {"module": module},
    });
    let applied = apply::one(cluster, &Kind::of::<Task>(true), &cluster.namespace, name, &task).await;
    let (change, _) = applied.map_err(cluster.failed(format!("cannot register Task `{name}`")))?;
    Ok(format!("task.processdistro.dev/{name} {change}"))
}

/// The file as a component, and what it says of itself.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, Inspection)> {
    let size = std::fs::metadata(path).map_err(Error::file("read", path))?.len();
    let refuse = |reason: String, hint: Option<String>| Error::Invalid {
        message: format!("{}: {reason}", path.display()),
        hint,
    };
    if size > MODULE_BYTES_MAX {
        return Err(refuse(format!("it has {size} bytes; a task may have at most {MODULE_BYTES_MAX}"), None));
    }
    let mut bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    if task_abi::is_core_module(&bytes) {
        bytes = task_abi::wrap(&bytes).map_err(|error| {
            let hint = "a task is built with the SDK for wasm32-unknown-unknown: see wasm_tasks/sdk".to_owned();
            refuse(error.to_string(), Some(hint))
        })?;
    }
    match task_abi::inspect_within(&bytes, MODULE_BYTES_MAX) {
        Ok(inspection) => Ok((bytes, inspection)),
        Err(error) => Err(refuse(error.to_string(), None)),
    }
}
