//! The first contact: see the CA, compare its hash, only then spend the token on a certificate.

use std::{
    io,
    path::{Path, PathBuf},
};

use backon::Retryable as _;
use http::Uri;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use schemas::well_known::{NODE_SIGNER, NODE_USER_PREFIX, groups};
use sha2::{Digest as _, Sha256};

use super::{Identity, IdentityDir, IdentityError, PENDING_KEY_FILE, authority, pem_block};
use crate::client::{self, Credential};

/// What a new node was given.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    pub server: Uri,
    pub name: String,
    pub ca_hash: Option<String>,
    pub token_file: Option<PathBuf>,
    /// Which of its lines, counted from 0, holds the token: each node of a process with many has one of its own.
    pub token_line: usize,
}

/// Joins the cluster and stores the identity. Safe to repeat after a crash at any point.
pub(crate) async fn join(dir: &IdentityDir, invitation: &Invitation) -> Result<Identity, IdentityError> {
    let expected = invitation.ca_hash.as_deref().ok_or(IdentityError::NotInvited("--ca-hash"))?;
    if expected.parse::<schemas::Digest>().is_err() {
        return Err(IdentityError::InvalidHash(expected.chars().take(96).collect()));
    }
    let token_file = invitation.token_file.as_ref().ok_or(IdentityError::NotInvited("--token-file"))?;
    let token = read_token(token_file, invitation.token_line)?;
    let ca_pem = fetch_ca(&invitation.server).await?;
    let actual = spki_hash(&ca_pem)?;
    if actual != expected {
        return Err(IdentityError::WrongCa { expected: expected.to_owned(), actual });
    }
    let key = pending_key(dir)?;
    let credential = Credential::Token { ca_pem: ca_pem.clone(), token };
    let client = client::kube_client(&invitation.server, &credential)
        .map_err(|source| IdentityError::Exchange { what: "set up TLS with the server's CA", source })?;
    let certificate = request_certificate(&client, &invitation.name, &key).await?;
    let identity = identity(&invitation.name, &key, &certificate, ca_pem)?;
    dir.store(&identity)?;
    tracing::info!(node = identity.name, server = authority(&invitation.server), "joined the cluster");
    Ok(identity)
}

/// The token in one line of the file.
fn read_token(file: &Path, line: usize) -> Result<String, IdentityError> {
    let failed = |source| IdentityError::File { verb: "read", path: file.to_owned(), source };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let token = text.trim().lines().nth(line).map(str::trim).filter(|token| !token.is_empty());
    let missing = || io::Error::other(format!("it has no token in line {}; each node needs one of its own", line + 1));
    token.map(str::to_owned).ok_or_else(|| failed(missing()))
}

/// The CA as the server shows it to anyone; worth nothing until its hash was compared.
async fn fetch_ca(server: &Uri) -> Result<String, IdentityError> {
    let exchange = |source| IdentityError::Exchange { what: "fetch the CA from the server", source };
    let client = client::kube_client(server, &Credential::Unverified).map_err(exchange)?;
    let fetch = || async {
        let request = http::Request::get("/ca").body(Vec::new()).map_err(kube::Error::HttpError);
        client::timed("fetch the CA", async { client.request_text(request?).await }).await
    };
    fetch
        .retry(client::patient())
        .when(client::ClientError::is_transient)
        .notify(client::log_retry)
        .await
        .map_err(exchange)
}

/// `sha256:` and the hash over the SubjectPublicKeyInfo (DER) of the first certificate.
fn spki_hash(ca_pem: &str) -> Result<String, IdentityError> {
    let unusable = |what: &str| IdentityError::Answer(format!("its CA {what}"));
    let pem = pem_block(ca_pem, "CERTIFICATE").ok_or_else(|| unusable("is not a PEM certificate"))?;
    let certificate = pem.parse_x509().map_err(|_| unusable("does not parse"))?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(certificate.public_key().raw))))
}

