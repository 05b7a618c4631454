//! `pdctl task new NAME`: a crate to begin with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    errors::{Error, Result},
    output,
};

/// Files of the crate, with what they are made of.
const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../../templates/task/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../../templates/task/lib.rs.in")),
    ("task.json", include_str!("../../../templates/task/task.json.in")),
    (".gitignore", "/target\n"),
];
/// The crate that a task is written with; it says so of itself.
const SDK_NAME: &str = "name = \"task-sdk\"";

/// Which task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the task and of the folder: lower-case letters, digits and `-`
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,
    /// Folder of the crate task-sdk
    #[arg(long, value_name = "FOLDER")]
    sdk: PathBuf,
    /// What to write it in
    #[arg(long, value_name = "LANGUAGE", default_value = "rust", value_parser = ["rust"])]
    lang: String,
}

/// A DNS label that is a crate's name as well.
fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if is_plain && begins && text.len() <= 63 && !text.ends_with('-') && !text.contains("--") {
        Ok(text.to_owned())
    } else {
        Err("lower-case letters, digits and single `-` between them, beginning with a letter, at most 63".to_owned())
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let folder = Path::new(&args.name);
    if folder.exists() {
        let hint = Some("choose another name, or remove it first".to_owned());
        return Err(Error::Invalid { message: format!("`{}` exists", folder.display()), hint });
    }
    let sdk = sdk_folder(&args.sdk)?;
    for (name, template) in FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(Error::file("create the folder", parent))?;
        fs::write(&path, filled(template, &args.name, &sdk)).map_err(Error::file("write", &path))?;
    }
    output::print_line(&args.name)?;
    output::note(&format!(
        "next: cd {} && cargo test && cargo build --release --target wasm32-unknown-unknown\n\
         then: pdctl task check target/wasm32-unknown-unknown/release/{}.wasm",
        args.name,
        args.name.replace('-', "_")
    ));
    Ok(())
}

/// The SDK's whole path, since the crate stands in another folder than we.
fn sdk_folder(given: &Path) -> Result<String> {
    let manifest = given.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(Error::file("read the SDK's manifest", &manifest))?;
    if !text.contains(SDK_NAME) {
        let message = format!("{} is not the crate task-sdk", given.display());
        let hint = Some("it is wasm_tasks/sdk of ProcessDistro's sources".to_owned());
        return Err(Error::Invalid { message, hint });
    }
    let whole = fs::canonicalize(given).map_err(Error::file("find", given))?;
    let text = whole.to_str().filter(|text| !text.contains(['"', '\\'])).map(str::to_owned);
    text.ok_or_else(|| Error::invalid(format!("{} cannot stand in a Cargo.toml; move it", whole.display())))
}

fn filled(template: &str, name: &str, sdk: &str) -> String {
    template.replace("{{name}}", name).replace("{{type}}", &type_name(name)).replace("{{sdk}}", sdk)
}

/// `word-count` as `WordCount`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('-').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_crates_and_types() {
        assert_eq!(type_name("word-count"), "WordCount");
        assert!(parse_name("word-count2").is_ok());
        for wrong in ["", "2x", "Word", "a_b", "a--b", "a-", "../x"] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        for (name, template) in FILES {
            let text = filled(template, "word-count", "/sdk");
            assert!(!text.contains("{{"), "{name}: {text}");
        }
        let json = filled(FILES[2].1, "word-count", "/sdk");
        let metadata: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(metadata["name"], "word-count");
    }
}
