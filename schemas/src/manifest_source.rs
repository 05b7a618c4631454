//! ManifestSource: a folder of manifests whose objects follow it, and what became of them. The client that
//! watches the folder writes both parts; the object is what others see of it, and its memory.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, Digest};

/// Which folder, and how its objects follow it.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "processdistro.dev",
    version = "v1",
    kind = "ManifestSource",
    namespaced,
    status = "ManifestSourceStatus",
    derive = "PartialEq",
    shortname = "msrc",
    category = "processdistro",
    doc = "A ManifestSource is a folder of manifests that somebody watches: its objects follow the files.",
    printcolumn(name = "Folder", type_ = "string", json_path = ".spec.folder"),
    printcolumn(name = "Prune", type_ = "boolean", json_path = ".spec.prune"),
    printcolumn(name = "Objects", type_ = "integer", json_path = ".status.objects"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSourceSpec {
    /// The folder, as its watcher names it.
    pub folder: String,
    /// The machine on which it is watched.
    #[serde(default)]
    pub host: String,
    /// Whether an object is deleted when its file no longer holds it.
    #[serde(default)]
    pub prune: bool,
    /// Whether a folder without manifests means that everything is to be deleted.
    #[serde(default)]
    pub allow_empty: bool,
}

/// What became of the folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSourceStatus {
    /// `Ready`: every file is applied. `Notified`: changes are seen at once, not by the next rescan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of objects in the inventory.
    #[serde(default)]
    pub objects: u64,
    /// What this source has applied and may delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<InventoryEntry>,
    /// What is wrong with which file; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FileProblem>,
    /// Digests of the last five states of the folder that were applied as a whole, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<AppliedDigest>,
}

/// One object that a source has applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// Its group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for a kind without.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty until it is applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The file that holds it, below the folder.
    pub file: String,
    /// Digest of what was applied; absent until it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// True for a Job that was seen Complete or Failed: deleted by its time to live, it is not applied again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finished: bool,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileProblem {
    /// The file, below the folder; empty for the folder itself.
    pub file: String,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// One state of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedDigest {
    /// Over the names and contents of all files.
    pub digest: Digest,
    /// When all of it was applied.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
}

impl std::fmt::Display for FileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.file.as_str(), self.line, self.column) {
            ("", ..) => f.write_str(&self.message),
            (file, Some(line), Some(column)) => write!(f, "{file}:{line}:{column}: {}", self.message),
            (file, ..) => write!(f, "{file}: {}", self.message),
        }
    }
}

/// Condition types of a ManifestSource.
pub mod conditions {
    /// Every file of the folder is applied.
    pub const READY: &str = "Ready";
    /// The system tells of changes at once; otherwise the folder is read again and again.
    pub const NOTIFIED: &str = "Notified";
}
