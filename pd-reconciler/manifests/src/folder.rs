//! Reading a folder: every manifest below it, whole, with a digest over all of them.
//!
//! In: a path. Out: names and bytes. What editors leave lying about, hidden files and folders, and endings
//! that are no manifest's are not looked at; links are followed, so that a folder swapped by a link is read.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use schemas::{Digest, limits::MANIFEST_BYTES_MAX};
use sha2::{Digest as _, Sha256};

/// Endings of manifests.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Folders inside folders; deeper is a loop of links.
const DEPTH_MAX: usize = 32;
/// Files of one folder: with 1 MiB each the bytes of one reading stay bounded, and a home folder given by
/// mistake is noticed.
const FILES_MAX: usize = 10_000;

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is not there, or was and has gone.
    #[error("the folder {0} does not exist; nothing is deleted because of that")]
    Missing(PathBuf),
    /// It cannot be listed.
    #[error("the folder {path} cannot be read: {source}")]
    Unreadable {
        /// The folder, or one in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More files than a folder of manifests has.
    #[error("the folder {0} holds more than {FILES_MAX} manifests; watch one of the folders in it")]
    TooMany(PathBuf),
}

/// One reading of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// By name below the folder, with `/` between its parts: the bytes, or why they cannot be had.
    pub files: BTreeMap<String, Result<Vec<u8>, String>>,
}

impl Folder {
    /// Over names and contents: the same digest is the same state.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        for (name, content) in &self.files {
            let content =
                content.as_ref().map_or_else(|reason| Digest::of(reason.as_bytes()), |bytes| Digest::of(bytes));
            hasher.update(name.as_bytes());
            hasher.update([0]);
            hasher.update(content.to_string().as_bytes());
        }
        Digest::from_bytes(hasher.finalize().into())
    }
}

/// Reads every manifest below `root`.
pub fn read(root: &Path) -> Result<Folder, FolderError> {
    if !root.is_dir() {
        return Err(FolderError::Missing(root.to_owned()));
    }
    let mut folder = Folder::default();
    walk(root, root, 0, &mut folder)?;
    Ok(folder)
}

fn walk(root: &Path, at: &Path, depth: usize, folder: &mut Folder) -> Result<(), FolderError> {
    let unreadable = |source| FolderError::Unreadable { path: at.to_owned(), source };
    if depth > DEPTH_MAX {
        return Err(unreadable(io::Error::other(format!("folders nest more than {DEPTH_MAX} deep"))));
    }
    let entries = match fs::read_dir(at) {
        // A folder inside that vanished while we read has no files.
        Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(unreadable)?,
    };
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !is_noise(name)) else {
            continue;
        };
        if path.is_dir() {
            walk(root, &path, depth + 1, folder)?;
        } else if is_manifest(name)
            && let Some(content) = content(&path)
        {
            if folder.files.len() >= FILES_MAX {
                return Err(FolderError::TooMany(root.to_owned()));
            }
            folder.files.insert(name_below(root, &path), content);
        }
    }
    Ok(())
}

/// Hidden files, and what editors write beside the file that they edit.
fn is_noise(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('#') || name.ends_with('~')
}

fn is_manifest(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// The bytes, one more than is allowed at most; none for a file that has just gone.
fn content(path: &Path) -> Option<Result<Vec<u8>, String>> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Some(Ok(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("cannot be read: {error}"))),
    }
}

fn name_below(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_found_and_noise_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
            fs::write(path, name).expect("writes");
        };
        for name in [
            "b.yaml",
            "a.yml",
            "deep/er/c.json",
            ".hidden.yaml",
            ".git/x.yaml",
            "a.yaml~",
            "#a.yaml#",
            ".a.yaml.swp",
            "4913",
            "notes.txt",
        ] {
            write(name);
        }
        let folder = read(root.path()).expect("reads");
        assert_eq!(folder.files.keys().collect::<Vec<_>>(), ["a.yml", "b.yaml", "deep/er/c.json"]);
    }

    #[test]
    fn a_folder_swapped_by_a_link_is_read_anew() {
        let root = tempfile::tempdir().expect("a folder");
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(root.path().join(version)).expect("creates");
            fs::write(root.path().join(version).join("job.yaml"), text).expect("writes");
        }
        let link = root.path().join("current");
        std::os::unix::fs::symlink("v1", &link).expect("links");
        let before = read(&link).expect("reads");
        fs::remove_file(&link).expect("unlinks");
        std::os::unix::fs::symlink("v2", &link).expect("links");
        let after = read(&link).expect("reads");
        assert_eq!(after.files["job.yaml"], Ok(b"two".to_vec()));
        assert_ne!(before.digest(), after.digest());
    }

    #[test]
    fn a_missing_folder_is_an_error_and_not_an_empty_one() {
        assert!(matches!(read(Path::new("/nonexistent/manifests")), Err(FolderError::Missing(_))));
    }
}
