//! Our own certificate authority.
use std::{path::Path, time::Duration};
use jiff::Timestamp;
/// The certificate authority.
pub struct Authority {}
/// A certificate signed for somebody else's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// PEM.
    pub certificate: String,
    /// From then on it is refused.
    pub not_after: Timestamp,
}
/// A certificate with a key that we drew.
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS#8.
    pub key: String,
}
/// What a certificate signing request says; its own signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// CN.
    pub common_name: String,
    /// O.
    pub organizations: Vec<String>,
    /// SHA-256 over the SubjectPublicKeyInfo, in hex: names the key.
    pub key_sha256: String,
}
/// Why the authority refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// x
    #[error("x")]
    X,
}
/// Reads a PEM certificate signing request and verifies its own signature.
pub fn inspect_request(pem: &str) -> Result<Request, PkiError> { unimplemented!() }
impl Authority {
    /// Loads the authority from `folder`, or creates it there.
    pub fn open(folder: &Path) -> Result<Self, PkiError> { unimplemented!() }
    /// An authority that is kept nowhere, for tests.
    pub fn ephemeral() -> Result<Self, PkiError> { unimplemented!() }
    /// The CA certificate as PEM.
    pub fn ca_pem(&self) -> &str { unimplemented!() }
    /// `sha256:<hex>` over the CA's SubjectPublicKeyInfo.
    pub fn ca_hash(&self) -> String { unimplemented!() }
    /// Signs a node's key: CN `node:NAME`, O `processdistro:nodes`, 24 h. The request must say the same name.
    pub fn sign_node_csr(&self, pem: &str, node_name: &str) -> Result<Signed, PkiError> { unimplemented!() }
    /// A client certificate with a fresh key.
    pub fn issue_client(&self, user: &str, groups: &[&str], ttl: Duration) -> Result<Issued, PkiError> { unimplemented!() }
}
