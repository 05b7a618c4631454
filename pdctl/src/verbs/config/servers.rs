//! `pdctl config settings|validate|schema`: the configuration file of the servers, without asking one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use schemas::{
    configuration::{self, Layered},
    manifest,
};
use serde_json::Value;

use crate::{
    errors::{Error, Result},
    manifests, output,
    table::Table,
};

/// Which settings to print.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// The file that the servers read
    #[arg(long, env = "PD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say where each value comes from: a file, the environment, or nobody
    #[arg(long)]
    show_origin: bool,
}

/// Which file to check.
#[derive(clap::Args)]
pub(crate) struct Validate {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs `settings`.
pub(super) fn settings(args: &Settings) -> Result<()> {
    show(args.config.as_deref(), args.show_origin)
}

/// Prints every key.
pub(super) fn show(file: Option<&Path>, with_origin: bool) -> Result<()> {
    let mut layers = Layered::default();
    if let Some(file) = file {
        layers = layers.with_file(&file.display().to_string(), &read(file)?);
    }
    let layers = layers
        .with_environment(|name| std::env::var(name).ok())
        .map_err(|errors| Error::invalid(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let columns = if with_origin { 3 } else { 2 };
    let mut table = Table::new(["key", "value", "origin"].into_iter().take(columns));
    for (setting, value, origin) in layers.entries() {
        table.push([setting.key.to_owned(), text(value), origin.to_string()].into_iter().take(columns));
    }
    output::print(&table.render())
}

/// Checks a file.
pub(super) fn validate(args: &Validate) -> Result<()> {
    read(&args.file)?;
    output::print_line(&format!("{} is in order", args.file.display()))
}

/// Prints the schema.
pub(super) fn schema() -> Result<()> {
    output::print_line(&output::json_text(&configuration::schema(configuration::Spelling::Plain)))
}

fn read(file: &Path) -> Result<Value> {
    let name = file.display().to_string();
    let bytes = fs::read(file).map_err(Error::file("read", file))?;
    let text = manifest::decode(&name, bytes).map_err(|error| Error::Manifests(vec![manifests::shown(error, None)]))?;
    let text = Arc::<str>::from(text);
    configuration::parse(&name, &text).map_err(|errors| {
        Error::Manifests(errors.into_iter().map(|error| manifests::shown(error, Some(&text))).collect())
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
