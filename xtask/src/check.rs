//! What has to hold of the text of the code.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

/// Formatting, lints with warnings denied, docs with warnings denied.
pub(crate) fn run() -> Result<()> {
    run_command(cargo()?.args(["fmt", "--all", "--check"]))?;
    run_command(cargo()?.args(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let docs = ["doc", "--release", "--workspace", "--no-deps", "--document-private-items"];
    run_command(cargo()?.args(docs).env("RUSTDOCFLAGS", "-D warnings"))
}
