//! Our own certificate authority: made on the first start, so that there is TLS from the first start.
//!
//! In: a folder, names, signing requests. Out: certificates and kubeconfigs. It decides who a key may speak
//! for only as far as a signing request proves its key; whether to sign at all is the registry's decision.

mod files;
mod kubeconfig;
mod request;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use schemas::well_known::{NODE_USER_PREFIX, groups};
use sha2::{Digest as _, Sha256};

pub use files::{write_private, write_public};
pub use kubeconfig::kubeconfig;
pub use request::{Request, inspect_request};

/// Certificates are good from a little before now: a node's clock may be behind ours.
const BACKDATE: Duration = Duration::from_mins(5);
/// The CA outlives the machines; it is replaced by replacing the cluster.
const CA_LIFE: Duration = Duration::from_hours(24 * 365 * 20);
/// Reissued at every start.
const SERVER_LIFE: Duration = Duration::from_hours(24 * 365 * 5);
/// A node renews at two thirds of it.
pub const NODE_LIFE: Duration = Duration::from_hours(24);
/// Bytes of a random serial number; RFC 5280 allows 20.
const SERIAL_BYTES: usize = 16;

/// The certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    ca_hash: String,
    not_after: SystemTime,
}

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

/// Why the authority refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file operation failed.
    #[error("cannot {attempt} `{}`", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A key file that others could read.
    #[error("`{}` has mode {mode:o}: others may have read this key; chmod 600 it if you know they have not", path.display())]
    WideMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A certificate without its key.
    #[error("`{}` is missing beside its certificate: restore it from a backup", path.display())]
    KeyMissing {
        /// The key's file.
        path: PathBuf,
    },
    /// The request cannot be signed.
    #[error("the certificate signing request is refused: {0}")]
    Request(String),
    /// A name that cannot stand in a certificate.
    #[error("`{0}` cannot stand in a certificate: give a DNS name or an IP address")]
    Name(String),
    /// Making or reading a certificate failed.
    #[error("cannot {attempt}")]
    Certificate {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// No random numbers.
    #[error("cannot draw a random serial number: {0}")]
    Random(getrandom::Error),
}

fn failed(attempt: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Certificate { attempt, source }
}

impl Authority {
    /// Loads the authority from `folder`, or creates it there.
    pub fn open(folder: &Path) -> Result<Self, PkiError> {
        files::create_folder(folder)?;
        let (key_path, certificate_path) = (folder.join("ca.key"), folder.join("ca.crt"));
        let certificate = files::read_public(&certificate_path)?;
        let key = match (files::read_private(&key_path)?, &certificate) {
            (Some(pem), _) => KeyPair::from_pem(&pem).map_err(failed("read the CA's key"))?,
            (None, Some(_)) => return Err(PkiError::KeyMissing { path: key_path }),
            (None, None) => {
                let key = KeyPair::generate().map_err(failed("make the CA's key"))?;
                write_private(&key_path, &key.serialize_pem())?;
                key
            }
        };
        // The key is written first: a key without a certificate is an interrupted first start.
        let pem = if let Some(pem) = certificate {
            pem
        } else {
            let pem = ca_certificate(&key)?;
            write_public(&certificate_path, &pem)?;
            pem
        };
        Self::over(pem, key)
    }

