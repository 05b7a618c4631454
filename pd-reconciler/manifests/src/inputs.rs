//! Local inputs of Jobs: each is hashed when it changes, uploaded before its Job is applied, and must lie in
//! the watched folder: who may write manifests there must not be able to read other files of the machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use schemas::{Digest, manifest::LocalInput, manifest_source::FileProblem};

use crate::{
    desired::{Desired, ObjectId, Wanted, problem},
    platform,
    upload::{self, Hashed},
};

/// What a file looked like when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    identity: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
}

/// Digests of input files, kept until the file looks different.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    known: BTreeMap<PathBuf, (Look, Hashed)>,
}

/// One input file, ready to be uploaded.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    pub(crate) path: PathBuf,
    pub(crate) hashed: Hashed,
}

impl Inputs {
    /// Puts digests in the place of the paths of every Job; a Job of which that cannot be done is held. Answers
    /// the files of each.
    pub(crate) async fn resolve(&mut self, root: &Path, desired: &mut Desired) -> BTreeMap<ObjectId, Vec<InputFile>> {
        let mut files = BTreeMap::new();
        let mut failed = Vec::new();
        for (id, wanted) in &mut desired.objects {
            let inputs = wanted.document.local_inputs();
            if inputs.is_empty() {
                continue;
            }
            match self.resolve_job(root, wanted, &inputs).await {
                Ok(found) => drop(files.insert(id.clone(), found)),
                Err(problem) => failed.push((id.clone(), problem)),
            }
        }
        for (id, problem) in failed {
            desired.objects.remove(&id);
            desired.held.insert(id);
            desired.problems.push(problem);
        }
        files
    }

    async fn resolve_job(
        &mut self,
        root: &Path,
        wanted: &mut Wanted,
        inputs: &[LocalInput],
    ) -> Result<Vec<InputFile>, FileProblem> {
        let mut files = Vec::with_capacity(inputs.len());
        for input in inputs {
            let wrong = |message: String| problem(&wanted.file, &wanted.document.error(&input.field, message));
            let path = locate(root, &wanted.file, &input.path).map_err(wrong)?;
            let hashed = self.hash(&path).await.map_err(wrong)?;
            files.push(InputFile { path, hashed });
        }
        for (input, file) in inputs.iter().zip(&files) {
            wanted.document.set_input(&input.name, file.hashed.digest);
        }
        wanted.digest = Digest::of(wanted.document.object.to_string().as_bytes());
        Ok(files)
    }

    async fn hash(&mut self, path: &Path) -> Result<Hashed, String> {
        let look = look(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if let Some((_, hashed)) = self.known.get(path).filter(|(known, _)| *known == look) {
            return Ok(*hashed);
        }
        let hashed = upload::hash_file(path).await.map_err(|error| error.to_string())?;
        self.known.insert(path.to_owned(), (look, hashed));
        Ok(hashed)
    }
}

fn look(path: &Path) -> std::io::Result<Look> {
    let metadata = fs::metadata(path)?;
    Ok(Look { identity: platform::identity(&metadata), size: metadata.len(), modified: metadata.modified().ok() })
}

/// The file that an input means: relative to its manifest's folder, inside the watched one.
fn locate(root: &Path, manifest: &str, input: &str) -> Result<PathBuf, String> {
    let folder = Path::new(manifest).parent().unwrap_or(Path::new(""));
    let path = root.join(folder).join(input);
    let real = path.canonicalize().map_err(|error| format!("{input} cannot be read: {error}"))?;
    let root = root.canonicalize().map_err(|error| format!("the folder cannot be read: {error}"))?;
    if real.starts_with(&root) {
        Ok(real)
    } else {
        Err(format!("{input} lies outside of the watched folder; put the file, not a link to it, beside the manifest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_outside_of_the_folder_is_refused() {
        let outer = tempfile::tempdir().expect("a folder");
        let root = outer.path().join("manifests");
        fs::create_dir_all(root.join("jobs")).expect("creates");
        fs::write(outer.path().join("secret.txt"), "s").expect("writes");
        fs::write(root.join("words.txt"), "w").expect("writes");
        std::os::unix::fs::symlink("../secret.txt", root.join("link.txt")).expect("links");
        assert!(locate(&root, "jobs/job.yaml", "../words.txt").is_ok());
        for escape in ["../../secret.txt", "../link.txt", "/etc/hostname"] {
            assert!(locate(&root, "jobs/job.yaml", escape).expect_err(escape).contains("outside"), "{escape}");
        }
        assert!(locate(&root, "job.yaml", "none.txt").expect_err("missing").contains("cannot be read"));
    }
}
