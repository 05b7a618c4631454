//! TLS as the server speaks it: 1.2 and 1.3, our own certificate, client certificates of our own CA welcome.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, crypto::ring::default_provider, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::pki::{Authority, Issued};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// A PEM text of ours does not read.
    #[error("cannot read our own certificate or key")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The CA cannot verify clients.
    #[error("cannot verify clients with our CA")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// rustls refuses the certificate or key.
    #[error("cannot serve with our certificate")]
    Config(#[from] rustls::Error),
}

/// The configuration of every connection.
pub(super) fn config(authority: &Authority, server: &Issued) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let chain = vec![CertificateDer::from_pem_slice(server.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
