//! The little that differs from one operating system to the next.

use std::fs::Metadata;

/// What tells a file or folder from another one that stood under its name before.
#[cfg(unix)]
pub(crate) fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

/// What tells a file or folder from another one that stood under its name before: here, when it was created.
#[cfg(windows)]
pub(crate) fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::windows::fs::MetadataExt as _;
    (0, metadata.creation_time())
}

/// The name of this machine.
#[cfg(unix)]
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of this machine.
#[cfg(windows)]
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
