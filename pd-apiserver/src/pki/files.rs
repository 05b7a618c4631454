//! Files of keys, certificates and kubeconfigs: written whole or not at all, private ones kept private.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::PkiError;

/// Mode of what holds a secret.
const PRIVATE: u32 = 0o600;
/// Mode of what anybody may read.
const PUBLIC: u32 = 0o644;

/// Writes a file that holds a secret.
pub fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, PRIVATE).map_err(failed("write", path))
}

/// Writes a file that anybody may read.
pub fn write_public(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, PUBLIC).map_err(failed("write", path))
}

/// Reads a secret, unless others than its owner could have; `None`: there is no such file.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, PkiError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(failed("read", path))?,
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PkiError::WideMode { path: path.to_owned(), mode });
    }
    fs::read_to_string(path).map(|text| Some(Zeroizing::new(text))).map_err(failed("read", path))
}

/// Reads a file; `None`: there is none.
pub(super) fn read_public(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(failed("read", path)),
    }
}

/// Creates a folder that only its owner may enter.
pub(super) fn create_folder(path: &Path) -> Result<(), PkiError> {
    let create = || {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
    };
    create().map_err(failed("create", path))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    if temporary.exists() {
        fs::remove_file(temporary)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { attempt, path, source }
}
