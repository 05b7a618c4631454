//! The authority's promises.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::auth::certificates::peer_of;

fn der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

fn request(common_name: &str) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(common_name, Some(groups::NODES));
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, pem)
}

#[test]
fn the_authority_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = Authority::open(folder.path()).unwrap();
    let second = Authority::open(folder.path()).unwrap();
    assert_eq!((first.ca_pem(), first.ca_hash()), (second.ca_pem(), second.ca_hash()));
    let expected = {
        let certificate = der(first.ca_pem());
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        format!("sha256:{}", hex::encode(Sha256::digest(parsed.public_key().raw)))
    };
    assert_eq!(first.ca_hash(), expected);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Authority::open(folder.path()).unwrap());
    let key = folder.path().join("ca.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Authority::open(folder.path()), Err(PkiError::WideMode { mode: 0o640, .. })));
}

#[test]
fn a_lost_key_is_not_replaced_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    drop(Authority::open(folder.path()).unwrap());
    std::fs::remove_file(folder.path().join("ca.key")).unwrap();
    assert!(matches!(Authority::open(folder.path()), Err(PkiError::KeyMissing { .. })));
}

#[test]
fn a_node_gets_its_name_and_nothing_else() {
    let authority = Authority::ephemeral().unwrap();
    let (_, pem) = request("node:n1");
    assert!(matches!(authority.sign_node_csr(&pem, "n2"), Err(PkiError::Request(_))));
    let signed = authority.sign_node_csr(&pem, "n1").unwrap();
    let identity = peer_of(&der(&signed.certificate)).unwrap().identity;
    assert_eq!((identity.user.as_str(), identity.node()), ("node:n1", Some("n1")));
    assert_eq!(identity.groups, [groups::NODES]);
    let bytes = der(&signed.certificate);
    let (_, certificate) = x509_parser::parse_x509_certificate(&bytes).unwrap();
    assert!(!certificate.is_ca());
    let validity = certificate.validity();
    assert_eq!(validity.not_after.timestamp(), signed.not_after.as_second());
    let life = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(life, (NODE_LIFE + BACKDATE).as_secs() as i64);
    let again = authority.sign_node_csr(&pem, "n1").unwrap();
    assert_ne!(again.certificate, signed.certificate, "each renewal has its own serial number");
}

#[test]
fn a_request_is_read_only_when_its_signature_holds() {
    let (key, pem) = request("node:n1");
    let read = inspect_request(&pem).unwrap();
    assert_eq!((read.common_name.as_str(), read.organizations), ("node:n1", vec![groups::NODES.to_owned()]));
    assert_eq!(read.key_sha256, hex::encode(Sha256::digest(key.subject_public_key_info())));
    let mut damaged = der(&pem);
    *damaged.last_mut().unwrap() ^= 1;
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, damaged);
    let damaged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    for text in ["", "junk", damaged.as_str()] {
        assert!(matches!(inspect_request(text), Err(PkiError::Request(_))), "{text}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(authority.issue_server(folder.path(), &names(&["localhost", "127.0.0.1", "::1", "a.b-c"])).is_ok());
    for name in ["", "a b", "a/b", "ü"] {
        assert!(matches!(authority.issue_server(folder.path(), &names(&[name])), Err(PkiError::Name(_))), "{name}");
    }
}

#[test]
fn a_kubeconfig_is_yaml_that_kube_reads() {
    let authority = Authority::ephemeral().unwrap();
    let issued = authority.issue_client("admin", groups::ADMINS, Duration::from_mins(1)).unwrap();
    let text = kubeconfig(&authority, "https://127.0.0.1:6443", "admin", &issued);
    let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(read.current_context.as_deref(), Some("admin@processdistro"));
    assert_eq!(read.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://127.0.0.1:6443"));
}
