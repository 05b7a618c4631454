//! `pdctl config use-context`: one line of the kubeconfig is written anew; comments and order stay.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use kube::config::Kubeconfig;

use crate::{
    cli::Global,
    client,
    errors::{Error, Result},
    output, suggest,
};

const KEY: &str = "current-context:";

/// Which context.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its name
    #[arg(value_name = "CONTEXT", add = crate::complete::contexts())]
    name: String,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<()> {
    let (kubeconfig, file) = client::read_kubeconfig(global)?;
    let known = || kubeconfig.contexts.iter().map(|context| context.name.as_str());
    if !known().any(|name| name == args.name) {
        let hint = suggest::did_you_mean(&args.name, known())
            .unwrap_or_else(|| format!("it has: {}", known().collect::<Vec<_>>().join(", ")));
        return Err(Error::not_found(format!("{file} has no context `{}`", args.name), Some(hint)));
    }
    let path = file_to_write(global)?;
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    write(&path, &with_current(&text, &args.name))?;
    output::print_line(&format!("switched to context `{}`", args.name))
}

/// The file that says the current context; of several that say none, the first.
fn file_to_write(global: &Global) -> Result<PathBuf> {
    if let Some(path) = &global.kubeconfig {
        return Ok(path.clone());
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let files: Vec<PathBuf> = std::env::split_paths(&listed).filter(|path| path.is_file()).collect();
    let says = |path: &&PathBuf| {
        Kubeconfig::read_from(path).is_ok_and(|found| found.current_context.is_some_and(|name| !name.is_empty()))
    };
    let found = files.iter().find(says).or(files.first()).cloned();
    let home = || std::env::home_dir().map(|home| home.join(".kube").join("config"));
    found.or_else(home).ok_or_else(|| Error::invalid("there is no kubeconfig to write to"))
}

/// The text with another current context.
fn with_current(text: &str, name: &str) -> String {
    // JSON quotes a string as YAML does.
    let line = format!("{KEY} {}", serde_json::Value::from(name));
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./@:".contains(&byte));
    let is_word = plain
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&name);
    let line = if is_word && !name.contains(": ") && !name.ends_with(':') { format!("{KEY} {name}") } else { line };
    if text.trim_start().starts_with('{') {
        // JSON: the whole is written anew, there are no comments to lose.
        if let Ok(mut config) = serde_json::from_str::<serde_json::Value>(text) {
            config["current-context"] = name.into();
            return output::json_text(&config) + "\n";
        }
    }
    let mut is_written = false;
    let mut out = String::new();
    for old in text.lines() {
        let is_it = old.starts_with(KEY);
        if is_it && is_written {
            continue;
        }
        out.push_str(if is_it { &line } else { old });
        out.push('\n');
        is_written |= is_it;
    }
    if !is_written {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// Under a temporary name until it is whole, with the rights that the file had: it holds secrets.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |source| Error::file("write", path)(source);
    // A link stays a link.
    let path = &fs::canonicalize(path).map_err(failed)?;
    let rights = fs::metadata(path).map_err(failed)?.permissions();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(".pdctl-").permissions(rights).tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes_and_comments_stay() {
        let text = "# mine\napiVersion: v1\ncurrent-context: a\ncontexts: []\n";
        assert_eq!(with_current(text, "b"), "# mine\napiVersion: v1\ncurrent-context: b\ncontexts: []\n");
        assert_eq!(with_current("apiVersion: v1\n", "b"), "apiVersion: v1\ncurrent-context: b\n");
        assert_eq!(with_current("current-context: a\n", "true"), "current-context: \"true\"\n");
        assert_eq!(with_current("current-context: a\n", "x y"), "current-context: \"x y\"\n");
        let json = with_current("{\"current-context\": \"a\"}", "b");
        assert_eq!(json, "{\n  \"current-context\": \"b\"\n}\n");
    }
}
