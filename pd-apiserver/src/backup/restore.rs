//! Restoring: a data folder out of a backup, checked to its last byte.
//!
//! The store gets its name at the very end. A folder that was left half way has a marker and no store, and no server
//! starts in it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{ABOUT, ARTIFACTS, AUTHORITY_FILES, About, FORMAT, OBJECTS, PKI, SUMS};
use crate::{
    pki,
    store::{Record, import::Import, redb_store::OpenError},
};

/// Largest entry that is not an artifact; an entry of records is a little more than one of the largest records.
const ENTRY_BYTES_MAX: u64 = 64 << 20;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup was of.
    pub about: About,
    /// Objects.
    pub objects: u64,
    /// Artifacts.
    pub artifacts: u64,
    /// The first revision of the restored store.
    pub revision: u64,
}

/// Why a backup cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in the folder already.
    #[error("`{}` is not empty: restore into a folder of its own, and keep the old one until the new one has proved itself", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {attempt} `{}`", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not a backup, or not a whole one.
    #[error("the backup cannot be used: {0}")]
    Backup(String),
    /// Another version of this program wrote it.
    #[error(
        "the backup has format {found}, this program reads format {FORMAT}: use the version that wrote it ({version})"
    )]
    Format {
        /// Its format.
        found: u32,
        /// What wrote it.
        version: String,
    },
    /// The store cannot be made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The authority's files cannot be written.
    #[error(transparent)]
    Authority(#[from] pki::PkiError),
}

/// Makes the data folder `folder`, absent or empty, from the backup in `file`.
pub fn restore(file: &Path, folder: &Path) -> Result<Restored, RestoreError> {
    let backup = File::open(file).map_err(failed("open", file))?;
    let existed = prepare(folder)?;
    let restored = Restoring::new(folder).run(BufReader::new(backup));
    if restored.is_err() {
        // What is left would only be in the way of the next try; that it is left is no worse than the first error.
        let _ = clear(folder, existed);
    }
    restored
}

/// Refuses a folder with something in it; true when it was there.
fn prepare(folder: &Path) -> Result<bool, RestoreError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(RestoreError::NotEmpty { path: folder.to_owned() }),
            None => Ok(true),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map(|()| false).map_err(failed("create", folder))
        }
        Err(error) => Err(failed("list", folder)(error)),
    }
}

