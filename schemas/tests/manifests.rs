//! The manifests of the repository: the examples parse, the invalid ones are refused with what they promise.

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemas::manifest;

/// The manifests of a folder below `manifests/`, each with its text.
fn manifests(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "json"));
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = manifest::decode(&name, fs::read(&path).expect("reads")).expect("decodes");
            (path, text)
        })
        .collect()
}

#[test]
fn the_examples_parse_and_their_inputs_are_there() {
    let examples = manifests("");
    assert!(examples.len() >= 5, "{examples:?}");
    for (path, text) in examples {
        let name = path.display().to_string();
        let documents = manifest::parse(&name, &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        assert!(!documents.is_empty(), "{name}");
        for input in documents.iter().flat_map(manifest::Document::local_inputs) {
            assert!(path.with_file_name(&input.path).exists(), "{name}: {}", input.path);
        }
    }
}

#[test]
fn the_invalid_ones_are_refused_with_what_they_promise() {
    for (path, text) in manifests("invalid") {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let promises: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!promises.is_empty(), "{name} promises nothing");
        let result = manifest::parse(&name, &text);
        if text.contains("\n# decided-by: ") {
            assert!(result.is_ok(), "{name}: {result:#?}");
            continue;
        }
        let errors = result.expect_err(&name);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for promise in &promises {
            assert!(said.iter().any(|error| error.contains(promise)), "{name}: no {promise:?} in {said:#?}");
        }
        assert!(errors.len() <= promises.len(), "{name}: more than it promises: {said:#?}");
    }
}