    /// An authority that is kept nowhere, for tests.
    pub fn ephemeral() -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(failed("make the CA's key"))?;
        Self::over(ca_certificate(&key)?, key)
    }

    fn over(ca_pem: String, key: KeyPair) -> Result<Self, PkiError> {
        let ca_hash = format!("sha256:{}", hex::encode(Sha256::digest(key.subject_public_key_info())));
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key).map_err(failed("read the CA's certificate"))?;
        let not_after = not_after_of(&ca_pem)?;
        Ok(Self { issuer, ca_pem, ca_hash, not_after })
    }

    /// The CA certificate as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// `sha256:<hex>` over the CA's SubjectPublicKeyInfo.
    pub fn ca_hash(&self) -> String {
        self.ca_hash.clone()
    }

    /// Signs a node's key: CN `node:NAME`, O `processdistro:nodes`, 24 h. The request must claim the same name;
    /// whatever else it asks for is ignored.
    pub fn sign_node_csr(&self, pem: &str, node_name: &str) -> Result<Signed, PkiError> {
        let user = format!("{NODE_USER_PREFIX}{node_name}");
        let request = inspect_request(pem)?;
        if request.common_name != user {
            return Err(PkiError::Request(format!("its CN is `{}`, expected `{user}`", request.common_name)));
        }
        let unreadable = |error: rcgen::Error| PkiError::Request(error.to_string());
        let key = CertificateSigningRequestParams::from_pem(pem).map_err(unreadable)?.public_key;
        let (params, not_after) = self.client_params(&user, groups::NODES, NODE_LIFE)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed("sign the node's certificate"))?;
        Ok(Signed { certificate: certificate.pem(), not_after })
    }

    /// A client certificate for `user` in `group`, with a fresh key.
    pub fn issue_client(&self, user: &str, group: &str, life: Duration) -> Result<Issued, PkiError> {
        let key = KeyPair::generate().map_err(failed("make a client's key"))?;
        let (params, _) = self.client_params(user, group, life)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed("sign a client's certificate"))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The server's certificate for `names`, with the key kept in `folder`; both files are there afterwards.
    pub fn issue_server(&self, folder: &Path, names: &[String]) -> Result<Issued, PkiError> {
        let key_path = folder.join("server.key");
        let key = match files::read_private(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(failed("read the server's key"))?,
            None => KeyPair::generate().map_err(failed("make the server's key"))?,
        };
        let issued = self.sign_server(&key, names)?;
        write_private(&key_path, &issued.key)?;
        write_public(&folder.join("server.crt"), &issued.certificate)?;
        Ok(issued)
    }

    fn sign_server(&self, key: &KeyPair, names: &[String]) -> Result<Issued, PkiError> {
        let (mut params, _) = self.params("processdistro-apiserver", None, SERVER_LIFE)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        let certificate = params.signed_by(key, &self.issuer).map_err(failed("sign the server's certificate"))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn client_params(
        &self,
        user: &str,
        group: &str,
        life: Duration,
    ) -> Result<(CertificateParams, Timestamp), PkiError> {
        let (mut params, not_after) = self.params(user, Some(group), life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok((params, not_after))
    }

    /// What all our leaf certificates share. None outlives the CA.
    fn params(
        &self,
        user: &str,
        group: Option<&str>,
        life: Duration,
    ) -> Result<(CertificateParams, Timestamp), PkiError> {
        let now = SystemTime::now();
        let not_after = (now + life).min(self.not_after);
        let mut params = dated(now, not_after)?;
        params.distinguished_name = subject(user, group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Ok((params, Timestamp::from_second(seconds(not_after) as i64).unwrap_or(Timestamp::MAX)))
    }
}

fn ca_certificate(key: &KeyPair) -> Result<String, PkiError> {
    let now = SystemTime::now();
    let mut params = dated(now, now + CA_LIFE)?;
    params.distinguished_name = subject("processdistro-ca", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key).map_err(failed("sign the CA's certificate"))?.pem())
}

fn dated(now: SystemTime, not_after: SystemTime) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(seconds(now - BACKDATE));
    params.not_after = epoch + Duration::from_secs(seconds(not_after));
    params.serial_number = Some(serial_number()?);
    Ok(params)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Random, positive, and never the key's hash: the same key is signed again at each renewal.
fn serial_number() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0; SERIAL_BYTES];
    getrandom::fill(&mut bytes).map_err(PkiError::Random)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn subject(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}

fn alternative_name(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*');
    if name.is_empty() || !name.chars().all(legal) {
        return Err(PkiError::Name(name.to_owned()));
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| PkiError::Name(name.to_owned()))?))
}

fn not_after_of(pem: &str) -> Result<SystemTime, PkiError> {
    let unreadable = || PkiError::Certificate {
        attempt: "read the CA's certificate",
        source: rcgen::Error::CouldNotParseCertificate,
    };
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| unreadable())?;
    let certificate = block.parse_x509().map_err(|_| unreadable())?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| unreadable())?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}
