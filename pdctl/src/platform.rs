//! The little that differs from one operating system to the next: who may read a file, and how much room is left.

use std::{fs, io, path::Path};

use tempfile::NamedTempFile;

/// Less the umask, as for any new file.
const ANYBODY: u32 = 0o666;

/// A file under a temporary name, with the rights of any new file.
pub(crate) fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    new_file_with(folder, ANYBODY)
}

/// A file under a temporary name with these rights, less the umask.
#[cfg(unix)]
pub(crate) fn new_file_with(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let rights = fs::Permissions::from_mode(mode);
    tempfile::Builder::new().prefix(".pdctl-").permissions(rights).tempfile_in(folder)
}

/// A file under a temporary name. It has the rights of its folder: modes are not known here.
#[cfg(not(unix))]
pub(crate) fn new_file_with(folder: &Path, _: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".pdctl-").tempfile_in(folder)
}

/// Gives a file exactly these rights, whatever the umask made of it.
#[cfg(unix)]
pub(crate) fn set_mode(file: &fs::File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Modes are not known here.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // it can fail where modes are known
pub(crate) fn set_mode(_: &fs::File, _: u32) -> io::Result<()> {
    Ok(())
}

/// Bytes that may be written in a folder; none: this system does not tell.
#[cfg(unix)]
pub(crate) fn free_bytes(folder: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Bytes that may be written in a folder; none: this system does not tell.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // it can fail where it is told
pub(crate) fn free_bytes(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}
