//! Space that is held back for the day when the disk is full.
//!
//! A delete writes too: without room for it a full disk could never be made less full through the API. So a file of
//! zeros lies beside the store. When a write fails for want of space it is removed, the store opens again and takes
//! deletes only; everything else is taken again once the file could be made anew.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Size of the reserve: opening the store again may have to write the whole journal (16 MiB) into the database, as
/// objects and as log, with as much again for pages that are rewritten.
const RESERVE_BYTES: u64 = 64 << 20;
/// Part of a small disk that the reserve may take: one in so many of the free bytes.
const RESERVE_SHARE: u64 = 8;
/// Part of itself that must be free beside it.
const HEADROOM_SHARE: u64 = 4;
/// Between two attempts to make it anew: space that has become free is noticed within this time.
const REBUILD_INTERVAL: Duration = Duration::from_secs(1);
/// Name of the file.
const FILE: &str = "reserve";

/// The reserve beside one store.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// False: the disk is full.
    is_there: bool,
    tried: Option<Instant>,
}

impl Reserve {
    /// Beside the store at `path`; made now, as far as there is room for it.
    pub(super) fn beside(path: &Path) -> Self {
        let path = path.with_file_name(FILE);
        let found = fs::metadata(&path).map(|meta| meta.len()).unwrap_or_default();
        let bytes = if found > 0 { found } else { share_of_disk(&path, RESERVE_BYTES, RESERVE_SHARE) };
        let mut reserve = Self { path, bytes, is_there: found > 0, tried: None };
        reserve.rebuild();
        reserve
    }

    /// Gives its space away.
    pub(super) fn release(&mut self) {
        self.is_there = false;
        self.tried = Some(Instant::now());
        match fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!(bytes = self.bytes, "the disk is full: the reserve is released, for deletes only"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%error, "cannot release the reserve"),
        }
    }

    /// How long to wait before `rebuild` is worth a try; `None`: it is there.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.is_there).then_some(REBUILD_INTERVAL)
    }

    /// Makes it anew when it is time to try; true: it is there.
    pub(super) fn rebuild(&mut self) -> bool {
        let is_too_early = self.tried.is_some_and(|tried| tried.elapsed() < REBUILD_INTERVAL);
        if self.is_there || is_too_early {
            return self.is_there;
        }
        self.tried = Some(Instant::now());
        match self.make() {
            Ok(()) => self.is_there = true,
            Err(error) => {
                tracing::debug!(%error, bytes = self.bytes, "no room for the reserve");
                // Half a reserve would be taken for a whole one at the next start.
                let _ = fs::remove_file(&self.path);
            }
        }
        self.is_there
    }

    fn make(&self) -> io::Result<()> {
        // The space that a release has just freed is not space that has become free.
        if free_bytes(&self.path) < self.bytes.saturating_add(self.bytes / HEADROOM_SHARE) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(&file, self.bytes)?,
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }
}

/// So many zeros, written out.
pub(super) fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let mut file = io::BufWriter::with_capacity(1 << 20, file);
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    io::Write::flush(&mut file)
}

/// `wanted` bytes, or one in `share` of those that are free on a small disk.
pub(super) fn share_of_disk(path: &Path, wanted: u64, share: u64) -> u64 {
    wanted.min(free_bytes(path) / share).max(1)
}

/// Free bytes on the disk of `path`; where that cannot be said, plenty.
fn free_bytes(path: &Path) -> u64 {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_released_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let mut reserve = Reserve::beside(&store);
        let file = folder.path().join(FILE);
        assert!(reserve.is_there && reserve.patience().is_none());
        assert_eq!(fs::metadata(&file).unwrap().len(), reserve.bytes);
        reserve.release();
        assert!(!reserve.is_there && !file.exists());
        assert!(!reserve.rebuild(), "not at once");
        reserve.tried = None;
        assert!(reserve.rebuild() && file.exists());
        assert_eq!(Reserve::beside(&store).bytes, reserve.bytes, "an old one is kept");
    }

    #[test]
    fn there_is_none_where_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::beside(&folder.path().join("store.redb"));
        reserve.release();
        (reserve.tried, reserve.bytes) = (None, u64::MAX / 4);
        assert!(!reserve.rebuild());
        assert!(!folder.path().join(FILE).exists());
    }
}
