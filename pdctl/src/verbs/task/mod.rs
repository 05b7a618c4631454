//! `pdctl task new NAME` and `pdctl task check FILE`: for whoever writes a task.

mod new;

use std::path::PathBuf;

use crate::{errors::Result, executor, inputs};

const CHECK: &str = "\
Examples:
  pdctl task check my_task.wasm
  pdctl task check my_task.wasm --params '{\"count\": 3}' --input words=words.txt";
const NEW: &str = "\
It writes a crate that builds, is tested natively and says of itself what pdctl and editors need to know.

Examples:
  pdctl task new word-count --sdk ../processdistro/wasm_tasks/sdk
  cd word-count && cargo test && cargo build --release --target wasm32-unknown-unknown";

/// What to do with tasks; list them with `get tasks`, register one with `push`.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Check a component: its contract, its imports, its metadata, whether it compiles and plans
    #[command(after_help = CHECK)]
    Check(Check),
    /// Begin a task of one's own
    #[command(after_help = NEW)]
    New(new::Args),
}

#[derive(clap::Args)]
pub(crate) struct Check {
    /// The WebAssembly component; a core module built with the SDK is wrapped into one
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Params of a dry run of its plan: a JSON object, or @FILE that holds one
    #[arg(long, value_name = "JSON|@FILE")]
    params: Option<String>,
    /// An input of that dry run
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = inputs::pair)]
    inputs: Vec<(String, String)>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the verb. It asks no server.
pub(crate) fn run(action: Action) -> Result<()> {
    match action {
        Action::New(args) => new::run(&args),
        Action::Check(args) => check(&args),
    }
}

fn check(args: &Check) -> Result<()> {
    let mut command = executor::command(["check"]);
    command.arg(&args.file);
    if let Some(params) = &args.params {
        command.args(["--params", params]);
    }
    for (name, file) in &args.inputs {
        command.arg("--input").arg(format!("{name}={file}"));
    }
    command.args(args.json.then_some("--json"));
    executor::settle(executor::run(command)?, 1)
}
