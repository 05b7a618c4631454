//! Certificate signing requests: what they claim, and that whoever sends one holds the key.

use sha2::{Digest as _, Sha256};
use x509_parser::{certification_request::X509CertificationRequest, pem::parse_x509_pem, prelude::FromDer};

use super::PkiError;

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

/// Reads a PEM certificate signing request and verifies its own signature.
pub fn inspect_request(pem: &str) -> Result<Request, PkiError> {
    let malformed = || PkiError::Request("it is not a PEM certificate signing request".to_owned());
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| malformed())?;
    if block.label != "CERTIFICATE REQUEST" && block.label != "NEW CERTIFICATE REQUEST" {
        return Err(malformed());
    }
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|_| malformed())?;
    let unproven = |_| PkiError::Request("its signature does not match its key".to_owned());
    request.verify_signature().map_err(unproven)?;
    let info = &request.certification_request_info;
    let text = |value: Result<&str, _>| value.ok().map(str::to_owned);
    let common_name = info.subject.iter_common_name().next().and_then(|name| text(name.as_str()));
    Ok(Request {
        common_name: common_name.ok_or_else(|| PkiError::Request("its subject has no CN".to_owned()))?,
        organizations: info.subject.iter_organization().filter_map(|name| text(name.as_str())).collect(),
        key_sha256: hex::encode(Sha256::digest(info.subject_pki.raw)),
    })
}
