//! Input files of jobs: each is hashed before anything is sent, and uploaded once everything is checked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemas::Digest;

use crate::{
    artifacts::{self, Hashed},
    client::Cluster,
    errors::{Error, Result},
};

/// Files that are to be uploaded, each once.
#[derive(Default)]
pub(crate) struct Uploads(BTreeMap<PathBuf, Hashed>);

impl Uploads {
    /// Reads a file's digest and remembers to upload it.
    pub(crate) async fn add(&mut self, path: PathBuf) -> Result<Digest> {
        if let Some(known) = self.0.get(&path) {
            return Ok(known.digest);
        }
        if path.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::File { doing: "read the input", path, source });
        }
        let hashed = artifacts::hash_file(&path).await?;
        let digest = hashed.digest;
        self.0.insert(path, hashed);
        Ok(digest)
    }

    /// True when there is nothing to upload.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files that the store does not have, with their sizes.
    pub(crate) async fn missing(&self, cluster: &Cluster) -> Result<Vec<(&Path, u64)>> {
        let mut missing = Vec::new();
        for (path, hashed) in &self.0 {
            if !artifacts::exists(cluster, &hashed.digest).await? {
                missing.push((path.as_path(), hashed.size));
            }
        }
        Ok(missing)
    }

    /// Uploads what the store does not have.
    pub(crate) async fn send(&self, cluster: &Cluster) -> Result<()> {
        for (path, hashed) in &self.0 {
            artifacts::ensure_file(cluster, path, hashed).await?;
        }
        Ok(())
    }
}

/// `NAME=FILE` of the command line.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.to_owned())),
        _ => Err("write it like NAME=FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_need_both_sides() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(["a", "=b", "a="].iter().all(|text| pair(text).is_err()));
    }
}
