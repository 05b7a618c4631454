//! `pdctl push FILE`: a component becomes an artifact and a Task that names it.

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
  pdctl push my_task.wasm --check                # asks no server";

/// Which component.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The WebAssembly component; a core module built with the SDK is wrapped into one
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the Task; default: what the component calls itself
    #[arg(long)]
    name: Option<String>,
    /// Check the file only; asks no server and stores nothing
    #[arg(long)]
    check: bool,
}

/// Runs the verb. Everything that can be wrong with the file is found before the server hears of it.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let (component, inspection) = read(&args.file)?;
    let metadata = &inspection.metadata;
    let name = args.name.clone().unwrap_or_else(|| metadata.name.clone());
    output::note(&format!(
        "{}: {} {}, contract {}, {} bytes",
        args.file.display(),
        text::one_line(&metadata.name),
        text::one_line(&metadata.version),
        inspection.abi,
        component.len()
    ));
    if args.check {
        return Ok(());
    }
    let cluster = Cluster::connect(global).await?;
    let module = artifacts::ensure_bytes(&cluster, component).await?;
    let task: Value = json!({
        "apiVersion": "processdistro.dev/v1", "kind": "Task",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {"module": module},
    });
    let applied = apply::one(&cluster, &Kind::of::<Task>(true), &cluster.namespace, &name, &task).await;
    let (change, _) = applied.map_err(cluster.failed(format!("cannot register Task `{name}`")))?;
    output::print_line(&format!("task.processdistro.dev/{name} {change}"))
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
