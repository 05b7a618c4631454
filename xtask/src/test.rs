//! All tests.

use anyhow::Result;

use crate::{
    build,
    command::{cargo, run as run_command},
    setup,
};

/// Sets up, builds everything and runs every test; the whole-system tests need the built programs.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    build::run_with_tests()?;
    run_command(cargo()?.args(["test", "--release", "--workspace", "--no-fail-fast"]))
}
