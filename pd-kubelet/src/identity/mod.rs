//! Who this node is: a key and a certificate that the cluster's CA signed.
//!
//! In: the data folder, and for the first start a join token and the CA's hash. Out: an `Identity` from
//! which clients are built. Key and certificate are one file (0600), replaced by rename, so that a crash
//! leaves the old pair or the new one. The room knows nothing of nodes' work.

mod join;
mod renew;

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::Uri;
use x509_parser::pem::Pem;

pub(crate) use join::{Invitation, join};
pub(crate) use renew::keep_fresh;

/// Key and certificate of this node, PEM, in one file.
const PAIR_FILE: &str = "node.pem";
/// The cluster's CA, PEM.
const CA_FILE: &str = "ca.crt";
/// The key that a join token was or is being spent on: a token signs one key only, so a crash between the
/// request and its answer must find the same key again.
const PENDING_KEY_FILE: &str = "pending.key";

/// Why the node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of the identity could not be read or written.
    #[error("the node's identity file {path} cannot be {verb}")]
    File {
        /// What was attempted.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A stored file is not what it should be.
    #[error("{path} is damaged ({what}); move it away and join again with a new token")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The first start lacks a flag.
    #[error("this node has not joined a cluster yet: {0} is needed for the first start")]
    NotInvited(&'static str),
    /// The hash flag is malformed.
    #[error("`{0}` is not a CA hash; expected `sha256:` and 64 hexadecimal digits, as pdctl token create prints it")]
    InvalidHash(String),
    /// The server shows another CA than the one that was promised. The token was not sent.
    #[error(
        "the server's CA has the hash {actual}, not {expected}: this is not the cluster you were invited to (the token was not sent)"
    )]
    WrongCa {
        /// As told.
        expected: String,
        /// As found.
        actual: String,
    },
    /// The stored identity belongs to another node name.
    #[error("the data folder belongs to node `{stored}`, not `{asked}`; use another --data-dir or drop --name")]
    OtherName {
        /// Name in the certificate.
        stored: String,
        /// Name in the flags.
        asked: String,
    },
    /// A key or request could not be made.
    #[error("cannot make a key or a certificate request")]
    Crypto(#[from] rcgen::Error),
    /// The exchange with the server failed.
    #[error("cannot {what}")]
    Exchange {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        source: crate::client::ClientError,
    },
    /// The server's answer lacks a certificate or has a wrong one.
    #[error("the server's answer to the certificate request is unusable: {0}")]
    Answer(String),
}

/// A node's credentials.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Node name, from the certificate.
    pub name: String,
    /// Private key and certificate, PEM.
    pub pair_pem: String,
    /// The CA, PEM.
    pub ca_pem: String,
    /// When to renew: two thirds into the certificate's life.
    pub renew_at: SystemTime,
    /// When the certificate ends.
    pub expires_at: SystemTime,
}

/// The folder where an identity lives.
#[derive(Clone, Debug)]
pub(crate) struct IdentityDir(PathBuf);

impl IdentityDir {
    pub(crate) fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = data_dir.join("identity");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|source| IdentityError::File {
            verb: "created",
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
    }

    /// The identity of an earlier start, if there is one.
    pub(crate) fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let (Some(pair_pem), Some(ca_pem)) = (self.read(PAIR_FILE)?, self.read(CA_FILE)?) else { return Ok(None) };
        let identity = Identity::from_pems(pair_pem, ca_pem)
            .map_err(|what| IdentityError::Damaged { path: self.0.join(PAIR_FILE), what })?;
        Ok(Some(identity))
    }

    fn store(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.write(CA_FILE, &identity.ca_pem)?;
        self.write(PAIR_FILE, &identity.pair_pem)?;
        let _ = fs::remove_file(self.0.join(PENDING_KEY_FILE));
        Ok(())
    }

    fn read(&self, file: &str) -> Result<Option<String>, IdentityError> {
        let path = self.0.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::File { verb: "read", path, source }),
        }
    }

    fn write(&self, file: &str, text: &str) -> Result<(), IdentityError> {
        let path = self.0.join(file);
        let temporary = self.0.join(format!("{file}.new"));
        let written = (|| {
            let _ = fs::remove_file(&temporary);
            let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            to.write_all(text.as_bytes())?;
            to.sync_all()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(&self.0)?.sync_all()
        })();
        written.map_err(|source| IdentityError::File { verb: "written", path, source })
    }
}

impl Identity {
    /// Reads name and life out of the certificate.
    fn from_pems(pair_pem: String, ca_pem: String) -> Result<Self, String> {
        let pem = pem_block(&pair_pem, "CERTIFICATE").ok_or("no certificate in it")?;
        let certificate = pem.parse_x509().map_err(|error| format!("the certificate does not parse: {error}"))?;
        let name = certificate
            .subject()
            .iter_common_name()
            .find_map(|cn| cn.as_str().ok()?.strip_prefix(schemas::well_known::NODE_USER_PREFIX))
            .ok_or("the certificate names no node")?
            .to_owned();
        let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
        let starts_at = at(certificate.validity().not_before.timestamp());
        let expires_at = at(certificate.validity().not_after.timestamp());
        let life = expires_at.duration_since(starts_at).unwrap_or_default();
        Ok(Self { name, renew_at: starts_at + life * 2 / 3, expires_at, pair_pem, ca_pem })
    }
}

/// The first PEM block with that label.
fn pem_block(text: &str, label: &str) -> Option<Pem> {
    Pem::iter_from_buffer(text.as_bytes()).flatten().find(|block| block.label == label)
}

/// `https://host:port` of the server, without a path.
pub(crate) fn authority(server: &Uri) -> String {
    server.authority().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    pub(crate) fn pair(name: &str) -> String {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("node:{name}"));
        let certificate = params.self_signed(&key).expect("a certificate");
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }

    #[test]
    fn an_identity_survives_a_restart_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let dir = IdentityDir::open(folder.path()).expect("opens");
        assert!(dir.load().expect("loads").is_none());
        let pair = pair("n1");
        dir.store(&Identity::from_pems(pair.clone(), pair.clone()).expect("reads")).expect("stores");
        let loaded = dir.load().expect("loads").expect("is there");
        assert_eq!(loaded.name, "n1");
        assert!(loaded.renew_at < loaded.expires_at);
        let mode = fs::metadata(dir.0.join(PAIR_FILE)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_identity_is_an_error_and_not_a_new_node() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = IdentityDir::open(folder.path()).expect("opens");
        dir.write(PAIR_FILE, "nonsense").expect("writes");
        dir.write(CA_FILE, "nonsense").expect("writes");
        assert!(matches!(dir.load(), Err(IdentityError::Damaged { .. })));
    }
}
