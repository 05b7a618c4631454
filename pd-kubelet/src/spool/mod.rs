//! What is finished and not acknowledged yet, on disk: one folder for each Assignment, with the segments and a
//! ledger that says what they are.
//!
//! The ledger is replaced by rename before anything is reported, so that a kubelet that was killed finds all
//! that it may have told anybody. Nothing is synced to the disk: after a power loss the machine counts as
//! lost and what is torn is dropped, which the digests show. The room knows no network.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use schemas::Digest;

use crate::{cache::digest_of, report::Ledger};

const LEDGER_FILE: &str = "ledger.json";

/// The spools of one kubelet.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
}

/// The spool of one Assignment.
#[derive(Clone, Debug)]
pub(crate) struct SpoolDir {
    folder: PathBuf,
}

impl Spool {
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("spool");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// What earlier starts left, by the Assignments' UIDs.
    pub(crate) fn load(&self) -> io::Result<BTreeMap<String, Ledger>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let uid = entry.file_name().to_string_lossy().into_owned();
            let dir = SpoolDir { folder: entry.path() };
            match dir.load() {
                Ok(ledger) => {
                    found.insert(uid, ledger);
                }
                Err(error) => {
                    tracing::warn!(assignment = uid, %error, "a spool is unreadable; its work will be done again");
                    dir.remove();
                }
            }
        }
        Ok(found)
    }

    /// The spool of an Assignment; made when it is first written to.
    pub(crate) fn dir(&self, uid: &str) -> SpoolDir {
        // A UID is the server's: it must not lead out of the folder all the same.
        let name: String = uid.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        SpoolDir { folder: self.folder.join(name) }
    }
}

impl SpoolDir {
    /// The ledger, without the segments whose files are not what the ledger says.
    fn load(&self) -> io::Result<Ledger> {
        let mut ledger: Ledger = serde_json::from_slice(&fs::read(self.folder.join(LEDGER_FILE))?)?;
        ledger.drop_damaged(|digest| digest_of(&self.blob(digest)).is_ok_and(|actual| actual == digest));
        Ok(ledger)
    }

    /// Replaces the ledger.
    pub(crate) fn store(&self, ledger: &Ledger) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let temporary = self.folder.join("ledger.new");
        fs::write(&temporary, serde_json::to_vec(ledger)?)?;
        fs::rename(&temporary, self.folder.join(LEDGER_FILE))
    }

    /// Writes a blob under its digest; answers its digest and size.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<(Digest, u64)> {
        fs::create_dir_all(&self.folder)?;
        let digest = Digest::of(bytes);
        let temporary = self.folder.join(format!("{}.part", digest.hex()));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, self.blob(digest))?;
        Ok((digest, bytes.len() as u64))
    }

    /// Takes a finished temporary file in under its digest.
    pub(crate) fn take(&self, file: tempfile::TempPath, digest: Digest) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        file.persist(self.blob(digest)).map_err(|error| error.error)
    }

    /// Where the blob of that digest is or would be.
    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// A folder on the same disk for files that will be taken in; made when missing.
    pub(crate) fn scratch(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        Ok(self.folder.clone())
    }

    /// Deletes everything of this Assignment.
    pub(crate) fn remove(&self) {
        match fs::remove_dir_all(&self.folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(folder = %self.folder.display(), %error, "spool not removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::segment::Entries;

    use super::*;
    use crate::report::pack;

    #[test]
    fn finished_work_survives_a_restart_and_damage_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("opens");
        let dir = spool.dir("uid-1");
        let mut ledger = Ledger::new("node-uid".into());
        for (first, text) in [(0_u64, "a"), (2, "b")] {
            let mut outputs = Entries::default();
            outputs.push(first, text.as_bytes());
            outputs.push(first + 1, b"");
            let outputs = [outputs];
            for packed in pack::pack(&dir, &outputs, &[(first, "log".into())]).expect("packs") {
                ledger.add(packed);
            }
        }
        dir.store(&ledger).expect("stores");
        let loaded = spool.load().expect("loads");
        assert_eq!(loaded["uid-1"], ledger);
        assert_eq!(loaded["uid-1"].completed().to_string(), "0-3");

        let second = ledger.segments[1].digest;
        fs::write(dir.blob(second), b"damaged").expect("writes");
        assert_eq!(spool.load().expect("loads")["uid-1"].completed().to_string(), "0-1");

        ledger.blobs.get_mut(&second).expect("is there").uploaded = true;
        dir.store(&ledger).expect("stores");
        let loaded = spool.load().expect("loads");
        assert_eq!(loaded["uid-1"].completed().to_string(), "0-3", "the server has it");

        dir.remove();
        assert!(spool.load().expect("loads").is_empty());
    }

    #[test]
    fn a_torn_ledger_is_dropped_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("opens");
        spool.dir("a").store(&Ledger::new("n".into())).expect("stores");
        spool.dir("b").store(&Ledger::new("n".into())).expect("stores");
        fs::write(spool.dir("a").folder.join(LEDGER_FILE), b"{").expect("writes");
        assert_eq!(spool.load().expect("loads").keys().collect::<Vec<_>>(), ["b"]);
    }
}