fn pending_key(dir: &IdentityDir) -> Result<KeyPair, IdentityError> {
    if let Some(key) = dir.read(PENDING_KEY_FILE)?.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
        return Ok(key);
    }
    let key = KeyPair::generate()?;
    dir.write(PENDING_KEY_FILE, &key.serialize_pem())?;
    Ok(key)
}

/// Asks the server to sign `key` for the node; answers the certificate as PEM.
pub(super) async fn request_certificate(
    client: &kube::Client,
    node: &str,
    key: &KeyPair,
) -> Result<String, IdentityError> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let request = signing_request(node, key)?;
    let post = || async {
        client::timed("request a certificate", async { api.create(&PostParams::default(), &request).await }).await
    };
    let answer = post
        .retry(client::patient())
        .when(client::ClientError::is_transient)
        .notify(client::log_retry)
        .await
        .map_err(|source| IdentityError::Exchange { what: "have the node's certificate signed", source })?;
    let pem = answer
        .status
        .and_then(|status| status.certificate)
        .ok_or_else(|| IdentityError::Answer("it has no certificate in its status".to_owned()))?;
    String::from_utf8(pem.0).map_err(|_| IdentityError::Answer("the certificate is not PEM text".to_owned()))
}

fn signing_request(node: &str, key: &KeyPair) -> Result<CertificateSigningRequest, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{NODE_USER_PREFIX}{node}"));
    params.distinguished_name.push(DnType::OrganizationName, groups::NODES);
    let pem = params.serialize_request(key)?.pem()?;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(format!("node-{node}-")), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: NODE_SIGNER.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

/// The identity of a signed key, checked to be ours before it replaces anything.
pub(super) fn identity(
    node: &str,
    key: &KeyPair,
    certificate: &str,
    ca_pem: String,
) -> Result<Identity, IdentityError> {
    let pem = pem_block(certificate, "CERTIFICATE")
        .ok_or_else(|| IdentityError::Answer("the certificate is not PEM".to_owned()))?;
    let parsed = pem.parse_x509().map_err(|_| IdentityError::Answer("the certificate does not parse".to_owned()))?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(IdentityError::Answer("the certificate is for another key".to_owned()));
    }
    let identity =
        Identity::from_pems(format!("{}{certificate}", key.serialize_pem()), ca_pem).map_err(IdentityError::Answer)?;
    if identity.name == node {
        Ok(identity)
    } else {
        Err(IdentityError::Answer(format!("the certificate is for node `{}`", identity.name)))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData as _;

    use super::*;

    #[test]
    fn the_hash_is_over_the_public_key_info() {
        let key = KeyPair::generate().expect("a key");
        let pem = CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let expected = format!("sha256:{}", hex::encode(Sha256::digest(key.subject_public_key_info())));
        assert_eq!(spki_hash(&pem).expect("hashes"), expected);
    }

    #[test]
    fn each_node_has_a_token_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        std::fs::write(&file, "a.1\n b.2 \n\n").expect("writes");
        assert_eq!(read_token(&file, 0).expect("reads"), "a.1");
        assert_eq!(read_token(&file, 1).expect("reads"), "b.2");
        assert!(read_token(&file, 2).is_err());
        assert!(read_token(&folder.path().join("none"), 0).is_err());
    }

    #[test]
    fn a_repeated_join_uses_the_same_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = IdentityDir::open(folder.path()).expect("opens");
        let first = pending_key(&dir).expect("a key").serialize_pem();
        assert_eq!(pending_key(&dir).expect("a key").serialize_pem(), first);
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let (ours, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "node:n1");
        let pem = params.self_signed(&other).expect("a certificate").pem();
        assert!(identity("n1", &ours, &pem, pem.clone()).is_err());
        let pem = params.self_signed(&ours).expect("a certificate").pem();
        assert!(identity("n1", &ours, &pem, pem.clone()).is_ok());
        assert!(identity("n2", &ours, &pem, pem.clone()).is_err());
    }
}