/// Takes away what a restoring that failed has made.
fn clear(folder: &Path, existed: bool) -> io::Result<()> {
    if !existed {
        return fs::remove_dir_all(folder);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

struct Restoring<'f> {
    folder: &'f Path,
    about: Option<About>,
    import: Option<Import>,
    /// Of every entry, by name.
    sums: BTreeMap<String, String>,
    /// What the last entry says they are.
    told: Option<String>,
    objects: u64,
    artifacts: u64,
}

impl<'f> Restoring<'f> {
    fn new(folder: &'f Path) -> Self {
        Self { folder, about: None, import: None, sums: BTreeMap::new(), told: None, objects: 0, artifacts: 0 }
    }

    fn run(mut self, backup: impl Read) -> Result<Restored, RestoreError> {
        let mut archive = tar::Archive::new(backup);
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let size = entry.size();
            if self.told.is_some() {
                return Err(RestoreError::Backup(format!("`{name}` comes after {SUMS}")));
            }
            self.take(&name, size, &mut entry)?;
        }
        self.finish()
    }

    fn take(&mut self, name: &str, size: u64, entry: &mut impl Read) -> Result<(), RestoreError> {
        if self.about.is_none() != (name == ABOUT) {
            return Err(RestoreError::Backup(format!("`{name}` is not where it should be: {ABOUT} comes first, once")));
        }
        if let Some(hex) = name.strip_prefix(ARTIFACTS) {
            return self.artifact(name, hex, entry);
        }
        if size > ENTRY_BYTES_MAX {
            return Err(RestoreError::Backup(format!("`{name}` has {size} bytes, which no entry of its kind has")));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        if name == SUMS {
            self.told = Some(String::from_utf8_lossy(&bytes).into_owned());
            return Ok(());
        }
        self.sums.insert(name.to_owned(), hex::encode(Sha256::digest(&bytes)));
        match name.split_once('/') {
            None if name == ABOUT => self.begin(&bytes),
            Some(("pki", file)) if AUTHORITY_FILES.contains(&file) => self.authority(file, &bytes),
            Some(("objects", _)) => self.records(name, &bytes),
            _ => Err(RestoreError::Backup(format!("it has an entry `{name}`, which no backup has"))),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let broken = |error: serde_json::Error| RestoreError::Backup(format!("{ABOUT} cannot be read: {error}"));
        let about: About = serde_json::from_slice(bytes).map_err(broken)?;
        if about.format != FORMAT {
            return Err(RestoreError::Format { found: about.format, version: about.version });
        }
        self.import = Some(Import::begin(&self.folder.join("store.redb"), about.cluster, about.revision)?);
        self.about = Some(about);
        Ok(())
    }

    fn authority(&self, file: &str, bytes: &[u8]) -> Result<(), RestoreError> {
        let folder = self.folder.join(PKI);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed("create", &folder))?;
        let text = String::from_utf8_lossy(bytes);
        let is_private = Path::new(file).extension().is_some_and(|extension| extension == "key");
        let write = if is_private { pki::write_private } else { pki::write_public };
        Ok(write(&folder.join(file), &text)?)
    }

    fn records(&mut self, name: &str, bytes: &[u8]) -> Result<(), RestoreError> {
        let broken = || RestoreError::Backup(format!("a line of `{name}` is no record"));
        let mut records = Vec::new();
        for line in bytes.lines() {
            let line = line.map_err(|_| broken())?;
            let mut parts = line.splitn(3, '\t');
            let (Some(key), Some(revision), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(broken());
            };
            let revision = revision.parse().map_err(|_| broken())?;
            records.push(Record { key: key.to_owned(), revision, value: value.to_owned().into() });
        }
        self.objects += records.len() as u64;
        self.import.as_ref().ok_or_else(broken)?.put(&records)?;
        Ok(())
    }

    /// Straight to its place, hashed on the way.
    fn artifact(&mut self, name: &str, hex: &str, entry: &mut impl Read) -> Result<(), RestoreError> {
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex {
            return Err(RestoreError::Backup(format!("`{name}` is not named by a digest")));
        }
        let folder = self.folder.join(ARTIFACTS).join(&hex[..2]);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let path = folder.join(hex);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o644).open(&path).map_err(failed("create", &path))?;
        let mut hashing = Hashing { hash: Sha256::new(), inner: entry };
        io::copy(&mut hashing, &mut file).map_err(failed("write", &path))?;
        file.sync_all().map_err(failed("sync", &path))?;
        let actual = hex::encode(hashing.hash.finalize());
        if actual != hex {
            return Err(RestoreError::Backup(format!("the bytes of `{name}` hash to {actual}: the file is damaged")));
        }
        self.sums.insert(name.to_owned(), actual);
        self.artifacts += 1;
        Ok(())
    }

    fn finish(self) -> Result<Restored, RestoreError> {
        let Some(told) = &self.told else {
            return Err(RestoreError::Backup(format!("it ends before {SUMS}: the file was cut short")));
        };
        let told: BTreeMap<String, String> = told
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
            .collect();
        if let Some((name, _)) = told.iter().find(|(name, sum)| self.sums.get(*name) != Some(sum)) {
            return Err(RestoreError::Backup(format!(
                "`{name}` is missing or damaged: {SUMS} has another digest for it"
            )));
        }
        if let Some(name) = self.sums.keys().find(|name| !told.contains_key(*name)) {
            return Err(RestoreError::Backup(format!("`{name}` is not in {SUMS}")));
        }
        let whole = AUTHORITY_FILES.iter().all(|file| self.sums.contains_key(&format!("{PKI}{file}")))
            && self.sums.keys().any(|name| name.starts_with(OBJECTS));
        let (Some(about), Some(import), true) = (self.about, self.import, whole) else {
            return Err(RestoreError::Backup("it lacks the authority or the objects".to_owned()));
        };
        let revision = import.finish()?;
        Ok(Restored { about, objects: self.objects, artifacts: self.artifacts, revision })
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    hash: Sha256,
    inner: R,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

fn unreadable(error: io::Error) -> RestoreError {
    RestoreError::Backup(format!("it cannot be read to its end: {error}"))
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::File { attempt, path, source }
}
