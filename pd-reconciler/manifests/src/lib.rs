//! pd-manifests: a folder of manifests whose objects follow it.
//!
//! `folder` reads, `desired` and `steps` decide, `cluster` writes, `record` tells, `source` is the loop round
//! them. In: the files of one folder, and an ordinary client of the API. Out: applies, deletes, a ManifestSource
//! object, Events. `pdctl watch` and `pd-reconciler --manifests` are this; neither knows more than the other.
//!
//! Notifications of the file system are hints only. What is true is what a reading finds.

#![allow(clippy::result_large_err, reason = "an error ends the reading of a file; it is not made in a loop")]

mod cluster;
pub mod desired;
pub mod folder;
mod inputs;
mod notices;
mod platform;
mod record;
mod source;
pub mod steps;
pub mod upload;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{Client, Config};
use schemas::Digest;

pub use record::INVENTORY_MAX;
pub use source::Change;
pub use steps::Rules;

/// How long an unchanged folder goes unread although nothing told of a change.
pub const RESCAN: Duration = Duration::from_secs(2);
/// How often everything is applied again, so that what somebody else has changed is as the files say.
pub const RESYNC: Duration = Duration::from_secs(15);
/// Longest readable part of a made-up name; with the digest behind it a name stays within 63 characters.
const NAME_CHARS_MAX: usize = 40;

/// One source.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub folder: PathBuf,
    /// Name of its ManifestSource object.
    pub name: String,
    /// Namespace of that object, and of objects whose files say none.
    pub namespace: String,
    /// The machine, for people.
    pub host: String,
    /// How objects follow the files.
    pub rules: Rules,
    /// See `RESCAN`.
    pub rescan: Duration,
    /// See `RESYNC`.
    pub resync: Duration,
}

/// Why a source could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client for uploads.
    #[error("cannot make a client for uploads")]
    Client(#[source] kube::Error),
    /// The server does not say what kinds it serves.
    #[error("cannot ask the server for its kinds")]
    Discovery(#[source] kube::Error),
    /// The source's own object cannot be written.
    #[error("cannot write the ManifestSource object; the credential must be allowed to edit manifestsources")]
    Record(#[source] kube::Error),
}

/// Follows the folder until the future is dropped. `tell` hears of every change, once.
pub async fn run(config: &Config, options: &Options, tell: &(dyn Fn(Change) + Sync)) -> Result<(), Error> {
    let client = Client::try_from(config.clone()).map_err(Error::Client)?;
    let uploads = upload::Uploads::new(config).map_err(Error::Client)?;
    source::Source::open(client, uploads, options, tell).await?.run().await;
    Ok(())
}

/// A name for the source of a folder on a machine: the same each time, and another one for another folder.
pub fn source_name(folder: &Path, host: &str) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let readable: String = full
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(NAME_CHARS_MAX)
        .collect();
    let digest = Digest::of(format!("{host}\0{}", full.display()).as_bytes()).hex();
    match readable.trim_matches('-') {
        "" => format!("folder-{}", &digest[..8]),
        readable => format!("{readable}-{}", &digest[..8]),
    }
}

/// The name of this machine, for people.
pub fn host_name() -> String {
    platform::host_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_the_same_name_each_time() {
        let name = source_name(Path::new("/etc/Process Distro/"), "one");
        assert!(name.starts_with("process-distro-"), "{name}");
        assert_eq!(name, source_name(Path::new("/etc/Process Distro/"), "one"));
        assert_ne!(name, source_name(Path::new("/etc/Process Distro"), "two"));
        assert!(source_name(Path::new("/"), "one").starts_with("folder-"));
    }
}
