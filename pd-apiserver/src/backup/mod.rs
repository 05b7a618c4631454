//! Backups: everything that a cluster is, in one tar file, taken while it runs.
//!
//! In: a store, its artifacts and the certificate authority. Out: a stream of bytes; and from such a file a data folder
//! anew. One state of the store is read, whatever is written meanwhile, and with it every artifact that its objects
//! name. The file holds the CA's key: it is as secret as the data folder.
//!
//! The entries, in this order: `backup.json` (what it is of), `pki/…`, `objects/NNNNNN` (one record a line: key,
//! revision and object, with tabs between them), `artifacts/sha256/HEX`, and at last `SHA256SUMS` over all before it,
//! so that a file that was cut short is never taken for a whole one.

mod http;
mod restore;
#[cfg(test)]
mod tests;
mod write;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    http::{BackupState, router},
    restore::{RestoreError, Restored, restore},
    write::{BackupError, Source, stream},
};

/// Version of the entries' names and contents.
const FORMAT: u32 = 1;
const ABOUT: &str = "backup.json";
const PKI: &str = "pki/";
const OBJECTS: &str = "objects/";
const ARTIFACTS: &str = "artifacts/sha256/";
const SUMS: &str = "SHA256SUMS";
/// What of the folder `pki` a cluster cannot be without: the rest is made anew at each start.
const AUTHORITY_FILES: [&str; 2] = ["ca.key", "ca.crt"];
/// Unit of a tar file.
const BLOCK: usize = 512;

/// What a backup is of: the first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    format: u32,
    /// The cluster's ID, which it keeps.
    pub cluster: Uuid,
    /// The state of the store that was read.
    pub revision: u64,
    /// When it was taken, by the server's clock.
    pub created: String,
    /// Of the server that took it.
    pub version: String,
}
